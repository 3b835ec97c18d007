//! Another config while the gateway runs: the difference to the one in force is applied, and nothing else is touched.
//!
//! First everything that can fail is made ready: ports, clients. If something does fail, nothing changes. Then:
//!
//! 1. sources that leave or are replaced deliver, acknowledge what is durable, and say goodbye;
//! 2. from back to front what comes: history, archive, recipients and webhooks, then the engine (which ends the alerts of
//!    rules that are gone), then ingest;
//! 3. webhooks that leave end after the try under way;
//! 4. the sources that are new or replaced start.
//!
//! It may be dropped at any await by a gateway that stops: every step leaves what [`App::stop`] can stop.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    App, StartError,
    change::{Difference, in_force},
    made::lay_over,
    outlets::{self, recipients},
    web,
};
use crate::{cause, config::Config, http, ingest::Change, model::SourceName};

/// How changes of the config went.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    reloads: Family<ResultLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Metrics {
    /// Registers `gateway_config_reloads_total{result}`.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let reloads = Family::default();
        registry.register(
            "gateway_config_reloads",
            "Changes of the config: applied, unchanged (nothing to do) or refused",
            reloads.clone(),
        );
        let metrics = Self { reloads };
        for result in ["applied", "unchanged", "refused"] {
            metrics.of(result);
        }
        metrics
    }

    fn of(&self, result: &'static str) -> Counter {
        self.reloads.get_or_create(&ResultLabel { result }).clone()
    }
}

impl App {
    /// Applies the difference between this config and the one in force. Whether it was taken; if not, nothing changed, and log
    /// and status say why.
    pub async fn reload(&mut self, file: Config) -> bool {
        // What is in its files may have changed though their names did not.
        if let Some(tls) = &self.tls {
            web::renew(tls, &self.clock).await;
        }
        let laid = lay_over(&file, &self.own);
        let difference = Difference::between(&self.config, &laid.config);
        let config = in_force(&self.config, laid.config);
        let file = in_force(&self.file, file);
        let restart_needed = difference.restart_needed.clone();
        if !restart_needed.is_empty() {
            tracing::warn!(settings = ?restart_needed, "these settings were changed and hold after a restart of the gateway");
        }
        let result = if difference.is_empty() {
            tracing::info!("the config was read again: nothing to do");
            // Rules may stand on other lines.
            self.rules.reload(&config, false).await;
            "unchanged"
        } else {
            let words = difference.words();
            if let Err(error) = self.apply(&difference, &config).await {
                self.refuse(vec![cause::chain(&error)]);
                return false;
            }
            tracing::info!(changed = %words, "the changed config is in force");
            "applied"
        };
        self.config = config;
        *self.file = file;
        self.reload_metrics.of(result).inc();
        let now = self.clock.now().to_rfc3339();
        let sources: Arc<[_]> = self.sources.statuses().into();
        self.configured.send_modify(|configured| {
            configured.sources = sources;
            configured.config.loaded_at = now;
            configured.config.reloads += u64::from(result == "applied");
            configured.config.last_error = None;
            configured.config.restart_needed = restart_needed;
        });
        self.show(laid.entries).await;
        self.tell_config();
        true
    }

    /// A changed config can't be used: says why in log, status and page. Nothing else changes.
    pub fn refuse(&self, faults: Vec<String>) {
        tracing::error!(
            faults = faults.len(),
            "the changed config is not used, the one before stays in force"
        );
        for fault in &faults {
            tracing::error!(%fault, "a fault of the changed config");
        }
        self.reload_metrics.of("refused").inc();
        let at = self.clock.now().to_rfc3339();
        self.configured.send_modify(|configured| {
            configured.config.last_error = Some(http::RefusedConfig { at, faults });
        });
        self.tell_config();
    }

    pub(super) async fn apply(
        &mut self,
        difference: &Difference,
        config: &Config,
    ) -> Result<(), StartError> {
        let coming: Vec<_> = [&difference.replaced, &difference.added]
            .into_iter()
            .flatten()
            .collect();
        let leaving: Vec<SourceName> = difference
            .removed
            .iter()
            .chain(difference.replaced.iter().map(|source| &source.name))
            .cloned()
            .collect();

        // What can fail.
        if !self.sources.have_room_for(&config.sources) {
            return Err(StartError::TooManySources);
        }
        let mut prepared = Vec::new();
        let mut ports = leaving.clone();
        for source in &coming {
            prepared.push((*source, self.sources.prepare(source, &mut ports).await?));
        }
        let mut notifiers = Vec::new();
        for webhook in &config.webhooks {
            if difference.webhooks_begun.iter().any(|n| *n == webhook.name) {
                notifiers.push((&webhook.name, self.outlets.prepare_webhook(webhook)?));
            }
        }
        let beats = if difference.heartbeats {
            Some(self.beating.prepare(&config.heartbeats)?)
        } else {
            None
        };
        let archiver = if difference.archive {
            Some(self.outlets.prepare_archive(config)?)
        } else {
            None
        };

        self.sources.end(&leaving, &difference.removed).await;

        if let (true, Some(history), Some(settings)) =
            (difference.history, &self.history, config.history)
        {
            history.reconfigure(settings);
        }
        if let Some(archiver) = archiver {
            self.outlets.change_archive(archiver).await;
        }
        self.change_recipients(config).await;
        // Webhooks that come may bring alerts of groups up to date.
        if difference.routes
            || !difference.webhooks_begun.is_empty()
            || !difference.webhooks_ended.is_empty()
        {
            outlets::set_routes(&self.state, config).await;
        }
        for (name, notifier) in notifiers {
            self.outlets.begin_webhook(name, notifier);
        }
        if let Some(beats) = beats {
            self.beating.change(beats, &self.front);
        }
        if difference.site {
            self.hub.set_site(config.site.clone());
        }
        if difference.live {
            self.hub.enable(config.live.enabled);
        }
        self.rules.reload(config, difference.engine).await;
        if difference.normalise {
            let settings = Change::Settings(config.normalise.clone());
            drop(self.sources.around.changes.send(settings).await);
        }
        for source in coming.iter().copied().chain(&difference.remapped) {
            self.sources.map(source).await;
        }
        for name in &difference.webhooks_ended {
            if config.webhooks.iter().all(|webhook| webhook.name != *name) {
                self.outlets.end_webhook(name);
            }
        }
        for (source, prepared) in prepared {
            if let Some(address) = self.sources.start(source, prepared) {
                tracing::info!(source = %source.name.0, %address, "MQTT devices can connect");
            }
        }
        Ok(())
    }

    async fn change_recipients(&self, config: &Config) {
        match self
            .state
            .set_recipients(recipients(&config.webhooks))
            .await
        {
            Ok(waiting) => {
                for (webhook, deliveries) in waiting {
                    tracing::warn!(
                        webhook,
                        deliveries,
                        "the webhook is no longer in the config: what waits for it stays, for when it comes back"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(error = %cause::chain(&error), "cannot tell what waits for the webhooks that are gone");
            }
        }
    }

    /// Says to the browsers how the config stands.
    pub(super) fn tell_config(&self) {
        let status = self.configured.borrow().config.clone();
        match serde_json::to_value(&status) {
            Ok(value) => self.hub.status("config", value),
            Err(error) => tracing::error!(%error, "the status of the config cannot be encoded"),
        }
    }
}
