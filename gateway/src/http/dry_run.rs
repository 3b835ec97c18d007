//! Dry runs: when a rule would have fired, before it is one.
//!
//! The readings of the series that it is about come from the history and from memory, and go through the engine's own core
//! ([`Rehearsal`]), in the order in which they were measured. It runs beside everything else: [`MAX_RUNS`] at once, on a thread of the
//! blocking pool, over at most [`MAX_POINTS`] readings of [`MAX_SERIES`] series, for at most [`MAX_TIME`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue};
use tokio::time::Instant;

use super::{Api, RuleRequest, points, problem::Problem, rules, times};
use crate::{
    alert::{AlertState, Condition, Transition},
    engine::{self, Rehearsal},
    model::{Quality, SeriesKey, Timestamp, Unit, Value},
    store::{DeviceConfig, Point},
};

/// Dry runs at once; one more is refused.
pub(super) const MAX_RUNS: usize = 1;
/// Readings in one; more are refused, with what to do.
const MAX_POINTS: usize = 1_000_000;
/// Series in one; further ones are left out, and told.
const MAX_SERIES: usize = 500;
/// Intervals that one answer tells; the oldest are left out, and told.
const MAX_INTERVALS: usize = 5_000;
/// How long one may take; below what an answer may take.
const MAX_TIME: Duration = Duration::from_secs(20);
/// Readings from so long before the range are judged too, so that what was true at its start is known there.
const LEAD: i64 = 3_600_000_000_000;
/// Readings between two looks at the clock.
const LOOK_EVERY: usize = 4_096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    rule: Map<String, JsonValue>,
    from: Option<String>,
    to: Option<String>,
}

/// What a rule would have done.
#[derive(Debug, Serialize)]
struct DryRun {
    from_ms: i64,
    to_ms: i64,
    /// Readings that were judged, those before the range included.
    points: usize,
    /// Series that the rule is about.
    matched: usize,
    /// Of these, how many were too many to look at.
    left_out: usize,
    /// How often it would have fired.
    fired: usize,
    /// Intervals that are not told.
    intervals_left_out: usize,
    /// What must be known to believe it.
    notes: Vec<String>,
    series: Vec<OfSeries>,
}

/// One series.
#[derive(Debug, Serialize)]
struct OfSeries {
    series: String,
    unit: Option<String>,
    /// Its readings within the range.
    points: usize,
    intervals: Vec<Interval>,
}

/// One alert that would have been.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Interval {
    began_ms: i64,
    fired_ms: Option<i64>,
    /// None: at the end of the range it was not over.
    resolved_ms: Option<i64>,
    state: AlertState,
    /// The number in it that lies furthest from the last one before it.
    peak: Option<f64>,
}

/// What is looked at.
#[derive(Debug)]
struct Stored {
    key: SeriesKey,
    unit: Option<Unit>,
    points: Vec<Point>,
}

pub(super) async fn dry_run(
    State(api): State<Api>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = asked?;
    let now = api.parts.clock.now();
    let time = |name: &str, given: Option<&String>, default: Timestamp| match given {
        None => Ok(default),
        Some(text) => times::time(text, now).ok_or_else(|| {
            Problem::bad_request(format!(
                "{name} is no time: use RFC 3339, epoch milliseconds, or -1h"
            ))
        }),
    };
    let to = time("to", asked.to.as_ref(), now)?.min(now);
    let from = time(
        "from",
        asked.from.as_ref(),
        Timestamp(to.0.saturating_sub(24 * LEAD)),
    )?;
    if from >= to {
        return Err(Problem::bad_request(
            "from must be before to, and not in the future",
        ));
    }
    let body = rules::body(asked.rule)?;
    let ask = |answer| RuleRequest::Read(body, answer);
    let config = api.parts.rules.ask(ask).await?;
    let Ok(turn) = std::sync::Arc::clone(&api.dry_runs).try_acquire_owned() else {
        api.parts.rules.refused_dry_run();
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "another dry run is under way: try again in a moment",
        )
        .with(header::RETRY_AFTER, HeaderValue::from_static("2")));
    };
    let until = Instant::now() + MAX_TIME;
    let range = (from, to);
    let (config, stored, told) = gather(&api, *config, range, until).await?;
    let run = tokio::task::spawn_blocking(move || {
        let done = run(config, &stored, range, until);
        drop(turn);
        done
    });
    let Ok(Some(mut done)) = run.await else {
        return Err(refuse(&api, "it takes longer than 20 s"));
    };
    done.matched += told.left_out;
    done.left_out = told.left_out;
    done.notes.extend(told.notes);
    Ok(Json(done).into_response())
}

