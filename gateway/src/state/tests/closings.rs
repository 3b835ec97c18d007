//! What people closed is written down with its end, and comes back until it is clear.

use super::*;
use crate::alert::{Closing, StillClosed};

fn closed(alert: &Alert) -> Closing {
    Closing::Closed {
        alert: Box::new(alert.clone()),
        by: String::from("Ada"),
        comment: String::from("a known fault"),
    }
}

fn with(position: u64, transitions: Vec<Transition>, closings: Vec<Closing>) -> Decided {
    Decided {
        closings,
        ..decided(position, transitions)
    }
}

#[tokio::test]
async fn what_is_closed_is_in_the_trail_and_comes_back_until_it_is_clear() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    let fired = transition("hot-1", AlertState::Firing, 5);
    state.record(decided(1, vec![fired.clone()])).await.unwrap();
    let mut changed = state.attention_changed();
    changed.borrow_and_update();
    let over = transition("hot-1", AlertState::Resolved, 9);
    let change = with(2, vec![over], vec![closed(&fired.alert)]);
    state.record(change).await.unwrap();
    assert!(changed.has_changed().unwrap());
    let waiting = state.webhooks().await.unwrap()[0].waiting;
    assert_eq!(waiting, 2, "it fired, and it is over");

    drop(state);
    let state = open(dir.path(), &[]);
    let known = state.resumption().await.unwrap();
    let one = StillClosed {
        alert: "hot-1".into(),
        rule: "hot".into(),
        series: "boiler/temperature".into(),
    };
    assert_eq!((known.closed, known.alerts.len()), (vec![one], 0));
    let who = state.closed_by("hot-1").await.unwrap().unwrap();
    assert_eq!(who, ("Ada".into(), "a known fault".into()));
    let trail = state.audit(10).await.unwrap();
    assert_eq!(trail.len(), 1);
    let line = &trail[0];
    assert_eq!(
        (&*line.by, &*line.action, &*line.target),
        ("Ada", "alert_closed", "hot-1")
    );
    assert_eq!(line.detail["comment"], "a known fault");
    assert_eq!(line.detail["summary"], "boiler is hot");

    let (rule, series) = ("hot".into(), "boiler/temperature".into());
    let clear = with(3, vec![], vec![Closing::Cleared { rule, series }]);
    state.record(clear).await.unwrap();
    let known = state.resumption().await.unwrap();
    assert_eq!((known.closed, known.evaluated), (vec![], Position(3)));
    assert_eq!(state.closed_by("hot-1").await.unwrap(), None);
}

#[tokio::test]
async fn what_expired_is_in_the_trail_by_the_gateway_and_comes_back_until_it_is_clear() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    let fired = transition("hot-1", AlertState::Firing, 5);
    state.record(decided(1, vec![fired.clone()])).await.unwrap();
    let expired = Closing::Expired {
        alert: Box::new(fired.alert),
        after: String::from("8 h"),
    };
    let over = transition("hot-1", AlertState::Resolved, 9);
    state
        .record(with(2, vec![over], vec![expired]))
        .await
        .unwrap();
    let known = state.resumption().await.unwrap();
    let ids: Vec<&str> = known.closed.iter().map(|c| c.alert.as_str()).collect();
    assert_eq!((ids, known.alerts.len()), (vec!["hot-1"], 0));
    let trail = state.audit(10).await.unwrap();
    let line = &trail[0];
    assert_eq!(
        (&*line.by, &*line.action, &*line.target),
        ("gateway", "alert_expired", "hot-1")
    );
    assert_eq!(line.detail["comment"], "it fired for 8 h");
}

#[tokio::test]
async fn only_the_newest_of_what_is_closed_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp(1));
    let state = State::open(dir.path(), &[], clock.clone(), &mut Registry::default()).unwrap();
    let about = |n: i64| Alert {
        id: format!("hot-{n}").into(),
        series: format!("boiler-{n}/temperature").into(),
        ..transition("", AlertState::Firing, 5).alert
    };
    let many = (0..KEPT_CLOSED).map(|n| closed(&about(n))).collect();
    state.record(with(1, vec![], many)).await.unwrap();
    assert_eq!(
        state.resumption().await.unwrap().closed.len(),
        usize::try_from(KEPT_CLOSED).unwrap()
    );
    let now = clock.now();
    clock.set(Timestamp(now.0 + 1));
    let last = closed(&about(KEPT_CLOSED));
    state.record(with(2, vec![], vec![last])).await.unwrap();
    let kept = state.resumption().await.unwrap().closed;
    assert_eq!(kept.last().unwrap().alert, format!("hot-{KEPT_CLOSED}"));
    assert!(kept.len() <= usize::try_from(KEPT_CLOSED).unwrap());
}
