//! What earlier runs said, from the durable state and the replay to the live hub.

use crate::{alert::Alert, engine::Recent, live, state::Beginning, store::Device};

/// What live clients of earlier runs may have missed. Without a beginning no id of theirs is understood.
pub(super) fn past(
    beginning: Option<Beginning>,
    devices: Vec<Device>,
    recent: Recent,
    active: Vec<Alert>,
) -> live::Past {
    let Some(beginning) = beginning else {
        return live::Past {
            epoch: fastrand::u64(..),
            devices,
            recent,
            active,
            ..live::Past::default()
        };
    };
    let runs = beginning.runs.iter().zip(beginning.runs.iter().skip(1));
    let last = beginning.runs.last();
    live::Past {
        epoch: beginning.epoch,
        run: last.map_or(0, |run| run.run),
        runs: runs
            .map(|(run, after)| live::EarlierRun {
                run: run.run,
                journal: after.journal,
                alerts: after.told,
            })
            .collect(),
        devices,
        recent,
        newest_change: last.map_or(0, |run| run.told),
        changes: beginning
            .told
            .into_iter()
            .map(|told| live::Change {
                number: told.number,
                position: told.position,
                alert: told.alert,
            })
            .collect(),
        active,
        ended: beginning.ended,
    }
}
