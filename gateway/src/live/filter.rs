//! What a client wants to hear: globs over `device/metric`, labels of devices, and names of events.
//!
//! A filter is brought into one canonical form, so that clients that want the same share their events.

use thiserror::Error;

use super::{
    Topic,
    labels::{Labels, Tags},
};
use crate::{
    glob,
    model::{DeviceId, SeriesKey},
};

/// Globs in one filter at most; labels as well.
pub(crate) const MAX_GLOBS: usize = 64;
/// Bytes of one glob at most.
pub(crate) const MAX_GLOB_BYTES: usize = 256;

/// The kinds of events. Their names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    Snapshot = 1 << 0,
    Resume = 1 << 1,
    Readings = 1 << 2,
    Window = 1 << 3,
    Alert = 1 << 4,
    Device = 1 << 5,
    Rule = 1 << 6,
    Silence = 1 << 7,
    Webhook = 1 << 8,
    Status = 1 << 9,
    Gap = 1 << 10,
    Bye = 1 << 11,
    Dashboard = 1 << 12,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Snapshot,
        Self::Resume,
        Self::Readings,
        Self::Window,
        Self::Alert,
        Self::Device,
        Self::Rule,
        Self::Silence,
        Self::Webhook,
        Self::Status,
        Self::Gap,
        Self::Bye,
        Self::Dashboard,
    ];

    /// The name in `event:` and in `types=`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Resume => "resume",
            Self::Readings => "readings",
            Self::Window => "window",
            Self::Alert => "alert",
            Self::Device => "device",
            Self::Rule => "rule",
            Self::Silence => "silence",
            Self::Webhook => "webhook",
            Self::Status => "status",
            Self::Gap => "gap",
            Self::Bye => "bye",
            Self::Dashboard => "dashboard",
        }
    }
}

impl From<Topic> for Kind {
    fn from(topic: Topic) -> Self {
        match topic {
            Topic::Rule => Self::Rule,
            Topic::Device => Self::Device,
            Topic::Webhook => Self::Webhook,
            Topic::Dashboard => Self::Dashboard,
        }
    }
}

/// Why a filter can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// No event has this name.
    #[error(
        "unknown event type {0:?}: use readings, window, alert, rule, silence, webhook, dashboard, device or status"
    )]
    UnknownType(String),
    /// More globs than a filter may have.
    #[error("more than {MAX_GLOBS} globs in series")]
    TooManyGlobs,
    /// More labels than a filter may have.
    #[error("more than {MAX_GLOBS} labels")]
    TooManyLabels,
    /// A glob that nobody writes by hand.
    #[error("a glob in series or labels is longer than {MAX_GLOB_BYTES} bytes")]
    GlobTooLong,
    /// Not a name and a value.
    #[error("a label is written as name:value, such as site:attic, found {0:?}")]
    BadLabel(String),
}

/// A canonical filter: sorted, without repeats. Equal filters are one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Device and metric globs; empty means everything.
    globs: Vec<(String, String)>,
    /// Names and globs over their values: of each name one must fit.
    labels: Vec<(String, String)>,
    kinds: u16,
}

