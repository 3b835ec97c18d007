//! Dry runs: when a rule would have fired, before it is one.
//!
//! The readings of the series that it is about, of those that it compares them with, and of those that the rules are about on which it
//! depends ([`gather`]) go through the engine's own core ([`Rehearsal`]), in the order in which they were measured. Told is what becomes of
//! the rule itself. It runs beside everything else: [`MAX_RUNS`] at once, on a thread of the blocking pool, over at most
//! [`gather::MAX_POINTS`] readings of [`gather::MAX_SERIES`] series, for at most [`MAX_TIME`].

mod gather;

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

use self::gather::{Gathered, gather};
use super::{Api, RuleRequest, problem::Problem, rules, times};
use crate::{
    alert::{AlertState, Transition},
    engine::Rehearsal,
    model::{Quality, SeriesKey, Timestamp, Value},
    store::Point,
};

/// Dry runs at once; one more is refused.
pub(super) const MAX_RUNS: usize = 1;
/// Intervals that one answer tells; the oldest are left out, and told.
const MAX_INTERVALS: usize = 5_000;
/// How long one may take; below what an answer may take.
const MAX_TIME: Duration = Duration::from_secs(20);
/// An hour.
const HOUR: i64 = 3_600_000_000_000;
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
    /// Readings that were gone through, those before the range and those of other series included.
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
        Timestamp(to.0.saturating_sub(24 * HOUR)),
    )?;
    if from >= to {
        return Err(Problem::bad_request(
            "from must be before to, and not in the future",
        ));
    }
    let body = rules::body(asked.rule)?;
    let ask = |answer| RuleRequest::Read(body, answer);
    let asked = api.parts.rules.ask(ask).await?;
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
    let gathered = gather(&api, *asked, range, until).await?;
    let run = tokio::task::spawn_blocking(move || {
        let done = run(gathered, range, until);
        drop(turn);
        done
    });
    let Ok(Some(done)) = run.await else {
        return Err(refuse(&api, "it takes longer than 20 s"));
    };
    Ok(Json(done).into_response())
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

/// `None` when the time is up.
fn run(gathered: Gathered, (from, to): (Timestamp, Timestamp), until: Instant) -> Option<DryRun> {
    let Gathered {
        config,
        lead,
        stored,
        left_out,
        mut notes,
    } = gathered;
    let keys: Vec<SeriesKey> = stored.iter().map(|s| s.key.clone()).collect();
    let starts = stored.iter().filter_map(|s| {
        let within = s.points.iter().map(|point| point.time);
        within.into_iter().find(|time| *time >= lead)
    });
    // Silence before anything was stored is no silence.
    let begin = starts.min().unwrap_or(from).min(to);
    let rule = config.rules.first().map(|rule| rule.name.clone());
    let mut rehearsal = Rehearsal::new(config, &keys, begin);
    for of in &stored {
        if let Some(point) = &of.retained {
            rehearsal.take_retained(&of.key, of.unit.as_ref(), point);
        }
    }
    let mut books: BTreeMap<String, Book> = BTreeMap::new();
    for of in stored.iter().filter(|of| of.is_about) {
        books.insert(of.key.to_string(), Book::default());
    }
    // At one moment what is looked at comes first, then those that the rule depends on.
    let order = |index: usize| (!stored[index].is_looked_at, stored[index].is_about, index);
    let mut next = BinaryHeap::new();
    let mut at = vec![0; stored.len()];
    for (index, of) in stored.iter().enumerate() {
        next.extend(
            of.points
                .first()
                .map(|point| Reverse((point.time, order(index)))),
        );
    }
    let mut taken = 0;
    while let Some(Reverse((_, (.., index)))) = next.pop() {
        let of = &stored[index];
        let point = &of.points[at[index]];
        at[index] += 1;
        next.extend(
            of.points
                .get(at[index])
                .map(|point| Reverse((point.time, order(index)))),
        );
        taken += 1;
        if taken % LOOK_EVERY == 0 && Instant::now() >= until {
            return None;
        }
        rehearsal.take(&of.key, of.unit.as_ref(), point);
        note(&mut books, rule.as_deref(), rehearsal.changes());
        if let Some(book) = books.get_mut(&of.key.to_string()) {
            book.heard(point);
        }
    }
    rehearsal.wait_until(to);
    note(&mut books, rule.as_deref(), rehearsal.changes());
    notes.extend(rehearsal.undecided().map(|of| {
        let whose = if rule.as_deref() == Some(of.rule.as_str()) {
            String::from("It")
        } else {
            format!("The rule \"{}\", which it depends on,", of.rule)
        };
        let times = if of.times == 1 { "time" } else { "times" };
        format!(
            "{whose} could not be decided {} {times}, last because {}.",
            of.times, of.last
        )
    }));
    let mut series = Vec::with_capacity(books.len());
    let (mut fired, mut room, mut intervals_left_out) = (0, MAX_INTERVALS, 0);
    for of in stored.iter().filter(|of| of.is_about) {
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
        matched: series.len() + left_out,
        left_out,
        fired,
        intervals_left_out,
        notes,
        series,
    })
}

