//! The ways in. A source owns one connection, frames its bytes into messages, hands them on, and
//! acknowledges a message to its sender only when the journal holds what was in it.
//!
//! A source knows no formats: it delivers [`Frame`]s and hears back by [`Receipt`]. It never sees a later stage.
//!
//! | file | connection |
//! |---|---|
//! | [`serial`] | one serial port; [`framing`] cuts its bytes into lines |
//! | [`mqtt`] | one broker |
//! | [`broker`] | the embedded MQTT listener |
//! | [`push`] | HTTP requests |
//!
//! Two kinds of sender: those who can wait (QoS 1 and 2, HTTP) wait in [`Intake::deliver`]; those who can't
//! (serial, QoS 0) go through a [`shed::Shed`], which drops its oldest and counts that.

pub mod broker;
pub mod framing;
pub mod intake;
pub mod mqtt;
pub mod push;
pub mod serial;
pub mod shed;
pub mod status;

use bytes::Bytes;
use smol_str::SmolStr;

pub use self::{
    intake::{Delivery, Intake, Receipt, Stopped},
    status::{LinkState, SourceStatus, StatusReporter},
};
use crate::model::Timestamp;

/// One message as a source cut it from its connection; its format is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// MQTT topic, or for HTTP the path and what selects its mapping; empty for a serial line.
    pub topic: SmolStr,
    /// The bytes of the message, without framing.
    pub payload: Bytes,
    /// When it arrived.
    pub arrived: Timestamp,
    /// A broker's retained message, sent because of our subscription.
    pub retained: bool,
}