/// What is told besides.
struct Told {
    left_out: usize,
    notes: Vec<String>,
}

fn refuse(api: &Api, why: &str) -> Problem {
    api.parts.rules.refused_dry_run();
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "this is too much for a dry run, {why}: choose a shorter range, or a narrower `series`"
        ),
    )
}

/// The readings that are to be judged.
async fn gather(
    api: &Api,
    mut config: engine::Config,
    (from, to): (Timestamp, Timestamp),
    until: Instant,
) -> Result<(engine::Config, Vec<Stored>, Told), Problem> {
    let devices = api.parts.engine.devices().await?;
    let known = api.parts.engine.series().await?;
    let mut units: BTreeMap<SeriesKey, Option<Unit>> = BTreeMap::new();
    for info in known {
        units.insert(info.key, info.unit);
    }
    let all = units.keys().cloned().collect();
    let mut about = Rehearsal::concerned(&config, &devices, all);
    let left_out = about.len().saturating_sub(MAX_SERIES);
    about.truncate(MAX_SERIES);
    let configured = std::mem::take(&mut config.devices);
    let interval = |id: &str| configured.iter().find(|d| d.id == id)?.interval;
    config.devices = devices
        .into_iter()
        .map(|device| DeviceConfig {
            interval: interval(&device.id.0),
            expect: Vec::new(),
            id: device.id.0,
            name: Some(device.name),
            site: device.site,
            labels: device.labels,
        })
        .collect();
    let (lead, end) = (
        Timestamp(from.0.saturating_sub(LEAD)),
        Timestamp(to.0.saturating_add(1)),
    );
    let mut room = MAX_POINTS;
    let mut stored = Vec::with_capacity(about.len());
    for key in about {
        if Instant::now() >= until {
            return Err(refuse(api, "reading the history takes longer than 20 s"));
        }
        let old = match &api.parts.history {
            None => Vec::new(),
            Some(history) => history
                .points(key.clone(), lead, end, room + 1)
                .await
                .map_err(|error| Problem::internal("the history cannot be read", &error))?,
        };
        let new = api.parts.engine.points(key.clone(), lead, end).await?;
        let points = points::merge(old, new.unwrap_or_default());
        let Some(rest) = room.checked_sub(points.len()) else {
            return Err(refuse(
                api,
                &format!("there are more than {MAX_POINTS} readings"),
            ));
        };
        room = rest;
        let unit = units.remove(&key).flatten();
        stored.push(Stored { key, unit, points });
    }
    let mut notes = Vec::new();
    let oldest = stored
        .iter()
        .filter_map(|s| s.points.first())
        .map(|p| p.time);
    match oldest.min() {
        None if stored.is_empty() => notes.push(String::from(
            "No series that is known matches: nothing was judged.",
        )),
        None => notes.push(String::from("Nothing is stored in this range.")),
        Some(oldest) if oldest > from => notes.push(format!(
            "Nothing is stored before {}: the range is judged from there.",
            oldest.to_rfc3339()
        )),
        Some(_) => {}
    }
    if api.parts.history.is_none() {
        notes.push(String::from(
            "The history is switched off: only the readings that are still in memory are judged.",
        ));
    }
    if left_out > 0 {
        notes.push(format!(
            "{left_out} further series match and were left out: narrow `series` to see them."
        ));
    }
    let waits = |rule: &crate::alert::Rule| matches!(rule.condition, Condition::NoDataFor { .. });
    if config.rules.iter().any(waits) {
        notes.push(String::from(
            "When readings arrived is not stored: silence is judged by when they were measured.",
        ));
    }
    Ok((config, stored, Told { left_out, notes }))
}

