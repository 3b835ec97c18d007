//! The comparison itself: pure, but for reading the ledger's file.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use super::Verdict;
use crate::{
    ledger::{self, Entry, LedgerError, Sent},
    plan::Expect,
    signal::Value,
};

const EXAMPLES: usize = 10;
/// How long after its sending a reading without a time may arrive: a broker or a disk may hold it back for so long.
const ARRIVES_WITHIN_MS: i64 = 3_600_000;
/// Clocks on one machine may be read in another order than things happened.
const SLACK_MS: i64 = 1_000;

/// The ledger, by series.
#[derive(Debug)]
pub(super) struct Account {
    series: BTreeMap<(String, String), Vec<Item>>,
    to_be_rejected: BTreeMap<String, u64>,
    damaged_lines: u64,
}

/// One reading of one message.
#[derive(Clone, Debug)]
struct Item {
    /// Nanoseconds since the epoch, from the payload.
    time: Option<i64>,
    sent_at: i64,
    value: Option<Value>,
    expect: Expect,
    copy: bool,
    hand_overs: u64,
    acknowledged: bool,
}

/// One series of the ledger.
#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) device: &'a str,
    pub(super) metric: &'a str,
    pub(super) ask: Ask,
    items: &'a [Item],
}

/// Which stretch of the archive to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) from_ms: i64,
    /// Not included.
    pub(super) to_ms: i64,
    /// About how many points are expected.
    pub(super) count: usize,
}

/// What is allowed and needed of one value at one time (or at any time, on arrival).
#[derive(Debug, Default)]
struct Need {
    sent: u64,
    acknowledged: u64,
    at_most: u64,
}

/// Equal for values that an archive may write in different ways: `1`, `1.0` and `true` are one number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Number(i64, u64),
    Text(String),
}

impl Account {
    pub(super) fn read(path: &Path) -> Result<Self, LedgerError> {
        let mut messages: HashMap<(u32, u64), (Sent, u64, bool)> = HashMap::new();
        let mut order = Vec::new();
        let mut run = 0;
        let damaged_lines = ledger::read(path, |entry| match entry {
            Entry::Start { .. } => run += 1,
            Entry::Sent(sent) => {
                order.push((run, sent.id));
                messages.insert((run, sent.id), (sent, 1, false));
            }
            Entry::Again { id, .. } => {
                if let Some(message) = messages.get_mut(&(run, id)) {
                    message.1 += 1;
                }
            }
            Entry::Ack { id, .. } => {
                if let Some(message) = messages.get_mut(&(run, id)) {
                    message.2 = true;
                }
            }
            Entry::Refused { .. } => {}
        })?;
        let mut account = Self {
            series: BTreeMap::new(),
            to_be_rejected: BTreeMap::new(),
            damaged_lines,
        };
        for key in order {
            let Some((sent, hand_overs, acknowledged)) = messages.remove(&key) else {
                continue;
            };
            let nan = sent.readings.iter().any(|r| r.expect == Expect::Rejected);
            if nan || sent.expect == Expect::Rejected {
                *account
                    .to_be_rejected
                    .entry(sent.device.clone())
                    .or_default() += 1;
            }
            for reading in sent.readings {
                let series = (sent.device.clone(), reading.metric);
                account.series.entry(series).or_default().push(Item {
                    time: sent.time,
                    sent_at: sent.at,
                    value: reading.value,
                    expect: reading.expect,
                    copy: sent.copy,
                    hand_overs,
                    acknowledged,
                });
            }
        }
        Ok(account)
    }

    pub(super) const fn damaged_lines(&self) -> u64 {
        self.damaged_lines
    }

    pub(super) const fn to_be_rejected(&self) -> &BTreeMap<String, u64> {
        &self.to_be_rejected
    }

    pub(super) fn series(&self) -> impl Iterator<Item = Series<'_>> {
        self.series.iter().map(|((device, metric), items)| Series {
            device,
            metric,
            ask: ask(items),
            items,
        })
    }
}

fn ask(items: &[Item]) -> Ask {
    let first = items.iter().map(|i| i.time.unwrap_or(i.sent_at)).min();
    let last = items
        .iter()
        .map(|i| {
            let arrives = if i.time.is_some() {
                0
            } else {
                ARRIVES_WITHIN_MS
            };
            i.time.unwrap_or(i.sent_at).div_euclid(1_000_000) + arrives
        })
        .max();
    Ask {
        from_ms: first.unwrap_or(0).div_euclid(1_000_000) - SLACK_MS,
        to_ms: last.unwrap_or(0) + SLACK_MS,
        count: items.len(),
    }
}

