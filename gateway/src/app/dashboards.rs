//! The desk of saved views: each change is written down, then told to the browsers, then answered, one after the other.

use serde_json::{Value as JsonValue, json};
use tokio::sync::mpsc;

use crate::{
    http::{MadeRequest, MadeWish, Refusal, dashboard_listed},
    live::{Hub, Topic},
    state::{Made, MadeDraft, MadeError, State, Thing},
};

const THING: Thing = Thing::Dashboard;

/// Starts the desk. It ends when nobody can ask any more.
pub(super) fn start(state: State, hub: Hub, mut asked: mpsc::Receiver<MadeRequest>) {
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            // Who asked and went away misses only the answer.
            match request {
                MadeRequest::Create { wish, answer, .. } => {
                    let made = state.make(THING, None, draft(wish)).await;
                    drop(answer.send(told(&hub, made).await));
                }
                MadeRequest::Change {
                    id,
                    version,
                    wish,
                    answer,
                    ..
                } => {
                    let changed = state.change_made(THING, &id, version, draft(wish)).await;
                    drop(answer.send(told(&hub, changed).await));
                }
                MadeRequest::Delete {
                    id,
                    version,
                    by,
                    answer,
                    ..
                } => {
                    let gone = state.delete_made(THING, &id, version, by).await;
                    if gone.is_ok() {
                        let news = vec![json!({"id": id, "deleted": true})];
                        hub.made(Topic::Dashboard, news).await;
                    }
                    drop(answer.send(gone.map_err(refused)));
                }
            }
        }
    });
}

fn draft(wish: MadeWish) -> MadeDraft {
    MadeDraft {
        body: wish.body,
        enabled: true,
        by: wish.by,
    }
}

async fn told(hub: &Hub, made: Result<Made, MadeError>) -> Result<Made, Refusal> {
    let made = made.map_err(refused)?;
    hub.made(Topic::Dashboard, vec![dashboard_listed(&made)])
        .await;
    Ok(made)
}

fn refused(error: MadeError) -> Refusal {
    match error {
        MadeError::Changed(made) => {
            let current: JsonValue = crate::http::dashboard_shown(&made);
            Refusal::Changed(THING, current)
        }
        other => Refusal::Not(other),
    }
}