/// `None` when the time is up.
fn run(
    config: engine::Config,
    stored: &[Stored],
    (from, to): (Timestamp, Timestamp),
    until: Instant,
) -> Option<DryRun> {
    let keys: Vec<SeriesKey> = stored.iter().map(|s| s.key.clone()).collect();
    let first = stored
        .iter()
        .filter_map(|s| s.points.first())
        .map(|p| p.time);
    // Silence before anything was stored is no silence.
    let begin = first.min().unwrap_or(from).min(to);
    let mut rehearsal = Rehearsal::new(config, &keys, begin);
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    for key in &keys {
        books.insert(key.to_string(), Book::default());
    }
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
    let mut at = vec![0; stored.len()];
    for (index, of) in stored.iter().enumerate() {
        next.extend(of.points.first().map(|point| Reverse((point.time, index))));
    }
    let mut taken = 0;
    while let Some(Reverse((_, index))) = next.pop() {
        let of = &stored[index];
        let point = &of.points[at[index]];
        at[index] += 1;
        next.extend(
            of.points
                .get(at[index])
                .map(|point| Reverse((point.time, index))),
        );
        taken += 1;
        if taken % LOOK_EVERY == 0 && Instant::now() >= until {
            return None;
        }
        rehearsal.take(&of.key, of.unit.as_ref(), point);
        note(&mut books, rehearsal.changes());
        if let Some(book) = books.get_mut(&of.key.to_string()) {
            book.heard(point);
        }
    }
    rehearsal.wait_until(to);
    note(&mut books, rehearsal.changes());
    let mut series = Vec::with_capacity(stored.len());
    let (mut fired, mut room, mut intervals_left_out) = (0, MAX_INTERVALS, 0);
    for of in stored {
        let name = of.key.to_string();
        let mut intervals = books.remove(&name).unwrap_or_default().close();
        let start = from.as_millis();
        intervals.retain(|one| one.resolved_ms.is_none_or(|end| end >= start));
        fired += intervals
            .iter()
            .filter(|one| one.fired_ms.is_some())
            .count();
        let over = intervals.len().saturating_sub(room);
        intervals.drain(..over);
        intervals_left_out += over;
        room -= intervals.len();
        series.push(OfSeries {
            series: name,
            unit: of.unit.as_ref().map(|unit| unit.0.to_string()),
            points: of.points.iter().filter(|point| point.time >= from).count(),
            intervals,
        });
    }
    Some(DryRun {
        from_ms: from.as_millis(),
        to_ms: to.as_millis(),
        points: taken,
        matched: stored.len(),
        left_out: 0,
        fired,
        intervals_left_out,
        notes: Vec::new(),
        series,
    })
}

fn note(books: &mut BTreeMap<String, Book>, changes: Vec<Transition>) {
    for change in changes {
        if let Some(book) = books.get_mut(change.alert.series.as_str()) {
            book.changed(&change);
        }
    }
}

/// The alerts of one series, as they come.
#[derive(Debug, Default)]
struct Book {
    intervals: Vec<Interval>,
    open: Option<Interval>,
    /// The last number outside of any of them.
    before: Option<f64>,
}

impl Book {
    fn changed(&mut self, change: &Transition) {
        let alert = &change.alert;
        let mut interval = self.open.take().unwrap_or(Interval {
            began_ms: alert.began_ms,
            fired_ms: None,
            resolved_ms: None,
            state: alert.state,
            peak: None,
        });
        interval.state = alert.state;
        interval.fired_ms = alert.fired_ms;
        interval.resolved_ms = alert.resolved_ms;
        // What makes it end is no part of it.
        if let (AlertState::Pending | AlertState::Firing, Some(value)) = (alert.state, &alert.value)
        {
            rise(&mut interval, self.before, value);
        }
        match alert.state {
            AlertState::Pending | AlertState::Firing => self.open = Some(interval),
            AlertState::Resolved | AlertState::Cancelled => self.intervals.push(interval),
        }
    }

    fn heard(&mut self, point: &Point) {
        if point.quality == Quality::Bad {
            return;
        }
        match &mut self.open {
            Some(interval) => rise(interval, self.before, &point.value),
            None => self.before = point.value.as_f64().or(self.before),
        }
    }

    fn close(mut self) -> Vec<Interval> {
        self.intervals.extend(self.open.take());
        self.intervals
    }
}

