//! One message in, fields out. Pure; one file a format; a bad record never loses its good neighbours.
//!
//! The result is always "records and faults", never "records or an error".

pub mod mapping;

pub use mapping::{Format, Mapping};
