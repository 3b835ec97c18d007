//! Which filters the broker's session of ours holds, beyond this process: so that one that was taken out of the
//! configuration is unsubscribed from, and does not go on to bring messages that nobody wants.
//!
//! A small file. All filters, old and new, are in it before any is subscribed to; those that are not wanted any more leave it
//! once the broker has confirmed that they are gone. When it is lost or can't be written, old filters may live on in
//! the session (their messages are `no_mapping` rejects); nothing else depends on it.
//!
//! It belongs to one broker and client id: another one has another session, and nothing to be unsubscribed from.

use std::{collections::BTreeSet, fs, io, io::Write as _, path::PathBuf};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::Config;

/// What the file holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// Broker and client id.
    session: String,
    filters: BTreeSet<SmolStr>,
}

/// The filters of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    file: Option<PathBuf>,
    session: String,
    wanted: BTreeSet<SmolStr>,
    stale: Vec<SmolStr>,
    /// UNSUBACKs that are still to come.
    awaited: usize,
}

impl Filters {
    /// Reads what was subscribed to before, and notes what is going to be. Blocks on the disk.
    pub(super) fn open(config: &Config) -> Self {
        let persistent = config.persistent_session && !config.client_id.is_empty();
        let mut filters = Self {
            file: config.session_file.clone().filter(|_| persistent),
            session: format!("{}:{} {}", config.host, config.port, config.client_id),
            wanted: config
                .subscriptions
                .iter()
                .map(|s| s.filter.clone())
                .collect(),
            ..Self::default()
        };
        let Some(file) = &filters.file else {
            return filters;
        };
        let before = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "it is not known what was subscribed to before");
                Written::default()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(file = %file.display(), %error, "it is not known what was subscribed to before");
                }
                Written::default()
            }
        };
        if before.session == filters.session {
            filters.stale = before
                .filters
                .difference(&filters.wanted)
                .cloned()
                .collect();
        }
        let all: BTreeSet<SmolStr> = filters
            .wanted
            .iter()
            .chain(&filters.stale)
            .cloned()
            .collect();
        if before.session != filters.session || before.filters != all {
            filters.write(all);
        }
        filters
    }

    /// A connection stands: what is to be unsubscribed from.
    pub(super) fn connected(&mut self) -> &[SmolStr] {
        self.awaited = self.stale.len();
        &self.stale
    }

    /// The broker confirmed one of them. With the last they are forgotten, in the background.
    pub(super) fn confirmed(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
        if self.awaited > 0 || self.stale.is_empty() {
            return;
        }
        self.stale.clear();
        let filters = self.clone();
        // Should it fail, they are unsubscribed from once more after the next start.
        tokio::task::spawn_blocking(move || filters.write(filters.wanted.clone()));
    }

    fn write(&self, filters: BTreeSet<SmolStr>) {
        let Some(file) = &self.file else {
            return;
        };
        let written = Written {
            session: self.session.clone(),
            filters,
        };
        let writing = || {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            let fresh = file.with_extension("new");
            let mut out = fs::File::create(&fresh)?;
            out.write_all(&serde_json::to_vec(&written)?)?;
            out.sync_all()?;
            fs::rename(fresh, file)
        };
        if let Err(error) = writing() {
            tracing::warn!(
                file = %file.display(), %error,
                "cannot write down what is subscribed to: a filter that is taken out later may live on at the broker"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mqtt::Subscription;

    fn config(file: PathBuf, client_id: &str, filters: &[&str]) -> Config {
        let subscriptions = filters
            .iter()
            .map(|filter| Subscription {
                filter: (*filter).into(),
                qos: 1,
            })
            .collect();
        Config {
            session_file: Some(file),
            subscriptions,
            ..Config::new("broker".into(), 1883, client_id.into())
        }
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_remembered_until_the_broker_has_confirmed_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mqtt/plant.json");
        let open = |filters: &[&str]| Filters::open(&config(file.clone(), "me", filters));
        assert!(open(&["a", "b"]).connected().is_empty());
        // The config changed, and the broker was away: it is asked again at each start.
        assert_eq!(open(&["b"]).connected(), ["a"]);
        let mut filters = open(&["b"]);
        assert_eq!(filters.connected(), ["a"]);
        filters.confirmed();
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while !open(&["b"]).connected().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[test]
    fn another_session_and_a_damaged_file_leave_nothing_to_unsubscribe_from() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plant.json");
        Filters::open(&config(file.clone(), "me", &["a"]));
        let mut other = Filters::open(&config(file.clone(), "you", &["b"]));
        assert!(other.connected().is_empty());
        fs::write(&file, "{").unwrap();
        assert!(
            Filters::open(&config(file, "you", &["c"]))
                .connected()
                .is_empty()
        );
    }
}
