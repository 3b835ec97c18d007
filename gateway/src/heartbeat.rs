//! Beats to a dead-man's switch outside, such as a cron monitor or another team's watchdog, so that somebody notices when the gateway itself is
//! gone: what no alert of its own can say.
//!
//! A beat is sent only when the engine answered just before: a gateway whose process lives and whose rules stand still doesn't beat. One that
//! lives and is in trouble (its disk refuses) does, and says so in the beat. Beats are not kept: one that can't be sent is missed,
//! counted and shown, which is what the other side waits for. Waits are on the monotonic clock: a jump of the clock makes none early or late.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use reqwest::{Method, header};
use serde::Serialize;
use serde_json::json;
use smol_str::SmolStr;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    cause,
    clock::Clock,
    disk::Writers,
    engine::Engine,
    model::{Secret, Timestamp},
    notify::client,
};

/// An engine that takes longer to answer stands still.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Where to beat, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Unique among heartbeats.
    pub name: SmolStr,
    /// `http` or `https`. It may hold a secret and is never shown.
    pub url: Secret,
    /// POST sends a small JSON body, GET nothing. Default POST.
    pub method: BeatMethod,
    /// From beat to beat: 1 s to 1 day. Default 1 min.
    pub every: Duration,
    /// How long one may take. Default 10 s.
    pub timeout: Duration,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
}

/// How a beat is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeatMethod {
    /// With a body that says how the gateway is.
    #[default]
    Post,
    /// Without one.
    Get,
}

/// How a heartbeat stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeartbeatStatus {
    /// Its name.
    pub name: String,
    /// Beats that were taken since the start.
    pub beats: u64,
    /// Beats that were missed since the start.
    pub missed: u64,
    /// When the last one was taken, RFC 3339.
    pub last_beat: Option<String>,
    /// Why the last one was missed; none if it was taken.
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    heartbeat: String,
}

/// How all heartbeats stand: cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    /// std: held for a look only.
    statuses: Arc<Mutex<BTreeMap<SmolStr, HeartbeatStatus>>>,
    beats: Family<Label, Counter>,
    missed: Family<Label, Counter>,
}

impl Heartbeats {
    /// None yet.
    pub fn new(registry: &mut Registry) -> Self {
        let (beats, missed) = (Family::default(), Family::default());
        registry.register(
            "gateway_heartbeats_sent",
            "Beats that a dead-man's switch took",
            Family::clone(&beats),
        );
        registry.register(
            "gateway_heartbeats_missed",
            "Beats that could not be sent",
            Family::clone(&missed),
        );
        Self {
            statuses: Arc::default(),
            beats,
            missed,
        }
    }

    /// All that run, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<HeartbeatStatus> {
        self.lock().values().cloned().collect()
    }

    /// Those by these names run from now on; of others nothing is shown any more.
    pub fn expect(&self, names: impl Iterator<Item = SmolStr>) {
        let mut statuses = self.lock();
        let mut before = std::mem::take(&mut *statuses);
        for name in names {
            let status = before.remove(&name).unwrap_or_else(|| HeartbeatStatus {
                name: name.to_string(),
                ..HeartbeatStatus::default()
            });
            statuses.insert(name, status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SmolStr, HeartbeatStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a beat went. Says whether that is news.
    fn note(&self, name: &SmolStr, went: &Result<(), String>, now: Timestamp) -> bool {
        let label = Label {
            heartbeat: name.to_string(),
        };
        let mut statuses = self.lock();
        let Some(status) = statuses.get_mut(name) else {
            return false;
        };
        let failed = status.last_error.is_some();
        match went {
            Ok(()) => {
                status.beats += 1;
                status.last_beat = Some(now.to_rfc3339());
                status.last_error = None;
                self.beats.get_or_create(&label).inc();
            }
            Err(error) => {
                status.missed += 1;
                status.last_error = Some(error.clone());
                self.missed.get_or_create(&label).inc();
            }
        }
        failed != went.is_err()
    }
}

/// One heartbeat, ready to run.
#[derive(Debug)]
pub struct Heartbeat {
    config: Config,
    client: reqwest::Client,
    engine: Engine,
    writers: Writers,
    clock: Clock,
    all: Heartbeats,
}

impl Heartbeat {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &SmolStr {
        &self.config.name
    }

    /// Prepares it.
    ///
    /// # Errors
    ///
    /// When the HTTP client can't be built.
    pub fn new(
        config: Config,
        engine: Engine,
        writers: Writers,
        clock: Clock,
        all: Heartbeats,
    ) -> Result<Self, reqwest::Error> {
        let client = client(config.timeout).build()?;
        Ok(Self {
            config,
            client,
            engine,
            writers,
            clock,
            all,
        })
    }

    /// Beats until `stop`, the first time at once.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.config.name.clone();
        let mut ticks = interval(self.config.every);
        // After a machine slept one beat is enough.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(went) = stop.run_until_cancelled(self.beat()).await else {
                break;
            };
            if self.all.note(&name, &went, self.clock.now()) {
                match went {
                    Ok(()) => tracing::info!(heartbeat = %name, "the heartbeat is taken again"),
                    Err(error) => {
                        tracing::warn!(heartbeat = %name, error, "the heartbeat is missed; trying again at the next beat");
                    }
                }
            }
        }
    }

    async fn beat(&self) -> Result<(), String> {
        let firing = timeout(ANSWERS_WITHIN, self.engine.status())
            .await
            .map_err(|_| String::from("the engine does not answer, so that nothing was sent"))?
            .map_err(|_| String::from("the engine has ended, so that nothing was sent"))?
            .firing;
        let problem = self.writers.problem();
        let mut request = match self.config.method {
            BeatMethod::Get => self.client.request(Method::GET, &self.config.url.0),
            BeatMethod::Post => {
                let body = json!({
                    "gateway": env!("CARGO_PKG_VERSION"),
                    "heartbeat": self.config.name,
                    "time": self.clock.now().to_rfc3339(),
                    "status": if problem.is_none() { "ok" } else { "degraded" },
                    "problem": problem,
                    "alerts_firing": firing,
                });
                self.client
                    .post(&self.config.url.0)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body.to_string())
            }
        };
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(&token.0);
        }
        // The address may hold a secret: it stays out of the text.
        let answer = request
            .send()
            .await
            .map_err(|error| cause::chain(&error.without_url()))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("the other side answered {}", answer.status()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_from_taken_to_missed_or_back_is_news() {
        let all = Heartbeats::new(&mut Registry::default());
        let name = SmolStr::from("cron");
        assert!(!all.note(&name, &Ok(()), Timestamp(0)), "nobody expects it");
        all.expect([name.clone()].into_iter());
        let missed = || Err(String::from("gone"));
        assert!(!all.note(&name, &Ok(()), Timestamp(0)));
        assert!(all.note(&name, &missed(), Timestamp(1)));
        assert!(!all.note(&name, &missed(), Timestamp(2)));
        let status = &all.statuses()[0];
        assert_eq!((status.beats, status.missed), (1, 2));
        assert_eq!(status.last_error.as_deref(), Some("gone"));
        assert!(all.note(&name, &Ok(()), Timestamp(3)));
        let status = &all.statuses()[0];
        assert_eq!((status.beats, status.last_error.as_ref()), (2, None));
        all.expect([name.clone(), "new".into()].into_iter());
        let beats: Vec<u64> = all.statuses().iter().map(|status| status.beats).collect();
        assert_eq!(beats, [2, 0], "what is still there goes on");
    }
}
