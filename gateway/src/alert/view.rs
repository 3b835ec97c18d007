//! What a rule may look at beside the reading that it judges: the store, as the judged series sees it.
//!
//! Conditions keep no copies of values: they ask. So they say the same after a restart, when rings and windows have come back from
//! the journal.

use crate::{
    model::{Metric, SeriesKey, Timestamp, Value},
    store::Sample,
};

/// Which series is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The one that the rule judges.
    Itself,
    /// Another metric of the same device.
    Metric(Metric),
    /// Whichever was named.
    Series(SeriesKey),
}

/// The newest value of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// What was measured.
    pub value: Value,
    /// When.
    pub time: Timestamp,
    /// Whether it is only a retained last-known value, whose age nobody knows.
    pub retained: bool,
}

/// The store, as the judged series sees it. The reading that is judged is in it already.
pub trait View {
    /// The first number of the judged series in a span of measured time, both ends included.
    fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64>;

    /// The numbers in a span of measured time, both ends included, newest first; what memory no longer holds one by one as closed
    /// windows. Nothing for a series that is not known.
    fn samples(&self, of: &Of, from: Timestamp, to: Timestamp, each: impl FnMut(Sample));

    /// The newest value; none if the series is not known, its newest reading is bad, or its time is not known yet.
    fn latest(&self, of: &Of) -> Option<Latest>;
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Itself => f.write_str("the series itself"),
            Self::Metric(metric) => f.write_str(&metric.0),
            Self::Series(series) => write!(f, "{series}"),
        }
    }
}
