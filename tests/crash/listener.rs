//! A page that is open all the time: after each kill it comes back with the last id that it heard, sometimes a while later. It must
//! hear of each change of an alert once: as an event, or by a snapshot, which tells all that is so far.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::Value;
use tests::{Event, Events, Gateway, wait::DEADLINE};
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};

/// One in so many times it stays away for a while.
const AWAY: u8 = 4;

/// A change: alert, state, and when it was acknowledged.
type Change = (String, String, Option<i64>);

#[derive(Default)]
struct Heard {
    /// How often an event told it.
    events: BTreeMap<Change, usize>,
    /// Alerts and states that a snapshot told.
    caught_up: BTreeMap<(String, String), ()>,
    connects: usize,
    snapshots: usize,
    resumes: usize,
}

/// The page.
pub(crate) struct Listener {
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

/// What it missed.
pub(crate) struct Told {
    changes: usize,
    snapshots: usize,
    resumes: usize,
    missed: Vec<String>,
    repeated: Vec<String>,
}

impl Listener {
    /// Listens to the gateway at this port, whenever there is one.
    pub(crate) fn start(port: u16, seed: u64) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut chance = Rng::with_seed(seed);
            let url = format!("http://127.0.0.1:{port}/events?types=alert");
            let mut last: Option<String> = None;
            loop {
                let Some(mut events) = Events::try_open(&url, last.as_deref()).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                shared.lock().await.connects += 1;
                while let Some(event) = events.next().await {
                    // As a browser does: the id counts with its event.
                    last = event.id.clone().or(last);
                    shared.lock().await.hear(&event);
                }
                if chance.u8(..AWAY) == 0 {
                    tokio::time::sleep(Duration::from_millis(chance.u64(..3_000))).await;
                }
            }
        });
        Self { heard, task }
    }

    /// Waits until it has heard of all that the gateway says of its alerts, and judges.
    pub(crate) async fn judge(&self, gateway: &Gateway) -> Told {
        let until = Instant::now() + DEADLINE;
        loop {
            let alerts = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
            let told = self.heard.lock().await.told(&alerts["alerts"]);
            if told.missed.is_empty() || Instant::now() > until {
                self.task.abort();
                return told;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Heard {
    fn hear(&mut self, event: &Event) {
        match event.kind.as_str() {
            "snapshot" => {
                self.snapshots += 1;
                let alerts = ["alerts", "ended"]
                    .map(|part| event.data[part].as_array().into_iter().flatten());
                for alert in alerts.into_iter().flatten() {
                    let (id, state, _) = change(alert);
                    if state == "resolved" {
                        self.caught_up
                            .insert((id.clone(), String::from("firing")), ());
                    }
                    self.caught_up.insert((id, state), ());
                }
            }
            "resume" => self.resumes += 1,
            // Without an id it is not written down yet, and comes once more when it is.
            "alert" if event.id.is_some() => {
                *self.events.entry(change(&event.data)).or_default() += 1;
            }
            _ => {}
        }
    }

    fn told(&self, alerts: &Value) -> Told {
        let mut missed = Vec::new();
        let mut changes = 0;
        for alert in alerts.as_array().into_iter().flatten() {
            let (id, state, _) = change(alert);
            let passed: &[&str] = match state.as_str() {
                "firing" => &["firing"],
                "resolved" => &["firing", "resolved"],
                _ => &[],
            };
            for state in passed {
                changes += 1;
                let by_event = self.events.keys().any(|(i, s, _)| *i == id && s == state);
                let by_snapshot = self
                    .caught_up
                    .contains_key(&(id.clone(), (*state).to_owned()));
                if !by_event && !by_snapshot {
                    missed.push(format!("{state} of {id}"));
                }
            }
        }
        let repeated = self.events.iter().filter(|(_, times)| **times > 1);
        Told {
            changes,
            snapshots: self.snapshots,
            resumes: self.resumes,
            missed,
            repeated: repeated
                .map(|(change, times)| format!("{change:?}: {times} times"))
                .collect(),
        }
    }
}

fn change(alert: &Value) -> Change {
    let text = |field: &str| alert[field].as_str().unwrap_or_default().to_owned();
    (
        text("id"),
        text("state"),
        alert["acknowledged"]["at_ms"].as_i64(),
    )
}

impl Told {
    pub(crate) fn is_right(&self) -> bool {
        self.missed.is_empty() && self.repeated.is_empty() && self.changes > 0 && self.resumes > 0
    }

    pub(crate) fn told(&self) -> String {
        let mut told = format!(
            "a live client that came back {} times with its last id, {} times to a snapshot: of {} changes of alerts {} missed, {} heard twice",
            self.resumes,
            self.snapshots,
            self.changes,
            self.missed.len(),
            self.repeated.len(),
        );
        for (what, which) in [("missed", &self.missed), ("repeated", &self.repeated)] {
            for one in which.iter().take(5) {
                told += &format!("\n    {what}: {one}");
            }
        }
        told
    }
}
