//! What people do about alerts, from the state to the browsers; and whether anybody looks, from the browsers to the journal.

use tokio_util::sync::CancellationToken;

use crate::{
    backoff::{self, Backoff},
    cause,
    journal::Journal,
    live::Hub,
    state::{State, StateError},
};

/// Silences and acknowledged alerts that are over and shown to browsers at once.
const SHOWN_ENDED: i64 = 50;

/// Passes what people did and do about alerts to the browsers, until `stop`. When this returns, the hub knows what was done before.
///
/// # Errors
///
/// When the state can't be read.
pub(super) async fn tell(
    hub: &Hub,
    state: &State,
    stop: CancellationToken,
) -> Result<(), StateError> {
    let mut changed = state.attention_changed();
    hub.attend(state.attention(SHOWN_ENDED).await?).await;
    let (hub, state) = (hub.clone(), state.clone());
    tokio::spawn(async move {
        while let Some(Ok(())) = stop.run_until_cancelled(changed.changed()).await {
            let mut backoff = Backoff::new(backoff::Config::default());
            loop {
                match state.attention(SHOWN_ENDED).await {
                    Ok(attention) => {
                        hub.attend(attention).await;
                        break;
                    }
                    Err(StateError::Closed) => return,
                    Err(error) => {
                        if backoff.failures() == 0 {
                            tracing::warn!(error = %cause::chain(&error), "what people did about alerts cannot be read; trying again");
                        }
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                }
            }
        }
    });
    Ok(())
}

/// Tells the journal whether any live client listens, until the hub has ended and all its clients are gone.
pub(super) fn watched(hub: &Hub, journal: &Journal) {
    let (mut clients, journal) = (hub.clients(), journal.clone());
    tokio::spawn(async move {
        loop {
            let watched = *clients.borrow_and_update() > 0;
            journal.set_watched(watched);
            if clients.changed().await.is_err() {
                return;
            }
        }
    });
}
