//! The end: the ledger against both archives, the alerts that were told against the readings that should have raised them.

use std::{collections::BTreeMap, path::Path};

use sensor_sim::{
    ledger::{self, Entry},
    signal,
    verify::{self, Archive, Report},
};
use tests::{Gateway, Victoria, WebhookSink, wait::DEADLINE};
use tokio::time::Instant;

use crate::{Options, listener::Listener, people::People};

/// The rule of the course's config.
const ABOVE: f64 = 80.0;
const CLEAR: f64 = 40.0;

/// Everything to be judged.
pub(crate) struct Evidence<'a> {
    pub(crate) options: Options,
    pub(crate) gateway: &'a Gateway,
    pub(crate) victoria: &'a Victoria,
    pub(crate) webhook: &'a WebhookSink,
    pub(crate) ledger: &'a Path,
    pub(crate) compared: u32,
    pub(crate) people: &'a People,
    pub(crate) listener: &'a Listener,
}

/// What one archive holds.
#[derive(Default)]
struct Held {
    acknowledged: u64,
    found: u64,
    lost: u64,
    repeated: u64,
    unexpected: u64,
    examples: Vec<String>,
}

impl From<Report> for Held {
    fn from(report: Report) -> Self {
        let mut held = Self::default();
        for verdict in report.devices.into_values() {
            held.acknowledged += verdict.acknowledged;
            held.found += verdict.found;
            held.lost += verdict.missing;
            held.repeated += verdict.repeated;
            held.unexpected += verdict.unexpected;
            held.examples.extend(verdict.examples);
        }
        held
    }
}

impl Held {
    const fn is_right(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.unexpected == 0 && self.acknowledged > 0
    }

    fn told(&self, name: &str) -> String {
        let mut told = format!(
            "{name}: {} lost, {} repeated, {} unexpected",
            self.lost, self.repeated, self.unexpected
        );
        if let Some(first) = self.examples.get(..self.examples.len().min(5)) {
            first.iter().for_each(|e| told += &format!("\n    {e}"));
        }
        told
    }
}

/// Waits until all is through, and judges. Both ways with the closing lines.
pub(crate) async fn reckon(evidence: Evidence<'_>) -> Result<String, String> {
    let Evidence {
        options,
        gateway,
        ledger,
        ..
    } = evidence;
    let own = Archive::gateway(&gateway.url("")).map_err(|e| e.to_string())?;
    let victoria = evidence.victoria;
    let other = Archive::victoria(&victoria.url(), "sensor").map_err(|e| e.to_string())?;
    let (own, other) = (held(ledger, &own).await?, held(ledger, &other).await?);
    let again = inserted(victoria).await.saturating_sub(other.found);
    // Both balance, or this ends the test.
    gateway.account("broker", |_| true).await;
    gateway.account("push", |_| true).await;
    let alerts = Alerts::judge(&evidence).await?;
    let people = evidence.people.judge(gateway).await;
    let live = evidence.listener.judge(gateway).await;
    let line = format!(
        "{} {}, seed {}: {} readings acknowledged\n  {}\n  {} ({again} sent again)\n  {}\n  {}\n  {}\n  {} comparisons of windows, alerts, silences, audit trail and deliveries over a restart: all the same",
        options.kills,
        if options.power_cut {
            "power cuts"
        } else {
            "kills"
        },
        options.seed,
        own.acknowledged,
        own.told("embedded archive"),
        other.told("VictoriaMetrics"),
        alerts.told(),
        people.told(),
        live.told(),
        evidence.compared,
    );
    if own.is_right()
        && other.is_right()
        && alerts.are_right()
        && people.is_right()
        && live.is_right()
    {
        Ok(line)
    } else {
        Err(line)
    }
}