impl Filter {
    /// Reads `series`, `labels` and `types` from the pairs of a query or the like, each comma-separated or repeated; an absent or empty
    /// one means everything. Pairs with other names are not looked at.
    ///
    /// # Errors
    ///
    /// What can't be understood, in words for who wrote it.
    pub fn parse<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<Self, FilterError> {
        let values = |name: &'static str| {
            let pairs = pairs.clone().filter(move |(key, _)| *key == name);
            parts(pairs.map(|(_, value)| value))
        };
        let mut globs = Vec::new();
        for glob in values("series") {
            if glob.len() > MAX_GLOB_BYTES {
                return Err(FilterError::GlobTooLong);
            }
            if globs.len() == MAX_GLOBS {
                return Err(FilterError::TooManyGlobs);
            }
            let (device, metric) = glob.rsplit_once('/').unwrap_or((glob, "*"));
            globs.push((squeeze(device), squeeze(metric)));
        }
        globs.sort();
        globs.dedup();
        if globs.iter().any(|(d, m)| d == "*" && m == "*") {
            globs.clear();
        }
        let mut labels = Vec::new();
        for label in values("labels") {
            if label.len() > MAX_GLOB_BYTES {
                return Err(FilterError::GlobTooLong);
            }
            if labels.len() == MAX_GLOBS {
                return Err(FilterError::TooManyLabels);
            }
            let (name, value) = label
                .split_once(':')
                .map(|(name, value)| (name.trim(), value.trim()))
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or_else(|| FilterError::BadLabel(label.chars().take(40).collect()))?;
            labels.push((name.to_owned(), squeeze(value)));
        }
        labels.sort();
        labels.dedup();
        let mut kinds = 0;
        for name in values("types") {
            kinds |= Kind::ALL
                .iter()
                .find(|kind| kind.name() == name)
                .map(|kind| *kind as u16)
                .ok_or_else(|| FilterError::UnknownType(name.chars().take(40).collect()))?;
        }
        if kinds == 0 {
            kinds = u16::MAX;
        }
        Ok(Self {
            globs,
            labels,
            kinds,
        })
    }

    /// Two lists, as tests write them.
    #[cfg(test)]
    pub(crate) fn of<'a>(
        series: impl IntoIterator<Item = &'a str>,
        types: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, FilterError> {
        let series = series.into_iter().map(|value| ("series", value));
        let types = types.into_iter().map(|value| ("types", value));
        let pairs: Vec<_> = series.chain(types).collect();
        Self::parse(pairs.into_iter())
    }

    pub(crate) const fn wants(&self, kind: Kind) -> bool {
        self.kinds & kind as u16 != 0
    }

    /// Whether nothing is left out.
    pub(crate) const fn is_everything(&self) -> bool {
        self.wants_all_series() && self.kinds == u16::MAX
    }

    pub(crate) const fn wants_all_series(&self) -> bool {
        self.globs.is_empty() && self.labels.is_empty()
    }

    pub(crate) fn wants_series(&self, series: &SeriesKey, labels: &Labels) -> bool {
        let globs = &self.globs;
        let named = globs.is_empty()
            || globs.iter().any(|(d, m)| {
                glob::matches(d, &series.device.0) && glob::matches(m, &series.metric.0)
            });
        named && self.wants_labels(labels.of(&series.device))
    }

    /// Whether any of its series could be wanted, with the labels that it has now.
    pub(crate) fn wants_device(&self, device: &DeviceId, labels: &Labels) -> bool {
        self.wants_device_as(device, labels.of(device))
    }

    /// The same with these labels.
    pub(crate) fn wants_device_as(&self, device: &DeviceId, tags: Option<&Tags>) -> bool {
        let named =
            self.globs.is_empty() || self.globs.iter().any(|(d, _)| glob::matches(d, &device.0));
        named && self.wants_labels(tags)
    }

    fn wants_labels(&self, tags: Option<&Tags>) -> bool {
        let mut names = self.labels.chunk_by(|(a, _), (b, _)| a == b);
        names.all(|globs| {
            globs.iter().any(|(name, glob)| {
                let value = tags.and_then(|tags| tags.value(name));
                value.is_some_and(|value| glob::matches(glob, value))
            })
        })
    }
}

