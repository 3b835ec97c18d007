//! What a client wants to hear: globs over `device/metric` and names of events.
//!
//! A filter is brought into one canonical form, so that clients that want the same share their events.

use thiserror::Error;

use super::Topic;
use crate::{
    glob,
    model::{DeviceId, SeriesKey},
};

/// Globs in one filter at most.
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
    /// A glob that nobody writes by hand.
    #[error("a glob in series is longer than {MAX_GLOB_BYTES} bytes")]
    GlobTooLong,
}

/// A canonical filter: sorted, without repeats. Equal filters are one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Device and metric globs; empty means everything.
    globs: Vec<(String, String)>,
    kinds: u16,
}

impl Filter {
    /// Reads `series` and `types` from the pairs of a query or the like, each comma-separated or repeated; an absent or empty
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
        Ok(Self { globs, kinds })
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
        self.globs.is_empty() && self.kinds == u16::MAX
    }

    pub(crate) const fn wants_all_series(&self) -> bool {
        self.globs.is_empty()
    }

    pub(crate) fn wants_series(&self, series: &SeriesKey) -> bool {
        self.globs.is_empty()
            || self.globs.iter().any(|(d, m)| {
                glob::matches(d, &series.device.0) && glob::matches(m, &series.metric.0)
            })
    }

    /// Whether any of its series could be wanted.
    pub(crate) fn wants_device(&self, device: &DeviceId) -> bool {
        self.globs.is_empty() || self.globs.iter().any(|(d, _)| glob::matches(d, &device.0))
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
        assert!(filter.wants_series(&key("boiler-1/temperature")));
        assert!(!filter.wants_series(&key("boiler-1/humidity")));
        assert!(!filter.wants_series(&key("pump/temperature")));
        assert!(filter.wants_device(&DeviceId("boiler-2".into())));
        assert!(!filter.wants_device(&DeviceId("pump".into())));
        let filter = Filter::of(["boiler-?/*"], []).unwrap();
        assert!(filter.wants_series(&key("boiler-1/humidity")));
        assert!(!filter.wants_series(&key("boiler-12/humidity")));
    }

    #[test]
    fn a_glob_without_a_slash_means_all_metrics_of_the_device() {
        let filter = Filter::of(["pump"], []).unwrap();
        assert!(filter.wants_series(&key("pump/flow")));
        assert!(!filter.wants_series(&key("pump2/flow")));
    }

    #[test]
    fn the_same_wish_in_other_words_is_the_same_filter() {
        let a = Filter::of(["b/*,a/**"], ["alert, readings"]).unwrap();
        let b = Filter::of(["a", "b/*", "b/*"], ["readings", "alert"]).unwrap();
        assert_eq!(a, b);
        assert!(Filter::of(["*/*,x/y"], [""]).unwrap().is_everything());
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
