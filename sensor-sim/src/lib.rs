//! Simulated sensors: virtual devices with faults, on real pseudo-terminals, real MQTT connections and real
//! HTTP, and the ledger of what they sent. The binary `sensor-sim` is a thin shell around this library.
//!
//! # Layout, in the order in which a reading is made
//!
//! - [`scenario`]: what the person wrote: devices, signals, faults; and [`Scenario::demo`]
//! - [`signal`] and [`fault`]: values and troubles over time; pure and seeded
//! - [`encode`]: readings to bytes, one function a format
//! - [`plan`]: a device as a sequence of ticks: what it sends when, to the byte; pure
//! - [`transport`]: carries the bytes and hears the acknowledgements
//! - [`ledger`]: what was sent, what was acknowledged, what should be seen
//! - [`run`](mod@run): one task a device; plan, transport and ledger together
//! - [`verify`]: a ledger against what an archive holds
//! - [`replay`], [`load`]: captured files, and numbered messages as fast as they go
//!
//! This crate does not know the gateway. Its encoders are a second, independent reading of each format, so that
//! a mistake in one of the two shows.

pub mod backoff;
pub mod cli;
pub mod clock;
pub mod encode;
pub mod fault;
pub mod ledger;
pub mod load;
#[cfg(test)]
mod peers;
pub mod plan;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod signal;
pub mod transport;
pub mod verify;

pub use self::{
    ledger::Ledger,
    run::{RunError, Summary, run},
    scenario::Scenario,
};
