//! The inventory over REST: series.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use super::{Api, problem::Problem};
use crate::{
    model::{Quality, Value},
    store::SeriesInfo,
};

pub(super) fn router() -> Router<Api> {
    Router::new().route("/api/v1/series", get(series))
}

/// A Series as `docs/http-api.md` describes it.
#[derive(Debug, Serialize)]
struct Series {
    id: String,
    device: String,
    metric: String,
    unit: Option<String>,
    kind: Option<&'static str>,
    t: Option<i64>,
    v: Option<Value>,
    quality: Quality,
    retained: bool,
    too_late: u64,
}

impl From<SeriesInfo> for Series {
    fn from(info: SeriesInfo) -> Self {
        let kind = info.latest.as_ref().map(|point| match point.value {
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::Text(_) => "text",
        });
        Self {
            id: info.key.to_string(),
            device: info.key.device.0.to_string(),
            metric: info.key.metric.0.to_string(),
            unit: info.unit.map(|unit| unit.0.to_string()),
            kind,
            t: info.latest.as_ref().map(|point| point.time.as_millis()),
            quality: info
                .latest
                .as_ref()
                .map_or(Quality::Good, |point| point.quality),
            v: info.latest.map(|point| point.value),
            retained: info.retained,
            too_late: info.too_late,
        }
    }
}

#[derive(Debug, Serialize)]
struct SeriesList {
    series: Vec<Series>,
}

async fn series(State(api): State<Api>) -> Result<Response, Problem> {
    let series = api.parts.engine.series().await?;
    Ok(Json(SeriesList {
        series: series.into_iter().map(Series::from).collect(),
    })
    .into_response())
}