fn note(books: &mut BTreeMap<String, Book>, rule: Option<&str>, changes: Vec<Transition>) {
    for change in changes {
        if Some(change.alert.rule.as_str()) == rule
            && let Some(book) = books.get_mut(change.alert.series.as_str())
        {
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
    use super::{gather::Stored, *};
    use crate::{
        alert::{Condition, Of, Rule, Side},
        engine,
        model::{Metric, Unit},
    };

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
            retained: None,
            is_about: true,
            is_looked_at: false,
        }
    }

    fn gathered(rules: Vec<Rule>, stored: Vec<Stored>) -> Gathered {
        Gathered {
            config: engine::Config {
                rules,
                ..engine::Config::default()
            },
            lead: at(-3_500),
            stored,
            left_out: 0,
            notes: Vec::new(),
        }
    }

    fn rehearsed(condition: Condition, stored: Vec<Stored>, until: Instant) -> Option<DryRun> {
        let gathered = gathered(vec![Rule::plain("r", "*/*", condition)], stored);
        run(gathered, (at(100), at(1_000)), until)
    }

    fn fired_at(run: &DryRun, of: usize) -> Vec<i64> {
        let fired = run.series[of].intervals.iter().filter_map(|i| i.fired_ms);
        fired.map(|ms| (ms - BEGIN) / 1_000).collect()
    }

    fn over_setpoint(max_age: Option<Duration>) -> Condition {
        Condition::Versus {
            side: Side::Above,
            other: Of::Metric(Metric("setpoint".into())),
            by: 2.0,
            clear_by: 2.0,
            max_age,
        }
    }

    fn beside(name: &str, points: &[(i64, f64)]) -> Stored {
        Stored {
            is_about: false,
            is_looked_at: true,
            ..stored(name, points)
        }
    }

    #[tokio::test]
    async fn a_setpoint_of_long_ago_counts_and_one_of_the_same_moment_comes_first() {
        let room = stored("a/t", &[(150, 23.0), (300, 21.0), (500, 24.0)]);
        // Said before the lead, and changed with the second reading.
        let setpoint = beside("a/setpoint", &[(-9_000, 20.0), (300, 18.0), (400, 22.5)]);
        let rules = vec![Rule::plain("r", "a/t", over_setpoint(None))];
        let done = run(
            gathered(rules.clone(), vec![room, setpoint]),
            (at(100), at(1_000)),
            later(),
        )
        .unwrap();
        assert_eq!(fired_at(&done, 0), [150]);
        let ends: Vec<_> = done.series[0]
            .intervals
            .iter()
            .map(|i| i.resolved_ms)
            .collect();
        assert_eq!(
            ends,
            [Some(at(500).as_millis())],
            "at 300 it is 3 above the new one"
        );
        assert_eq!((done.matched, done.points, done.series.len()), (1, 6, 1));
        assert_eq!(done.notes, Vec::<String>::new());

        // Without any it can't be decided, and that is said.
        let room = || stored("a/t", &[(150, 23.0), (300, 21.0)]);
        let done = run(
            gathered(rules.clone(), vec![room(), beside("a/setpoint", &[])]),
            (at(100), at(1_000)),
            later(),
        )
        .unwrap();
        assert_eq!(done.fired, 0);
        assert!(
            done.notes[0].starts_with("It could not be decided 2 times, last because"),
            "{:?}",
            done.notes
        );

        // A retained one counts from the start on, but has no age.
        let retained = || Stored {
            retained: stored("a/setpoint", &[(900, 20.0)]).points.pop(),
            ..beside("a/setpoint", &[])
        };
        let done = run(
            gathered(rules, vec![room(), retained()]),
            (at(100), at(1_000)),
            later(),
        )
        .unwrap();
        assert_eq!(fired_at(&done, 0), [150]);
        let aged = vec![Rule::plain(
            "r",
            "a/t",
            over_setpoint(Some(Duration::from_secs(60))),
        )];
        let done = run(
            gathered(aged, vec![room(), retained()]),
            (at(100), at(1_000)),
            later(),
        )
        .unwrap();
        assert_eq!(done.fired, 0);
        assert!(done.notes[0].contains("too old"), "{:?}", done.notes);
    }

    #[tokio::test]
    async fn a_rule_that_it_depends_on_is_run_along_and_not_told() {
        let hot = Condition::Above {
            limit: 30.0,
            clear: 30.0,
        };
        let off = Condition::Below {
            limit: 1.0,
            clear: 1.0,
        };
        let mut dependent = Rule::plain("hot", "*/t", hot);
        dependent.life.depends_on = vec!["off".into()];
        let link = |points: &[(i64, f64)]| Stored {
            is_looked_at: false,
            ..beside("a/power", points)
        };
        let heat = || stored("a/t", &[(150, 31.0), (200, 20.0), (300, 31.0), (400, 20.0)]);
        // Off from 300 on, in the same moment as the second time.
        let rules = vec![dependent.clone(), Rule::plain("off", "*/power", off)];
        let done = run(
            gathered(rules, vec![heat(), link(&[(140, 5.0), (300, 0.0)])]),
            (at(100), at(1_000)),
            later(),
        )
        .unwrap();
        assert_eq!(fired_at(&done, 0), [150]);
        assert_eq!((done.matched, done.fired), (1, 1));
        let alone = run(
            gathered(vec![dependent], vec![heat()]),
            (at(100), at(1_000)),
            later(),
        );
        assert_eq!(fired_at(&alone.unwrap(), 0), [150, 300]);
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
        let done = rehearsed(cold, vec![stored("a/t", &fridge), quiet], later()).unwrap();
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
        let many = || vec![stored("a/t", &many)];
        assert!(rehearsed(hot.clone(), many(), Instant::now()).is_none());
        assert!(rehearsed(hot, many(), later()).is_some());
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
        let done = rehearsed(hot, vec![stored("a/t", &flaps)], later()).unwrap();
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
