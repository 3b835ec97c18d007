//! Ranges of a series for charts: memory and the history on disk merged, each time once, and reduced to what a chart
//! can show.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::PathRejection},
    http::Uri,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{Api, problem::Problem, times};
use crate::{
    model::{DeviceId, Metric, Quality, SeriesKey, Timestamp, Value},
    store::{Point, Window, WindowSpec},
};

/// Range queries at once; more wait.
pub(super) const MAX_RANGES: usize = 4;
/// Points that one query takes from the history; a longer range loses its oldest, and says so.
const MAX_HISTORY_POINTS: usize = 200_000;
const MAX_POINTS: usize = 5000;
const DEFAULT_POINTS: usize = 1000;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/series/{device}/{metric}/points", get(points))
        .route("/api/v1/series/{device}/{metric}/windows", get(windows))
}

/// A range as it is answered.
#[derive(Debug, Serialize)]
struct Range {
    series: String,
    unit: Option<String>,
    from_ms: i64,
    to_ms: i64,
    /// Whether the range held more than can be answered, so that its oldest part is missing.
    truncated: bool,
    #[serde(flatten)]
    columns: Columns,
}

/// The points, or what became of them.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Columns {
    Raw {
        bucket_ms: Option<i64>,
        t: Vec<i64>,
        v: Vec<Value>,
        /// Only if one of them is not good.
        #[serde(skip_serializing_if = "Option::is_none")]
        q: Option<Vec<Quality>>,
    },
    Buckets {
        bucket_ms: i64,
        /// The start of each bucket that has points.
        t: Vec<i64>,
        min: Vec<f64>,
        max: Vec<f64>,
        mean: Vec<f64>,
        count: Vec<u64>,
    },
}

async fn points(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let series = key(path)?;
    let query = query(&uri);
    let now = api.parts.clock.now();
    let time = |name: &str, default: Timestamp| match query.get(name) {
        None => Ok(default),
        Some(text) => times::time(text, now).ok_or_else(|| {
            Problem::bad_request(format!(
                "{name} is no time: use RFC 3339, epoch milliseconds, or -1h"
            ))
        }),
    };
    let to = time("to", Timestamp(now.0.saturating_add(1)))?;
    let from = time("from", Timestamp(to.0.saturating_sub(3_600_000_000_000)))?;
    if from >= to {
        return Err(Problem::bad_request("from must be before to"));
    }
    let wanted = match query.get("points") {
        None => DEFAULT_POINTS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MAX_POINTS).contains(n))
            .ok_or_else(|| Problem::bad_request("points must be 1 to 5000"))?,
    };
    let Ok(_turn) = api.ranges.acquire().await else {
        return Err(Problem::unavailable("the gateway is stopping"));
    };
    let held = api
        .parts
        .engine
        .points(series.clone(), from, to)
        .await?
        .ok_or_else(|| Problem::not_found("there is no such series"))?;
    let (stored, truncated) = match &api.parts.history {
        None => (Vec::new(), false),
        Some(history) => {
            let stored = history
                .points(series.clone(), from, to, MAX_HISTORY_POINTS)
                .await
                .map_err(|error| Problem::internal("the history cannot be read", &error))?;
            let truncated = stored.len() == MAX_HISTORY_POINTS;
            (stored, truncated)
        }
    };
    let unit = api
        .parts
        .engine
        .series()
        .await?
        .into_iter()
        .find(|info| info.key == series)
        .and_then(|info| info.unit)
        .map(|unit| unit.0.to_string());
    let (columns, cut) = reduce(merge(stored, held), from, to, wanted);
    Ok(Json(Range {
        series: series.to_string(),
        unit,
        from_ms: from.as_millis(),
        to_ms: to.as_millis(),
        truncated: truncated || cut,
        columns,
    })
    .into_response())
}

/// Both by time, each time once; where both have a time, memory is right, as it is newer.
pub(super) fn merge(stored: Vec<Point>, held: Vec<Point>) -> Vec<Point> {
    if held.is_empty() || stored.is_empty() {
        let mut only = if held.is_empty() { stored } else { held };
        only.dedup_by_key(|point| point.time);
        return only;
    }
    let mut merged: Vec<Point> = Vec::with_capacity(stored.len() + held.len());
    let mut stored = stored.into_iter().peekable();
    let add = |merged: &mut Vec<Point>, point: Point| {
        if merged.last().is_none_or(|last| last.time != point.time) {
            merged.push(point);
        }
    };
    for point in held {
        while let Some(older) = stored.next_if(|stored| stored.time < point.time) {
            add(&mut merged, older);
        }
        while stored.next_if(|stored| stored.time == point.time).is_some() {}
        add(&mut merged, point);
    }
    for newer in stored {
        add(&mut merged, newer);
    }
    merged
}

