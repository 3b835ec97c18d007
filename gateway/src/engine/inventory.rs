//! What the engine knows of each series apart from its points, and what conditions remember of it, so that a start need not read the whole
//! journal to know it all.

use crate::{
    alert::Remembered,
    journal::Position,
    model::{Reading, SourceName},
};

/// A series with its newest reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The source that its device was last heard on.
    pub source: SourceName,
    /// The newest reading that the series shows; may be a retained last-known value.
    pub reading: Reading,
    /// The record that this came with.
    pub position: Position,
}

/// Series as they are after a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// All records up to this one are in it.
    pub position: Position,
    /// In no order.
    pub series: Vec<Known>,
    /// What conditions remember, in no order.
    pub remembered: Vec<Remembered>,
    /// Whether that is all that they remember: else what is not in it is as it was in the inventory before, if there was one.
    pub remembers_all: bool,
}