fn parts<'a>(lists: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    lists
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Runs of `*` mean the same as one.
fn squeeze(glob: &str) -> String {
    let mut squeezed = String::with_capacity(glob.len());
    for c in glob.chars() {
        if c != '*' || !squeezed.ends_with('*') {
            squeezed.push(c);
        }
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SeriesKey {
        SeriesKey::parse(text).unwrap()
    }

    #[test]
    fn a_star_stays_within_its_side() {
        let filter = Filter::of(["boiler-*/temp*"], []).unwrap();
        assert!(filter.wants_series(&key("boiler-1/temperature"), &Labels::default()));
        assert!(!filter.wants_series(&key("boiler-1/humidity"), &Labels::default()));
        assert!(!filter.wants_series(&key("pump/temperature"), &Labels::default()));
        assert!(filter.wants_device(&DeviceId("boiler-2".into()), &Labels::default()));
        assert!(!filter.wants_device(&DeviceId("pump".into()), &Labels::default()));
        let filter = Filter::of(["boiler-?/*"], []).unwrap();
        assert!(filter.wants_series(&key("boiler-1/humidity"), &Labels::default()));
        assert!(!filter.wants_series(&key("boiler-12/humidity"), &Labels::default()));
    }

    #[test]
    fn a_glob_without_a_slash_means_all_metrics_of_the_device() {
        let filter = Filter::of(["pump"], []).unwrap();
        assert!(filter.wants_series(&key("pump/flow"), &Labels::default()));
        assert!(!filter.wants_series(&key("pump2/flow"), &Labels::default()));
    }

    #[test]
    fn the_same_wish_in_other_words_is_the_same_filter() {
        let a = Filter::of(["b/*,a/**"], ["alert, readings"]).unwrap();
        let b = Filter::of(["a", "b/*", "b/*"], ["readings", "alert"]).unwrap();
        assert_eq!(a, b);
        assert!(Filter::of(["*/*,x/y"], [""]).unwrap().is_everything());
    }

    #[test]
    fn of_each_label_one_value_must_fit_and_site_is_one() {
        let mut labels = Labels::default();
        let mut device = |id: &str, site: Option<&str>, room: &str| {
            labels.set(&crate::store::Device {
                id: DeviceId(id.into()),
                name: id.into(),
                note: None,
                version: 0,
                site: site.map(Into::into),
                labels: [("room".to_owned(), room.to_owned())].into(),
                source: None,
                last_seen_ms: None,
                online: None,
                clock_ahead_ms: None,
            });
        };
        device("a", Some("attic"), "north");
        device("b", Some("attic"), "south");
        device("c", None, "north-2");
        let wanted = |query: &[&str]| {
            let pairs: Vec<_> = query.iter().map(|v| ("labels", *v)).collect();
            let filter = Filter::parse(pairs.into_iter()).unwrap();
            let wants = |id: &&str| filter.wants_series(&key(&format!("{id}/t")), &labels);
            ["a", "b", "c", "unknown"]
                .into_iter()
                .filter(wants)
                .collect::<String>()
        };
        assert_eq!(wanted(&["site:attic"]), "ab");
        assert_eq!(wanted(&["site:attic,room:north"]), "a");
        assert_eq!(wanted(&["room:north", "room:south"]), "ab");
        assert_eq!(wanted(&["room:north*"]), "ac");
        assert_eq!(wanted(&["site:*"]), "ab");
        assert_eq!(wanted(&["floor:*"]), "");
    }

    #[test]
    fn a_label_without_a_value_is_refused() {
        for label in ["site", "site:", ":attic", ":"] {
            let refused = Filter::parse([("labels", label)].into_iter());
            assert_eq!(refused, Err(FilterError::BadLabel(label.into())));
        }
    }

    #[test]
    fn an_unknown_type_is_named() {
        assert_eq!(
            Filter::of([], ["readings,reading"]),
            Err(FilterError::UnknownType("reading".into()))
        );
    }

    #[test]
    fn too_many_and_too_long_globs_are_refused() {
        let many = vec!["a/b"; MAX_GLOBS + 1].join(",");
        assert_eq!(
            Filter::of([many.as_str()], []),
            Err(FilterError::TooManyGlobs)
        );
        let long = "a".repeat(MAX_GLOB_BYTES + 1);
        assert_eq!(
            Filter::of([long.as_str()], []),
            Err(FilterError::GlobTooLong)
        );
    }
}
