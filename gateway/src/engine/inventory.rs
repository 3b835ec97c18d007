//! What the engine knows of each series apart from its points, so that a start need not read the whole journal to know them all.

use crate::{
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
}