async fn held(ledger: &Path, archive: &Archive) -> Result<Held, String> {
    let until = Instant::now() + DEADLINE;
    loop {
        let report = verify::verify(ledger, archive).await;
        let held = Held::from(report.map_err(|error| error.to_string())?);
        if held.lost == 0 || Instant::now() > until {
            return Ok(held);
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// Rows that VictoriaMetrics was sent, repeats included.
async fn inserted(victoria: &Victoria) -> u64 {
    let Ok(response) = reqwest::get(format!("{}/metrics", victoria.url())).await else {
        return 0;
    };
    let text = response.text().await.unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("vm_rows_inserted_total{type=\"influx\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The alerts of the kettle.
struct Alerts {
    raised: usize,
    missing: Vec<String>,
    repeated: Vec<String>,
    unexpected: Vec<String>,
    again: usize,
}

impl Alerts {
    async fn judge(evidence: &Evidence<'_>) -> Result<Self, String> {
        let wanted = transitions(evidence.ledger, true)?;
        // The last reading may be stored although its sender was stopped before the answer.
        let possible = transitions(evidence.ledger, false)?;
        let until = Instant::now() + DEADLINE;
        let told = loop {
            let told = told(evidence.webhook);
            if wanted.iter().all(|w| told.contains_key(w)) || Instant::now() > until {
                break told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        };
        let name = |(time, event): &(i64, String)| format!("{event} at {time}");
        let missing = wanted.iter().filter(|w| !told.contains_key(*w));
        let unexpected = told.keys().filter(|t| !possible.contains(t));
        // The same delivery twice is the receiver's to drop; another one for the same change is a repeated alert.
        let repeated = told.iter().filter(|(_, ids)| ids.len() > 1);
        Ok(Self {
            raised: wanted.len(),
            missing: missing.map(name).collect(),
            unexpected: unexpected.map(name).collect(),
            repeated: repeated.map(|(change, _)| name(change)).collect(),
            again: told.values().flat_map(|ids| ids.values()).sum::<usize>()
                - told.values().map(BTreeMap::len).sum::<usize>(),
        })
    }

    fn are_right(&self) -> bool {
        self.missing.is_empty()
            && self.repeated.is_empty()
            && self.unexpected.is_empty()
            && self.raised > 0
    }

    fn told(&self) -> String {
        let mut told = format!(
            "{} changes of alerts: {} missing, {} repeated, {} unexpected ({} deliveries again, under their old id)",
            self.raised,
            self.missing.len(),
            self.repeated.len(),
            self.unexpected.len(),
            self.again,
        );
        for (what, which) in [
            ("missing", &self.missing),
            ("repeated", &self.repeated),
            ("unexpected", &self.unexpected),
        ] {
            for one in which.iter().take(5) {
                told += &format!("\n    {what}: {one}");
            }
        }
        told
    }
}

/// Deliveries by change, `(milliseconds, event)`, each with how often it came under which id.
fn told(webhook: &WebhookSink) -> BTreeMap<(i64, String), BTreeMap<String, usize>> {
    let mut told: BTreeMap<_, BTreeMap<String, usize>> = BTreeMap::new();
    for body in webhook.accepted() {
        let event = body["event"].as_str().unwrap_or_default().to_owned();
        let at = &body[format!("{}_ms", if event == "firing" { "fired" } else { &event })];
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        let change = (at.as_i64().unwrap_or_default(), event);
        *told.entry(change).or_default().entry(id).or_default() += 1;
    }
    told
}

/// What the readings of the kettle should have raised and ended: those that were acknowledged, or all that were sent.
fn transitions(path: &Path, acknowledged: bool) -> Result<Vec<(i64, String)>, String> {
    let mut sent: BTreeMap<u64, (i64, f64)> = BTreeMap::new();
    let mut readings: BTreeMap<i64, f64> = BTreeMap::new();
    ledger::read(path, |entry| match entry {
        Entry::Sent(message) if message.device == "kettle" => {
            let value = message.readings.iter().find_map(|r| match r.value {
                Some(signal::Value::Float(v)) if r.metric == "temperature" => Some(v),
                #[expect(clippy::cast_precision_loss, reason = "a small number")]
                Some(signal::Value::Int(v)) if r.metric == "temperature" => Some(v as f64),
                _ => None,
            });
            if let (Some(time), Some(value)) = (message.time, value) {
                let reading = (time.div_euclid(1_000_000), value);
                sent.insert(message.id, reading);
                if !acknowledged {
                    readings.insert(reading.0, reading.1);
                }
            }
        }
        Entry::Ack { id, .. } => {
            if let Some((time, value)) = sent.get(&id) {
                readings.insert(*time, *value);
            }
        }
        _ => {}
    })
    .map_err(|error| error.to_string())?;
    let mut firing = false;
    let mut changes = Vec::new();
    for (time, value) in readings {
        if !firing && value > ABOVE {
            firing = true;
            changes.push((time, String::from("firing")));
        } else if firing && value <= CLEAR {
            firing = false;
            changes.push((time, String::from("resolved")));
        }
    }
    Ok(changes)
}
