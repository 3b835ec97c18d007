//! What the state counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::made::Thing;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct WebhookLabel {
    pub(super) webhook: String,
}

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) queued: Family<WebhookLabel, Counter>,
    pub(super) delivered: Family<WebhookLabel, Counter>,
    pub(super) given_up: Family<WebhookLabel, Counter>,
    pub(super) withdrawn: Family<WebhookLabel, Counter>,
    pub(super) silences_refused: Counter,
    pub(super) inventories: Counter,
    made_refused: [Counter; Thing::ALL.len()],
    pub(super) untold: Counter,
    pub(super) ungrouped: Counter,
    pub(super) failures: Counter,
    pub(super) failing: Gauge,
    pub(super) circuits_open: Family<WebhookLabel, Gauge>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            queued: Family::default(),
            delivered: Family::default(),
            given_up: Family::default(),
            withdrawn: Family::default(),
            silences_refused: Counter::default(),
            inventories: Counter::default(),
            made_refused: Default::default(),
            untold: Counter::default(),
            ungrouped: Counter::default(),
            failures: Counter::default(),
            failing: Gauge::default(),
            circuits_open: Family::default(),
        };
        registry.register(
            "gateway_deliveries_queued",
            "Deliveries put into the outbox",
            metrics.queued.clone(),
        );
        registry.register(
            "gateway_deliveries_delivered",
            "Deliveries that a webhook accepted",
            metrics.delivered.clone(),
        );
        registry.register(
            "gateway_deliveries_given_up",
            "Deliveries given up",
            metrics.given_up.clone(),
        );
        registry.register(
            "gateway_deliveries_withdrawn",
            "Deliveries held back by a silence until their alert was over, and never sent",
            metrics.withdrawn.clone(),
        );
        registry.register(
            "gateway_silences_refused",
            "Silences refused because too many were planned or active",
            metrics.silences_refused.clone(),
        );
        registry.register(
            "gateway_inventories",
            "Times that the inventory of series was written down",
            metrics.inventories.clone(),
        );
        for (thing, refused) in Thing::ALL.into_iter().zip(&metrics.made_refused) {
            let (name, help) = match thing {
                Thing::Rule => (
                    "gateway_rules_refused",
                    "Rules of people refused because there were too many",
                ),
                Thing::Device => (
                    "gateway_devices_refused",
                    "Devices of people refused because there were too many",
                ),
                Thing::Webhook => (
                    "gateway_webhooks_refused",
                    "Webhooks of people refused because there were too many",
                ),
                Thing::Dashboard => (
                    "gateway_dashboards_refused",
                    "Dashboards refused because there were too many",
                ),
            };
            registry.register(name, help, refused.clone());
        }
        registry.register(
            "gateway_group_alerts_untold",
            "Alerts of groups that were over before anybody was told of them",
            metrics.untold.clone(),
        );
        registry.register(
            "gateway_group_alerts_refused",
            "Alerts that were told by themselves because the groups had no room",
            metrics.ungrouped.clone(),
        );
        registry.register(
            "gateway_state_failures",
            "Reads and writes of the state file that failed",
            metrics.failures.clone(),
        );
        registry.register(
            "gateway_state_failing",
            "1 while alerts and deliveries cannot be written down",
            metrics.failing.clone(),
        );
        registry.register(
            "gateway_webhook_circuit_open",
            "1 while a webhook fails whatever it is sent and is only probed",
            metrics.circuits_open.clone(),
        );
        metrics
    }

    /// Things of this kind that were refused because there were too many.
    pub(super) const fn refused(&self, thing: Thing) -> &Counter {
        &self.made_refused[thing as usize]
    }
}
