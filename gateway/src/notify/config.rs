//! What a webhook is, as the program uses it.

use std::{collections::BTreeMap, time::Duration};

use smol_str::SmolStr;

use super::{Format, SigningKey, mqtt, smtp};
use crate::model::Secret;

/// A destination for alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Unique; rules name it.
    pub name: SmolStr,
    /// What it is, and where.
    pub to: Destination,
    /// How long one try may take. Default 10 s.
    pub timeout: Duration,
    /// The waits between tries. Default 1 s to 5 min.
    pub backoff: crate::backoff::Config,
    /// After this long without success a delivery is given up, counted and shown. Default 24 h.
    pub give_up_after: Duration,
    /// Whether `resolved` is told too. Default true.
    pub send_resolved: bool,
}

/// What a webhook is, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Whoever takes a POST.
    Http(Box<Endpoint>, Box<Format>),
    /// A mail server.
    Email(Box<smtp::Config>),
    /// An MQTT broker.
    Mqtt(Box<mqtt::Config>),
}

/// Where to POST, and what goes with each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`; many services put their secret into the path.
    pub url: Secret,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Each signs every request: while a key is changed, there are two. Empty: requests are not signed.
    pub signing_keys: Vec<SigningKey>,
}

impl Endpoint {
    /// An address that needs nothing else.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: Secret(url.to_owned()),
            token: None,
            headers: BTreeMap::new(),
            signing_keys: Vec::new(),
        }
    }
}

impl Destination {
    /// What the config calls it: `webhook`, `slack`, `email`, …
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_, format) => format.kind(),
            Self::Email(_) => "email",
            Self::Mqtt(_) => "mqtt",
        }
    }

    /// Where it is, without what may be secret: scheme and host.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Http(endpoint, _) => host_of(&endpoint.url.0),
            Self::Email(config) => format!("smtp://{}:{}", config.host, config.port),
            Self::Mqtt(config) => {
                let scheme = if config.tls.is_some() {
                    "mqtts"
                } else {
                    "mqtt"
                };
                format!("{scheme}://{}:{}", config.host, config.port)
            }
        }
    }

    /// Whether it knows what it means that somebody takes care of an alert: a service that pages people.
    #[must_use]
    pub const fn hears_acknowledgements(&self) -> bool {
        match self {
            Self::Http(_, format) => matches!(**format, Format::PagerDuty(_) | Format::Opsgenie(_)),
            Self::Email(_) | Self::Mqtt(_) => false,
        }
    }

    /// Whether requests are signed.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        matches!(self, Self::Http(endpoint, _) if !endpoint.signing_keys.is_empty())
    }
}

/// `https://host:port/…` of an address.
fn host_of(url: &str) -> String {
    url.split_once("://").map_or_else(
        || String::from("…"),
        |(scheme, rest)| {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}/…")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_and_host_of_an_address_are_shown() {
        assert_eq!(
            host_of("https://user:pw@h.example:8/T0/B0?k=v"),
            "https://h.example:8/…"
        );
        assert_eq!(host_of("nonsense"), "…");
    }
}
