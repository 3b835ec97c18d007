//! Takes deliveries through decode and normalise to the journal.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of everything that came in, by source. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Account {}

/// One source's line of the account: received = accepted + duplicates + rejected + dropped + waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountRow {
    /// The source.
    pub source: String,
    /// What came in.
    pub received: u64,
    /// Durable now.
    pub accepted: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Dropped before decoding, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// On the way.
    pub waiting: u64,
}

impl Account {
    /// One row a source.
    #[must_use]
    pub fn rows(&self) -> Vec<AccountRow> {
        Vec::new()
    }
}
