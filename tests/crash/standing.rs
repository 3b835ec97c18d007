//! What a gateway says of itself when nothing comes in: the same before a kill and after it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tests::{Gateway, wait::DEADLINE};
use tokio::time::Instant;

/// So long nothing may change before it counts as settled: nothing says that a broker has no more.
const QUIET: Duration = Duration::from_millis(700);

/// Series, windows, alerts, silences, the audit trail and waiting deliveries.
#[derive(Debug, PartialEq)]
pub(crate) struct Standing {
    parts: BTreeMap<String, Value>,
    /// What came in, in this life.
    received: Value,
}

impl Standing {
    /// Once everything that came in is through, or after the usual deadline.
    pub(crate) async fn settled(gateway: &Gateway) -> Self {
        let until = Instant::now() + DEADLINE;
        let mut before = Self::read(gateway).await;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = Self::read(gateway).await;
            if now == before || Instant::now() > until {
                return now;
            }
            before = now;
        }
    }

    async fn read(gateway: &Gateway) -> Self {
        let mut parts = BTreeMap::new();
        let series = gateway.get("/api/v1/series").await;
        for one in series["series"].as_array().into_iter().flatten() {
            let id = one["id"].as_str().unwrap_or_default();
            let path = format!("/api/v1/series/{id}/windows");
            parts.insert(format!("windows of {id}"), gateway.get(&path).await);
        }
        parts.insert(String::from("series"), series);
        let alerts = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
        parts.insert(String::from("alerts"), alerts);
        let active = gateway.get("/api/v1/alerts").await;
        parts.insert(String::from("active alerts"), active);
        for (name, path) in [
            ("silences", "/api/v1/silences"),
            ("audit trail", "/api/v1/audit?limit=1000"),
        ] {
            parts.insert(name.to_owned(), gateway.get(path).await);
        }
        let status = gateway.get("/api/v1/status").await;
        let webhooks: Vec<Value> = status["webhooks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|w| json!([w["name"], w["waiting"], w["delivered"], w["given_up"]]))
            .collect();
        parts.insert(String::from("deliveries"), Value::from(webhooks));
        let received = status["account"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| row["received"].clone())
            .collect();
        Self { parts, received }
    }

    /// `Err` says what differs.
    pub(crate) fn same_as(&self, after: &Self) -> Result<(), String> {
        for name in self.parts.keys().chain(after.parts.keys()) {
            let (was, is) = (self.parts.get(name), after.parts.get(name));
            if was != is {
                let text = |part: Option<&Value>| part.map_or_else(String::new, Value::to_string);
                return Err(format!(
                    "after a restart the {name} are others:\nbefore {}\nafter  {}",
                    text(was),
                    text(is)
                ));
            }
        }
        Ok(())
    }
}
