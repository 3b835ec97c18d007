//! What is asked of the hub's task, and what it answers.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Topic, filter::Filter, group::Group, place::Place, retelling::Retelling};
use crate::alert::silence::Attention;

/// A client's question to the hub, or what people did.
#[derive(Debug)]
pub(super) enum Command {
    /// A client arrives; `heard` are the ids that it came with, the first that is of this epoch counts.
    Join {
        filter: Filter,
        heard: Vec<(String, Place)>,
        answer: oneshot::Sender<Joined>,
    },
    /// A client has fallen behind; the last that it heard was `after`, said at `from_ms`.
    CatchUp {
        group: Arc<Group>,
        after: u64,
        from_ms: i64,
        retelling: Option<Retelling>,
        answer: oneshot::Sender<CaughtUp>,
    },
    /// People acknowledged or silenced, or time began or ended a silence.
    Attend {
        attention: Attention,
        answer: oneshot::Sender<()>,
    },
    /// What people make is new, changed or gone.
    Made {
        topic: Topic,
        news: Vec<serde_json::Value>,
        answer: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Joined {
    pub(super) group: Arc<Group>,
    /// `snapshot` or `resume`, perhaps in two parts, without its `retry:`.
    pub(super) first: VecDeque<Bytes>,
    /// What to read next.
    pub(super) next: u64,
    pub(super) resumed: bool,
    pub(super) retelling: Option<Retelling>,
}

#[derive(Debug)]
pub(super) struct CaughtUp {
    pub(super) frames: VecDeque<Bytes>,
    pub(super) next: u64,
}
