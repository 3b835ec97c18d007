//! What reads behind and can be ended and begun while the gateway runs: webhooks and the archive.

use std::collections::BTreeMap;

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    archive::{self, ArchiveStatus, Archiver, DeadLetters},
    cause,
    clock::Clock,
    config::Config,
    journal::Journal,
    notify::{Links, Notifier, WebhookConfig},
    shutdown::Parts,
    state::{Recipient, State},
};

/// The webhooks by name and the archive, and what they are built with.
#[derive(Debug)]
pub(super) struct Outlets {
    webhooks: BTreeMap<String, Outlet>,
    archive: Option<Outlet>,
    archive_status: watch::Sender<ArchiveStatus>,
    archive_metrics: archive::Metrics,
    letters: DeadLetters,
    state: State,
    journal: Journal,
    links: Links,
    clock: Clock,
    /// Of all that run; a stopping gateway waits for them for a short while.
    pub(super) parts: Parts,
    /// Stops them all.
    pub(super) stop: CancellationToken,
}

#[derive(Debug)]
struct Outlet {
    leave: CancellationToken,
    task: JoinHandle<()>,
}

impl Outlets {
    /// Nothing runs yet.
    pub(super) fn new(
        state: State,
        journal: Journal,
        archive_metrics: archive::Metrics,
        letters: DeadLetters,
        links: Links,
        clock: Clock,
    ) -> Self {
        Self {
            webhooks: BTreeMap::new(),
            archive: None,
            archive_status: watch::Sender::new(ArchiveStatus::disabled(&ArchiveStatus::default())),
            archive_metrics,
            letters,
            state,
            journal,
            links,
            clock,
            parts: Parts::default(),
            stop: CancellationToken::new(),
        }
    }

    /// How the archive stands, whichever it is.
    pub(super) fn archive_status(&self) -> watch::Receiver<ArchiveStatus> {
        self.archive_status.subscribe()
    }

    /// Does all that can fail for a webhook.
    pub(super) fn prepare_webhook(&self, config: &WebhookConfig) -> Result<Notifier, StartError> {
        Ok(Notifier::new(
            config.clone(),
            self.links.clone(),
            self.state.clone(),
            self.clock.clone(),
        )?)
    }

    /// Does all that can fail for the archive; `None` when there is none.
    pub(super) fn prepare_archive(&self, config: &Config) -> Result<Option<Archiver>, StartError> {
        let Some(archive) = config.archive.clone() else {
            return Ok(None);
        };
        Ok(Some(Archiver::new(
            archive,
            &config.engine.devices,
            config.site.clone(),
            self.journal.clone(),
            self.letters.clone(),
            self.archive_status.clone(),
            self.archive_metrics.clone(),
        )?))
    }

    /// Begins a webhook; one by the same name that is about to end comes to its end before: two would deliver out of order.
    pub(super) fn begin_webhook(&mut self, name: &str, notifier: Notifier) {
        let before = self.webhooks.remove(name);
        let part = self.parts.register(format!("webhook {name}"));
        let (stop, leave) = (self.stop.clone(), CancellationToken::new());
        let left = leave.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.leave.cancel();
                // It ended by a panic, which was printed.
                drop(before.task.await);
            }
            notifier.run(stop, left).await;
            drop(part);
        });
        self.webhooks
            .insert(name.to_owned(), Outlet { leave, task });
    }

    /// Ends a webhook after the try that is under way. What waits for it stays in the outbox.
    pub(super) fn end_webhook(&mut self, name: &str) {
        self.webhooks
            .retain(|_, outlet| !(outlet.leave.is_cancelled() && outlet.task.is_finished()));
        if let Some(outlet) = self.webhooks.get(name) {
            outlet.leave.cancel();
        }
    }

    /// Ends the archiver that runs, if one does, and begins this one, which goes on where that one was. Without one, the
    /// journal keeps nothing for it any more.
    pub(super) async fn change_archive(&mut self, archiver: Option<Archiver>) {
        if let Some(before) = self.archive.take() {
            before.leave.cancel();
            drop(before.task.await);
        }
        let Some(archiver) = archiver else {
            self.journal.let_go(archive::CURSOR);
            self.archive_status
                .send_modify(|status| *status = ArchiveStatus::disabled(status));
            return;
        };
        let part = self.parts.register("archive");
        let leave = self.stop.child_token();
        let stop = leave.clone();
        let task = tokio::spawn(async move {
            archiver.run(stop).await;
            drop(part);
        });
        self.archive = Some(Outlet { leave, task });
    }
}

/// Who hears of alerts, as the state must know it.
pub(super) fn recipients(webhooks: &[WebhookConfig]) -> Vec<Recipient> {
    webhooks
        .iter()
        .map(|webhook| Recipient {
            name: webhook.name.clone(),
            send_resolved: webhook.send_resolved,
            hears_acknowledgements: webhook.to.hears_acknowledgements(),
        })
        .collect()
}

/// Makes the routes of this config those in force. If the state file refuses, its groups follow later.
pub(super) async fn set_routes(state: &State, config: &Config) {
    // On the heap: starting a gateway is a large future already.
    if let Err(error) = Box::pin(state.set_routes(config.routing.clone())).await {
        tracing::error!(error = %cause::chain(&error), "groups of alerts cannot be changed to the routes of the config; trying again");
    }
}
