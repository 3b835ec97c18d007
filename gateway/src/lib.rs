//! The sensor gateway as a library; `main.rs` is a thin shell around it.
//!
//! # Layout, in the order in which a reading meets it
//!
//! - [`source`]: owns one connection each, frames bytes into messages, acknowledges what is durable
//! - [`decode`]: one message in, fields out; pure, one file a format
//! - [`normalise`]: fields become readings with device, metric, unit, quality and time; pure
//! - [`ingest`]: the one task that takes deliveries through decode and normalise to the journal
//! - [`journal`]: the durable log; a reading is accepted once its batch is on disk
//! - [`engine`]: the one task that owns the [`store`] (rings, windows) and the [`alert`] states
//! - [`live`]: what the engine says, as events for browsers
//! - [`state`] and [`notify`]: what was decided, durably, and the webhooks that hear of it
//! - [`archive`] and [`history`]: cursors over the journal, to InfluxDB and to disk
//! - [`http`]: one router of fragments; [`auth`]: who may do what
//!
//! [`app`] is the one room that knows everybody. `docs/ARCHITECTURE.md` says who may import whom;
//! a test holds the code to it.

pub mod alert;
pub mod app;
pub mod archive;
pub mod auth;
pub mod backoff;
pub mod cause;
pub mod cli;
pub mod clock;
pub mod config;
pub mod damage;
pub mod decode;
pub mod disk;
pub mod engine;
pub mod files;
pub mod glob;
pub mod heartbeat;
pub mod history;
pub mod http;
pub mod ingest;
pub mod journal;
pub mod live;
pub mod metrics;
pub mod model;
pub mod normalise;
pub mod notify;
pub mod rejects;
pub mod shutdown;
pub mod source;
pub mod state;
pub mod store;
pub mod tls;
pub mod wear;
