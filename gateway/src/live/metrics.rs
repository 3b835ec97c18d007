//! What the hub and its clients count.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) clients: Gauge,
    pub(super) refused: Counter,
    pub(super) snapshots: Counter,
    pub(super) resumes: Counter,
    pub(super) gaps: Counter,
    pub(super) cut: Counter,
    pub(super) zipped: Counter,
    pub(super) events: Counter,
    pub(super) status_dropped: Counter,
    pub(super) replay_bytes: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let counters = [
            (
                "gateway_live_events",
                "Events said to live clients",
                &metrics.events,
            ),
            (
                "gateway_live_clients_refused",
                "Live clients sent away because all places were taken",
                &metrics.refused,
            ),
            (
                "gateway_live_snapshots",
                "Live streams begun with a snapshot",
                &metrics.snapshots,
            ),
            (
                "gateway_live_resumes",
                "Live streams resumed where they broke off",
                &metrics.resumes,
            ),
            (
                "gateway_live_gaps",
                "Times that a slow live client skipped events",
                &metrics.gaps,
            ),
            (
                "gateway_live_frames_cut",
                "Readings frames cut out for a filter",
                &metrics.cut,
            ),
            (
                "gateway_live_frames_zipped",
                "Pieces of live streams compressed, each once for all who hear it",
                &metrics.zipped,
            ),
            (
                "gateway_live_status_dropped",
                "Status news dropped because there were too many keys",
                &metrics.status_dropped,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "gateway_live_clients",
            "Live clients connected",
            metrics.clients.clone(),
        );
        registry.register(
            "gateway_live_replay_bytes",
            "Bytes of events kept for live clients",
            metrics.replay_bytes.clone(),
        );
        metrics
    }
}
