//! What came in and could not be used: counted by source and reason, with a bounded sample of the bytes.
//!
//! Recording a reject never blocks for long, never fails and never logs without limit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::Serialize;

use crate::model::{SourceName, Timestamp};

/// How many samples are kept over all sources; the oldest goes first.
pub const MAX_SAMPLES: usize = 200;
/// How many bytes of a message are kept in a sample.
pub const MAX_SAMPLE_BYTES: usize = 256;

/// Why something could not be used. The names are part of the API and of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A line longer than the configured maximum.
    TooLong,
    /// Bytes that are not text where text is needed.
    NotUtf8,
    /// The payload is not what its format says.
    Malformed,
    /// No mapping of the source takes this topic.
    NoMapping,
    /// A mapping found no device or metric in topic and payload.
    NoIdentity,
    /// A mapped field was there, but is not a number, boolean or short text.
    WrongType,
    /// NaN or infinite.
    NotFinite,
    /// Outside the configured valid range.
    OutOfRange,
    /// A unit that can't be converted to the configured one.
    UnitMismatch,
    /// A time that can't be read, or lies absurdly far away.
    BadTime,
    /// The cap on series is reached.
    TooManySeries,
    /// A packet or body over the limit.
    TooLarge,
}

/// Every reason, for reports that name them all.
pub const REASONS: [Reason; 12] = [
    Reason::TooLong,
    Reason::NotUtf8,
    Reason::Malformed,
    Reason::NoMapping,
    Reason::NoIdentity,
    Reason::WrongType,
    Reason::NotFinite,
    Reason::OutOfRange,
    Reason::UnitMismatch,
    Reason::BadTime,
    Reason::TooManySeries,
    Reason::TooLarge,
];

impl Reason {
    /// The name in metrics and API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::Malformed => "malformed",
            Self::NoMapping => "no_mapping",
            Self::NoIdentity => "no_identity",
            Self::WrongType => "wrong_type",
            Self::NotFinite => "not_finite",
            Self::OutOfRange => "out_of_range",
            Self::UnitMismatch => "unit_mismatch",
            Self::BadTime => "bad_time",
            Self::TooManySeries => "too_many_series",
            Self::TooLarge => "too_large",
        }
    }
}

/// One thing that could not be used, as the stage that refused it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What exactly, for a person: `field "temperature": "abc" is not a number`. No source, no topic.
    pub detail: String,
    /// Which record of the message (line, array element), from 0.
    pub record: usize,
}

/// A kept example.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When it came in, epoch milliseconds.
    pub at_ms: i64,
    /// From where.
    pub source: SourceName,
    /// MQTT topic or HTTP path; empty for a serial line.
    pub topic: String,
    /// Why it was refused.
    pub reason: Reason,
    /// What exactly.
    pub detail: String,
    /// Its first bytes as text, lossy.
    pub payload: String,
    /// Its first bytes in hexadecimal.
    pub payload_hex: String,
    /// How long it was, in bytes.
    pub payload_bytes: usize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    source: String,
    reason: &'static str,
}

/// The log of rejects. Cheap to clone; all clones write to one.
#[derive(Clone, Debug)]
pub struct Rejects {
    counts: Family<Labels, Counter>,
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

impl Rejects {
    /// An empty log, its counter `gateway_rejected_total{source,reason}` registered.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let counts = Family::default();
        registry.register(
            "gateway_rejected",
            "Readings or messages that could not be used",
            counts.clone(),
        );
        Self {
            counts,
            samples: Arc::default(),
        }
    }

    /// Counts one reject and keeps a sample of it.
    pub fn record(
        &self,
        source: &SourceName,
        topic: &str,
        payload: &[u8],
        at: Timestamp,
        reject: Reject,
    ) {
        self.counts
            .get_or_create(&Labels {
                source: source.0.to_string(),
                reason: reject.reason.name(),
            })
            .inc();
        let head = &payload[..payload.len().min(MAX_SAMPLE_BYTES)];
        let sample = Sample {
            at_ms: at.as_millis(),
            source: source.clone(),
            topic: topic.chars().take(MAX_SAMPLE_BYTES).collect(),
            reason: reject.reason,
            detail: reject.detail,
            payload: String::from_utf8_lossy(head).into_owned(),
            payload_hex: head.iter().map(|b| format!("{b:02x}")).collect(),
            payload_bytes: payload.len(),
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The kept samples, newest first.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .rev()
            .cloned()
            .collect()
    }

    /// How many were refused, by source and reason.
    #[must_use]
    pub fn count(&self, source: &SourceName, reason: Reason) -> u64 {
        self.counts
            .get(&Labels {
                source: source.0.to_string(),
                reason: reason.name(),
            })
            .map_or(0, |c| c.get())
    }
}
