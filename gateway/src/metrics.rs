//! `GET /metrics`: everything that the rooms registered, and the process itself, in the OpenMetrics text format
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! Reading them never stops anything: values are atomics, and a file of `/proc` that can't be read is left out.

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use crate::model::Timestamp;

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, which Linux has fixed at 100 for programs (`man 5 proc`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the process's own gauges (memory, open files, processor time, start) and `gateway_build_info`.
pub fn register_process(registry: &mut Registry, started: Timestamp) {
    registry.register(
        "gateway_build",
        "Which gateway this is",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry.register_collector(Box::new(Process {
        started_s: started.as_millis() / 1000,
    }));
}

/// The fragment with `GET /metrics`.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut body = String::with_capacity(16 << 10);
    if let Err(error) = text::encode(&mut body, &registry) {
        tracing::error!(%error, "the metrics cannot be written as text");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], body).into_response()
}

/// What Linux says of this process, read when it is asked for.
#[derive(Debug)]
struct Process {
    started_s: i64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "When the gateway started, Unix time",
            Some(self.started_s),
        )?;
        gauge(
            &mut encoder,
            "process_resident_memory_bytes",
            "Memory in use",
            resident_bytes(),
        )?;
        gauge(
            &mut encoder,
            "process_open_fds",
            "Open files and sockets",
            open_files(),
        )?;
        if let Some(seconds) = processor_seconds() {
            let counter = ConstCounter::new(seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time used",
                None,
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<i64>,
) -> Result<(), std::fmt::Error> {
    let Some(value) = value else {
        return Ok(());
    };
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_files() -> Option<i64> {
    // The listing itself holds one open.
    let open = std::fs::read_dir(Path::new("/proc/self/fd")).ok()?.count();
    i64::try_from(open).ok()?.checked_sub(1)
}

fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_rooms_and_the_process_are_in_the_text() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(3);
        registry.register("gateway_things", "Things", counter);
        register_process(&mut registry, Timestamp::from_millis(1_800_000_000_123));
        let response = router(Arc::new(registry))
            .oneshot(Request::get("/metrics").body(Body::empty()).unwrap())
            .await
            .unwrap();
        let media = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(media.starts_with("application/openmetrics-text"));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        let value = |name: &str| -> f64 {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .unwrap_or_else(|| panic!("no {name} in {text}"))
                .parse()
                .unwrap()
        };
        assert_eq!(value("gateway_things_total"), 3.0);
        assert_eq!(value("process_start_time_seconds"), 1_800_000_000.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(text.contains("gateway_build_info{version=\""));
        assert!(text.ends_with("# EOF\n"));
    }
}
