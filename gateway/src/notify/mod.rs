//! Webhooks: deliveries come from the durable outbox in [`crate::state`], at least once, with back-off.

use std::{collections::BTreeMap, time::Duration};

use smol_str::SmolStr;

use crate::model::Secret;

/// A destination for alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Unique; rules name it.
    pub name: SmolStr,
    /// Where to POST. `http` or `https`.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// How long one try may take. Default 10 s.
    pub timeout: Duration,
    /// The waits between tries. Default 1 s to 5 min.
    pub backoff: crate::backoff::Config,
    /// After this long without success a delivery is given up, counted and shown. Default 24 h.
    pub give_up_after: Duration,
    /// Whether `resolved` is told too. Default true.
    pub send_resolved: bool,
}
