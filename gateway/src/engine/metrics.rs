//! What the engine counts, for Prometheus. Brought up to date once per round, not per reading.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{core::Core, outgoing::Dropped};
use crate::{
    alert::{self, AlertState, Change, Transition},
    store,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    readings: Counter,
    refused: Counter,
    too_late: Counter,
    left_out: Counter,
    windows_closed: Counter,
    series: Gauge,
    devices: Gauge,
    points: Gauge,
    ring_bytes: Gauge,
    alerts: Family<StateLabel, Gauge>,
    transitions: Family<StateLabel, Counter>,
    alerts_refused: Counter,
    rules_undecided: Counter,
    points_conflated: Counter,
    windows_untold: Counter,
    seen: Seen,
}

/// The counts as they were last brought over.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    store: store::Counts,
    alert: alert::Counts,
    dropped: Dropped,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "gateway_readings_applied",
            "Readings taken into memory",
            &new.readings,
        );
        counter(
            "gateway_readings_over_series_cap",
            "Readings not taken into memory because there are too many series",
            &new.refused,
        );
        counter(
            "gateway_readings_too_late",
            "Readings too late for one of their windows",
            &new.too_late,
        );
        counter(
            "gateway_readings_left_out",
            "Readings left out of windows because their time leapt ahead and no second one agreed",
            &new.left_out,
        );
        counter(
            "gateway_windows_closed",
            "Windows that became final",
            &new.windows_closed,
        );
        counter(
            "gateway_alerts_refused",
            "Alerts that did not begin because there were too many",
            &new.alerts_refused,
        );
        counter(
            "gateway_rules_undecided",
            "Times that a rule's condition could not be decided, such as for want of another series' value",
            &new.rules_undecided,
        );
        counter(
            "gateway_live_points_conflated",
            "Points left out of live updates because nobody took them in time",
            &new.points_conflated,
        );
        counter(
            "gateway_live_windows_untold",
            "Final windows left out of live updates because nobody took them in time",
            &new.windows_untold,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge("gateway_series", "Series known", &new.series);
        gauge("gateway_devices", "Devices known", &new.devices);
        gauge("gateway_ring_points", "Points in memory", &new.points);
        gauge(
            "gateway_ring_bytes",
            "Bytes of the points in memory",
            &new.ring_bytes,
        );
        registry.register("gateway_alerts", "Alerts by state", new.alerts.clone());
        registry.register(
            "gateway_alert_transitions",
            "Changes of alerts, by the state that they came to",
            new.transitions.clone(),
        );
        new
    }

    pub(super) fn transitions(&self, transitions: &[Transition]) {
        // Marks come and go without a change of state.
        let to_a_state = |change: &Transition| match change.alert.marks.change {
            Some(change) => matches!(
                change,
                Change::Began | Change::Fired | Change::Resolved | Change::Cancelled
            ),
            None => true,
        };
        for transition in transitions.iter().filter(|change| to_a_state(change)) {
            let state = match transition.alert.state {
                AlertState::Pending => "pending",
                AlertState::Firing => "firing",
                AlertState::Resolved => "resolved",
                AlertState::Cancelled => "cancelled",
            };
            self.transitions.get_or_create(&StateLabel { state }).inc();
        }
    }

    pub(super) fn bring_up_to_date(&mut self, core: &Core, dropped: Dropped) {
        let (store, alert) = (core.store.counts(), core.counts());
        let seen = std::mem::replace(
            &mut self.seen,
            Seen {
                store,
                alert,
                dropped,
            },
        );
        self.readings.inc_by(store.applied - seen.store.applied);
        self.refused.inc_by(store.refused - seen.store.refused);
        self.too_late.inc_by(store.too_late - seen.store.too_late);
        self.left_out.inc_by(store.left_out - seen.store.left_out);
        self.windows_closed.inc_by(store.closed - seen.store.closed);
        self.alerts_refused
            .inc_by(alert.refused - seen.alert.refused);
        self.rules_undecided
            .inc_by(alert.undecided - seen.alert.undecided);
        self.points_conflated
            .inc_by(dropped.points - seen.dropped.points);
        self.windows_untold
            .inc_by(dropped.windows - seen.dropped.windows);
        self.series.set(signed(core.store.series_known()));
        self.devices.set(signed(core.store.devices_known()));
        self.points.set(signed(core.store.points_held()));
        self.ring_bytes.set(signed(core.store.ring_bytes()));
        for (state, count) in [("pending", alert.pending), ("firing", alert.firing)] {
            self.alerts
                .get_or_create(&StateLabel { state })
                .set(signed(count));
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
