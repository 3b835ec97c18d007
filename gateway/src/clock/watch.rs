//! Tells when the clock is set and when it jumps: once each in the log, and counted.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio_util::sync::CancellationToken;

use super::Clock;

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at the clock until `stop`. Registers `gateway_clock_jumps_total` and `gateway_clock_trusted`.
pub fn watch(
    clock: Clock,
    registry: &mut Registry,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let jumps = Counter::<u64>::default();
    registry.register(
        "gateway_clock_jumps",
        "How often the wall clock jumped by more than a second",
        jumps.clone(),
    );
    let trusted = Gauge::<i64>::default();
    registry.register(
        "gateway_clock_trusted",
        "1 when the wall clock is set",
        trusted.clone(),
    );
    async move {
        let looking = async {
            let mut was_trusted = clock.is_trusted();
            trusted.set(i64::from(was_trusted));
            if !was_trusted {
                tracing::warn!(
                    "the clock is not set: what comes without a time of its own waits for the clock before it is archived, and no rule runs"
                );
            }
            loop {
                tokio::time::sleep(EVERY).await;
                while let Some(jump) = clock.untold() {
                    let seconds = jump.by_ms / 1_000;
                    tracing::warn!(seconds, "the clock jumped");
                }
                jumps.inc_by(clock.status().jumps.saturating_sub(jumps.get()));
                let is_trusted = clock.is_trusted();
                if is_trusted != was_trusted {
                    was_trusted = is_trusted;
                    trusted.set(i64::from(is_trusted));
                    if is_trusted {
                        tracing::info!(now = clock.now().to_rfc3339(), "the clock is set");
                    } else {
                        tracing::warn!("the clock went back to a time before it was ever set");
                    }
                }
            }
        };
        stop.run_until_cancelled(looking).await;
    }
}
