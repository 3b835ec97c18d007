//! What is put aside is silent for its time, by the id of an alert.

use std::time::Duration;

use super::*;
use crate::alert::silence::{MAX_SHELF, SilenceState};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

fn who(comment: &str) -> (String, String) {
    (String::from("Ada"), comment.to_owned())
}

#[tokio::test]
async fn an_alert_is_put_aside_for_its_time_and_another_time_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let state = State::open(
        dir.path(),
        &[webhook("ops")],
        clock.clone(),
        &mut Registry::default(),
    )
    .unwrap();
    let hour = Duration::from_secs(3_600);
    let unknown = state.shelve("hot-1", who(""), hour).await;
    assert!(matches!(unknown, Err(AttentionError::UnknownAlert)));
    let fired = transition("hot-1", AlertState::Firing, 5);
    state.record(decided(1, vec![fired.clone()])).await.unwrap();
    let first = state.shelve("hot-1", who("chatters"), hour).await.unwrap();
    assert!(first.shelves(&fired.alert) && first.version == 1);
    assert_eq!(
        first.ends,
        Timestamp(NOW.0 + i64::try_from(hour.as_nanos()).unwrap())
    );
    let mut other = fired.alert.clone();
    other.series = "boiler/pressure".into();
    assert!(!first.holds(other.facts()), "another series");
    assert_eq!(state.webhooks().await.unwrap()[0].held, 1);

    // Longer than it may be, it is cut; the first one is over.
    let second = state.shelve("hot-1", who(""), MAX_SHELF * 9).await.unwrap();
    assert_eq!((second.ends.0 - NOW.0) / 1_000_000_000, 24 * 3_600);
    let attention = state.attention(10).await.unwrap();
    let states: Vec<_> = attention.silences.iter().map(|s| s.state).collect();
    assert_eq!(states, [SilenceState::Active, SilenceState::Ended]);
    let shown = serde_json::to_value(attention.to(&fired.alert)).unwrap();
    assert_eq!(shown["shelved"]["by"], "Ada");
    assert_eq!(shown["shelved"]["until_ms"], second.ends.as_millis());
    assert_eq!(shown["shelved"]["silence"], second.id.as_str());
    assert_eq!(shown["silenced_by"], serde_json::json!([second.id]));

    // Over by now, it is still put aside; taken back, the webhook hears.
    let over = transition("hot-1", AlertState::Resolved, 9);
    state.record(decided(2, vec![over])).await.unwrap();
    let refused = state.shelve("hot-1", who(""), hour).await;
    assert!(matches!(
        refused,
        Err(AttentionError::NotFiring("resolved"))
    ));
    let again = transition("hot-2", AlertState::Firing, 12);
    state.record(decided(3, vec![again])).await.unwrap();
    for _ in 0..2 {
        state.unshelve("hot-1", String::from("Bob")).await.unwrap();
    }
    assert_eq!(state.webhooks().await.unwrap()[0].held, 0);
    let trail = state.audit(10).await.unwrap();
    let done: Vec<_> = trail.iter().map(|e| (&*e.action, &*e.by)).collect();
    assert_eq!(
        done,
        [
            ("alert_unshelved", "Bob"),
            ("alert_shelved", "Ada"),
            ("alert_shelved", "Ada")
        ]
    );
    assert_eq!(trail[1].detail["until_ms"], second.ends.as_millis());
    assert_eq!(trail[1].target, "hot-1");
}

#[tokio::test]
async fn a_shelf_comes_back_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let again = || State::open(dir.path(), &[], clock.clone(), &mut Registry::default()).unwrap();
    let state = again();
    let fired = transition("hot-1", AlertState::Firing, 5);
    state.record(decided(1, vec![fired])).await.unwrap();
    let span = Duration::from_secs(60);
    let made = state.shelve("hot-1", who(""), span).await.unwrap();
    drop(state);
    let state = again();
    assert_eq!(
        state.attention(5).await.unwrap().silences,
        std::slice::from_ref(&made)
    );
    clock.set(made.ends);
    let after = transition("hot-1", AlertState::Resolved, 9);
    state.record(decided(2, vec![after])).await.unwrap();
    let silences = state.attention(5).await.unwrap().silences;
    assert_eq!(silences[0].state, SilenceState::Ended);
}