/// At most `wanted` points: all of them if they fit, else buckets of equal width from `from` on. Buckets without points
/// are left out: gaps stay gaps. Bad readings count in no bucket. Texts can't be averaged: of them the newest are kept.
/// Says too whether any were left out.
#[expect(
    clippy::cast_precision_loss,
    reason = "a mean of more than 2^53 points is not asked for"
)]
fn reduce(
    mut points: Vec<Point>,
    from: Timestamp,
    to: Timestamp,
    wanted: usize,
) -> (Columns, bool) {
    let fits = points.len() <= wanted;
    let texts = points.iter().any(|point| point.value.as_f64().is_none());
    if fits || texts {
        points.drain(..points.len().saturating_sub(wanted));
        let doubtful = points.iter().any(|point| point.quality != Quality::Good);
        let columns = Columns::Raw {
            bucket_ms: None,
            t: points.iter().map(|point| point.time.as_millis()).collect(),
            q: doubtful.then(|| points.iter().map(|point| point.quality).collect()),
            v: points.into_iter().map(|point| point.value).collect(),
        };
        return (columns, !fits);
    }
    let range_ms = (i128::from(to.0) - i128::from(from.0)).div_euclid(1_000_000) + 1;
    let width_ms = i64::try_from(range_ms.unsigned_abs().div_ceil(wanted as u128))
        .unwrap_or(i64::MAX)
        .max(1);
    let start = from.as_millis();
    let (mut t, mut min, mut max) = (Vec::new(), Vec::new(), Vec::new());
    let (mut mean, mut count): (Vec<f64>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut bucket = None;
    for point in &points {
        let (Some(value), true) = (point.value.as_f64(), point.quality != Quality::Bad) else {
            continue;
        };
        let index = (point.time.as_millis() - start) / width_ms;
        if bucket != Some(index) {
            bucket = Some(index);
            t.push(start + index * width_ms);
            min.push(value);
            max.push(value);
            mean.push(value);
            count.push(1);
        } else if let (Some(min), Some(max), Some(mean), Some(count)) = (
            min.last_mut(),
            max.last_mut(),
            mean.last_mut(),
            count.last_mut(),
        ) {
            *min = min.min(value);
            *max = max.max(value);
            *count += 1;
            // Halved, so that the difference of two huge values stays finite.
            *mean += 2.0 * ((value / 2.0 - *mean / 2.0) / *count as f64);
        }
    }
    let columns = Columns::Buckets {
        bucket_ms: width_ms,
        t,
        min,
        max,
        mean,
        count,
    };
    (columns, false)
}

/// A window with which kind it is.
#[derive(Debug, Serialize)]
struct WindowOf {
    series: String,
    every_ms: u64,
    over_ms: u64,
    #[serde(flatten)]
    window: Window,
}

async fn windows(
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let series = key(path)?;
    let query = query(&uri);
    let duration = |name: &str| {
        query
            .get(name)
            .map(|text| {
                times::duration(text).ok_or_else(|| {
                    Problem::bad_request(format!("{name} is no duration: use 1m, 1h"))
                })
            })
            .transpose()
    };
    let spec = match (duration("every")?, duration("over")?) {
        (None, None) => None,
        (Some(every), None) | (None, Some(every)) => Some(WindowSpec::tumbling(every)),
        (Some(every), Some(over)) => Some(WindowSpec { every, over }),
    };
    let windows = api
        .parts
        .engine
        .windows(series.clone(), spec)
        .await?
        .ok_or_else(|| Problem::not_found("there is no such series"))?;
    let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let windows: Vec<WindowOf> = windows
        .into_iter()
        .map(|(spec, window)| WindowOf {
            series: series.to_string(),
            every_ms: millis(spec.every),
            over_ms: millis(spec.over),
            window,
        })
        .collect();
    Ok(Json(serde_json::json!({"series": series.to_string(), "windows": windows})).into_response())
}

fn key(path: Result<Path<(String, String)>, PathRejection>) -> Result<SeriesKey, Problem> {
    let Path((device, metric)) = path
        .map_err(|_| Problem::bad_request("the path is not UTF-8 when its escapes are undone"))?;
    Ok(SeriesKey {
        device: DeviceId(device.into()),
        metric: Metric(metric.into()),
    })
}

/// The values of a form (`application/x-www-form-urlencoded`) by name; what is none has no values.
pub(super) fn pairs(form: &str) -> BTreeMap<String, String> {
    Uri::try_from(format!("/?{form}")).map_or_else(|_| BTreeMap::new(), |uri| query(&uri))
}

/// The query's values by name, the last of equals. What can't be decoded becomes U+FFFD.
pub(super) fn query(uri: &Uri) -> BTreeMap<String, String> {
    Query::try_from_uri(uri).map_or_else(|_| BTreeMap::new(), |Query(query)| query)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(ms: i64, value: f64) -> Point {
        Point {
            time: Timestamp::from_millis(ms),
            value: Value::Float(value),
            quality: Quality::Good,
        }
    }

    #[test]
    fn each_time_is_there_once_and_memory_is_right() {
        let stored = vec![point(1, 1.0), point(2, 2.0), point(4, 4.0)];
        let held = vec![point(2, 20.0), point(3, 30.0), point(5, 50.0)];
        let merged: Vec<(i64, Option<f64>)> = merge(stored, held)
            .iter()
            .map(|p| (p.time.as_millis(), p.value.as_f64()))
            .collect();
        assert_eq!(
            merged,
            [
                (1, Some(1.0)),
                (2, Some(20.0)),
                (3, Some(30.0)),
                (4, Some(4.0)),
                (5, Some(50.0))
            ]
        );
    }

    #[test]
    fn buckets_hold_min_max_mean_and_count_and_gaps_stay_gaps() {
        let points: Vec<Point> = (0..10)
            .chain(90..100)
            .map(|ms| point(ms, f64::from(i32::try_from(ms).unwrap())))
            .collect();
        let (columns, cut) = reduce(points, Timestamp(0), Timestamp::from_millis(99), 10);
        assert!(!cut);
        assert_eq!(
            columns,
            Columns::Buckets {
                bucket_ms: 10,
                t: vec![0, 90],
                min: vec![0.0, 90.0],
                max: vec![9.0, 99.0],
                mean: vec![4.5, 94.5],
                count: vec![10, 10],
            }
        );
    }

    #[test]
    fn bad_readings_count_in_no_bucket() {
        let mut points: Vec<Point> = (0..20).map(|ms| point(ms, 1.0)).collect();
        points[3] = Point {
            quality: Quality::Bad,
            ..point(3, 1e9)
        };
        let (columns, _) = reduce(points, Timestamp(0), Timestamp::from_millis(19), 1);
        let Columns::Buckets { max, count, .. } = columns else {
            panic!("not reduced");
        };
        assert_eq!((max, count), (vec![1.0], vec![19]));
    }

    #[test]
    fn of_texts_the_newest_are_kept_and_the_rest_is_said_to_be_missing() {
        let points = (0..5)
            .map(|ms| Point {
                value: Value::Text("on".into()),
                ..point(ms, 0.0)
            })
            .collect();
        let (columns, cut) = reduce(points, Timestamp(0), Timestamp::from_millis(9), 2);
        assert!(cut);
        assert!(matches!(columns, Columns::Raw { t, .. } if t == [3, 4]));
    }

    proptest! {
        #[test]
        fn never_more_buckets_than_wanted_and_no_point_is_lost(
            mut times in proptest::collection::btree_set(-5_000i64..5_000, 1..400),
            wanted in 1usize..50,
            width in 1i64..6_000,
        ) {
            times.retain(|t| (-width..width).contains(t));
            let n = times.len();
            let points: Vec<Point> = times.iter().map(|ms| point(*ms, *ms as f64)).collect();
            let (columns, _) = reduce(
                points,
                Timestamp::from_millis(-width),
                Timestamp::from_millis(width),
                wanted,
            );
            match columns {
                Columns::Raw { t, .. } => prop_assert!(t.len() == n && n <= wanted),
                Columns::Buckets { t, min, max, mean, count, bucket_ms } => {
                    prop_assert!(t.len() <= wanted);
                    prop_assert_eq!(count.iter().sum::<u64>(), n as u64);
                    for i in 0..t.len() {
                        prop_assert!(min[i] <= mean[i] + 1e-6 && mean[i] <= max[i] + 1e-6);
                        prop_assert!(min[i] >= t[i] as f64 && max[i] < (t[i] + bucket_ms) as f64);
                    }
                }
            }
        }

        #[test]
        fn merging_keeps_every_time_in_order(
            a in proptest::collection::btree_set(0i64..100, 0..50),
            b in proptest::collection::btree_set(0i64..100, 0..50),
        ) {
            let points = |times: &std::collections::BTreeSet<i64>| {
                times.iter().map(|ms| point(*ms, 0.0)).collect::<Vec<_>>()
            };
            let merged: Vec<i64> = merge(points(&a), points(&b)).iter().map(|p| p.time.as_millis()).collect();
            let both: Vec<i64> = a.union(&b).copied().collect();
            prop_assert_eq!(merged, both);
        }
    }
}