impl Series<'_> {
    /// Holds the points that were found, `(milliseconds, value)`, against what was sent.
    pub(super) fn judge(&self, found: &[(i64, Value)], texts: bool, verdict: &mut Verdict) {
        let is_text = |item: &Item| matches!(item.value, Some(Value::Text(_)));
        if !texts && self.items.iter().any(is_text) {
            // VictoriaMetrics keeps a 0 for every text, which says nothing.
            let distinct = self.items.iter().filter(|item| !item.copy).count();
            verdict.unverifiable += u64::try_from(distinct).unwrap_or(u64::MAX);
            return;
        }
        let mut needs: BTreeMap<(Option<i64>, Key), Need> = BTreeMap::new();
        let mut times: HashMap<(i64, Key), Vec<i64>> = HashMap::new();
        for item in self.items {
            let Some(value) = &item.value else { continue };
            let millisecond = item.time.map(|ns| ns.div_euclid(1_000_000));
            let key = Key::from(value);
            // A time in the payload makes equal readings the same reading, however often it was sent.
            let known = item.copy
                || item.time.is_some_and(|ns| {
                    let same = times
                        .entry((ns.div_euclid(1_000_000), key.clone()))
                        .or_default();
                    let known = same.contains(&ns);
                    if !known {
                        same.push(ns);
                    }
                    known
                });
            let need = needs.entry((millisecond, key)).or_default();
            if item.expect == Expect::Stored && !known {
                need.sent += 1;
                need.acknowledged += u64::from(item.acknowledged);
            } else if known && item.acknowledged && item.time.is_some() {
                // The copy was acknowledged, if not the first: then it is promised all the same.
                need.acknowledged = need.acknowledged.max(1).min(need.sent);
            }
            need.at_most += match item.time {
                Some(_) => u64::from(!known),
                None => item.hand_overs,
            };
        }

        let timed = self.items.iter().any(|item| item.time.is_some());
        let on_arrival = self.items.iter().any(|item| item.time.is_none());
        let mut there: BTreeMap<(Option<i64>, Key), u64> = BTreeMap::new();
        for (millisecond, value) in found {
            let key = Key::from(value);
            let at_its_time = (Some(*millisecond), key.clone());
            let place = if timed && (needs.contains_key(&at_its_time) || !on_arrival) {
                at_its_time
            } else {
                (None, key)
            };
            *there.entry(place).or_default() += 1;
        }

        for (place, need) in &needs {
            let count = there.remove(place).unwrap_or(0);
            verdict.sent += need.sent;
            verdict.acknowledged += need.acknowledged;
            verdict.found += count.min(need.sent);
            let missing = need.acknowledged.saturating_sub(count);
            let never_promised = need.sent - need.acknowledged;
            let absent = need.sent.saturating_sub(count);
            verdict.missing += missing;
            verdict.unacknowledged_missing += absent.saturating_sub(missing).min(never_promised);
            let repeated = count.saturating_sub(need.at_most);
            verdict.repeated += repeated;
            if missing > 0 {
                self.example(verdict, "missing", place);
            }
            if repeated > 0 {
                self.example(verdict, "repeated", place);
            }
        }
        for (place, count) in &there {
            verdict.unexpected += count;
            self.example(verdict, "unexpected", place);
        }
    }

    fn example(&self, verdict: &mut Verdict, what: &str, (time, key): &(Option<i64>, Key)) {
        if verdict.examples.len() < EXAMPLES {
            let value = match key {
                Key::Number(..) => key.number().to_string(),
                Key::Text(text) => format!("{text:?}"),
            };
            let at = time
                .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
                .map_or_else(String::new, |time| format!(" at {time}"));
            let Self { device, metric, .. } = self;
            verdict
                .examples
                .push(format!("{what}: {device}/{metric} = {value}{at}"));
        }
    }
}

impl Key {
    fn number(&self) -> f64 {
        match self {
            Self::Number(_, bits) => f64::from_bits(*bits),
            Self::Text(_) => f64::NAN,
        }
    }
}

impl From<&Value> for Key {
    /// Numbers are equal when they agree in 12 digits: archives may round the last ones.
    fn from(value: &Value) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "archives hold floats; 12 digits are compared"
        )]
        let number = match value {
            Value::Bool(b) => f64::from(u8::from(*b)),
            Value::Int(int) => *int as f64,
            Value::Float(float) => *float,
            Value::Text(text) => return Self::Text(text.clone()),
        };
        let rounded: f64 = format!("{number:.11e}").parse().unwrap_or(number) + 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only for a readable order; the bits decide"
        )]
        Self::Number(rounded as i64, rounded.to_bits())
    }
}