fn rise(interval: &mut Interval, before: Option<f64>, value: &Value) {
    let Some(number) = value.as_f64() else {
        return;
    };
    let distance = |number: f64| before.map_or(number, |before| (number - before).abs());
    if interval
        .peak
        .is_none_or(|peak| distance(number) > distance(peak))
    {
        interval.peak = Some(number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::alert::{Life, Rule, Severity};

    const BEGIN: i64 = 1_800_000_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(BEGIN + second * 1_000)
    }

    fn stored(name: &str, points: &[(i64, f64)]) -> Stored {
        let point = |(second, value): &(i64, f64)| Point {
            time: at(*second),
            value: Value::Float(*value),
            quality: Quality::Good,
        };
        Stored {
            key: SeriesKey::parse(name).unwrap(),
            unit: Some(Unit("Cel".into())),
            points: points.iter().map(point).collect(),
        }
    }

    fn rehearsed(condition: Condition, stored: &[Stored], until: Instant) -> Option<DryRun> {
        let rule = Rule {
            name: "r".into(),
            series: "*/*".into(),
            matching: std::collections::BTreeMap::new(),
            condition,
            hold: Duration::ZERO,
            severity: Severity::Warning,
            summary: String::new(),
            webhooks: Vec::new(),
            labels: BTreeMap::new(),
            life: Life::default(),
        };
        let config = engine::Config {
            rules: vec![rule],
            ..engine::Config::default()
        };
        run(config, stored, (at(100), at(1_000)), until)
    }

    fn later() -> Instant {
        Instant::now() + MAX_TIME
    }

    #[tokio::test]
    async fn each_interval_has_its_times_and_its_peak_and_what_ended_before_the_range_is_none() {
        let cold = Condition::Below {
            limit: 4.0,
            clear: 5.0,
        };
        let fridge = [
            // Over before the range, and one that goes on into it.
            (0, 6.0),
            (10, 1.0),
            (20, 7.0),
            (90, 3.5),
            (110, 2.0),
            (120, 3.0),
            (130, 6.0),
            // Not over at the end.
            (900, 3.9),
            (950, 3.0),
        ];
        let quiet = stored("b/t", &[(200, 20.0), (400, 21.0)]);
        let done = rehearsed(cold, &[stored("a/t", &fridge), quiet], later()).unwrap();
        assert_eq!((done.fired, done.points, done.matched), (2, 11, 2));
        let ms = |second: i64| BEGIN + second * 1_000;
        let expected = [
            Interval {
                began_ms: ms(90),
                fired_ms: Some(ms(90)),
                resolved_ms: Some(ms(130)),
                state: AlertState::Resolved,
                peak: Some(2.0),
            },
            Interval {
                began_ms: ms(900),
                fired_ms: Some(ms(900)),
                resolved_ms: None,
                state: AlertState::Firing,
                peak: Some(3.0),
            },
        ];
        assert_eq!(done.series[0].intervals, expected);
        assert_eq!((done.series[0].points, done.series[1].points), (5, 2));
        assert_eq!(done.series[1].intervals, []);
        assert_eq!(done.series[0].unit.as_deref(), Some("Cel"));
    }

    #[tokio::test]
    async fn a_run_whose_time_is_up_ends() {
        let hot = Condition::Above {
            limit: 1.0,
            clear: 1.0,
        };
        let many: Vec<(i64, f64)> = (0..2 * LOOK_EVERY as i64).map(|n| (n, 0.0)).collect();
        let many = [stored("a/t", &many)];
        assert!(rehearsed(hot.clone(), &many, Instant::now()).is_none());
        assert!(rehearsed(hot, &many, later()).is_some());
    }

    #[tokio::test]
    async fn of_too_many_intervals_the_newest_are_told() {
        let hot = Condition::Above {
            limit: 1.0,
            clear: 1.0,
        };
        let flaps: Vec<(i64, f64)> = (0..2 * MAX_INTERVALS as i64 + 20)
            .map(|n| (100 + n, if n % 2 == 0 { 2.0 } else { 0.0 }))
            .collect();
        let done = rehearsed(hot, &[stored("a/t", &flaps)], later()).unwrap();
        assert_eq!(done.intervals_left_out, 10);
        assert_eq!(done.series[0].intervals.len(), MAX_INTERVALS);
        assert_eq!(done.fired, MAX_INTERVALS + 10);
        let last = done.series[0].intervals.last().unwrap();
        assert_eq!(
            last.resolved_ms,
            Some(at(flaps.last().unwrap().0).as_millis())
        );
    }
}
