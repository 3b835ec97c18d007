//! What people do, what it does to deliveries, and that both come back.

use rusqlite::Connection;

use super::*;
use crate::alert::silence::{Draft, Matcher, Silence, SilenceState};

const SECOND: i64 = 1_000_000_000;
/// After the year that this program was written in: a clock that says so is set.
const NOW: Timestamp = Timestamp(1_800_000_000 * SECOND);

fn after(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * SECOND)
}

fn draft(device: &str, from: Option<i64>, to: i64) -> Draft {
    Draft {
        matchers: vec![Matcher {
            name: String::from("device"),
            value: device.to_owned(),
            glob: false,
        }],
        starts: from.map(after),
        ends: after(to),
        by: String::from("Ada"),
        comment: String::from("works on it"),
        repeat: None,
    }
}

fn open_with(dir: &Path, clock: &Clock, webhooks: &[Recipient]) -> State {
    State::open(dir, webhooks, clock.clone(), &mut Registry::default()).unwrap()
}

struct House {
    dir: tempfile::TempDir,
    clock: Clock,
    webhooks: Vec<Recipient>,
    state: State,
}

impl House {
    fn new() -> Self {
        Self::with(&[webhook("ops")])
    }

    fn with(webhooks: &[Recipient]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let state = open_with(dir.path(), &clock, webhooks);
        Self {
            dir,
            clock,
            webhooks: webhooks.to_vec(),
            state,
        }
    }

    /// As after a kill: nothing is known but the file.
    fn again(self) -> Self {
        drop(self.state);
        let state = open_with(self.dir.path(), &self.clock, &self.webhooks);
        Self { state, ..self }
    }

    async fn change(&self, alert: &str, state: AlertState) {
        let change = transition(alert, state, 5);
        self.state.record(decided(1, vec![change])).await.unwrap();
    }

    /// The boiler's alerts are silenced from now until so many seconds after the beginning.
    async fn silenced(&self, until: i64) -> Silence {
        let silence = self.state.silence(draft("boiler", None, until)).await;
        silence.unwrap()
    }

    /// The next delivery, of which nobody knows yet what becomes.
    async fn under_way(&self) -> Delivery {
        let next = self.state.next_delivery("ops", Vec::new()).await;
        next.unwrap().unwrap()
    }

    /// What goes out now, in order; each is delivered.
    async fn delivered(&self) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(delivery) = self.state.next_delivery("ops", Vec::new()).await.unwrap() {
            self.state
                .settle(&delivery, Verdict::Delivered)
                .await
                .unwrap();
            ids.push(delivery.id);
        }
        ids
    }

    async fn status(&self) -> (u64, u64, u64, u64) {
        let status = self.state.webhooks().await.unwrap().remove(0);
        (
            status.waiting,
            status.held,
            status.delivered,
            status.withdrawn,
        )
    }
}

#[tokio::test]
async fn what_fires_in_a_silence_is_told_when_it_ends_if_it_still_fires_then() {
    let house = House::new();
    house.silenced(60).await;
    house.change("a", AlertState::Firing).await;
    assert!(house.delivered().await.is_empty());
    assert_eq!(house.status().await, (0, 1, 0, 0));
    house.clock.set(Timestamp(after(60).0 - 1));
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    house.change("a", AlertState::Resolved).await;
    assert_eq!(house.delivered().await, ["a.resolved.ops"]);
    assert_eq!(house.status().await, (0, 0, 2, 0));
}

#[tokio::test]
async fn what_fires_and_ends_in_a_silence_is_never_told() {
    let house = House::new();
    house.silenced(60).await;
    house.change("a", AlertState::Firing).await;
    house.change("a", AlertState::Resolved).await;
    assert_eq!(house.status().await, (0, 0, 0, 1));
    // A replay of both adds nothing.
    house.change("a", AlertState::Firing).await;
    house.change("a", AlertState::Resolved).await;
    house.clock.set(after(61));
    assert!(house.delivered().await.is_empty());
    assert_eq!(house.status().await, (0, 0, 0, 1));
}

#[tokio::test]
async fn the_end_of_what_was_told_before_the_silence_is_told_after_it() {
    let house = House::new();
    house.change("a", AlertState::Firing).await;
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    house.silenced(60).await;
    house.change("a", AlertState::Resolved).await;
    house.change("b", AlertState::Firing).await;
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.resolved.ops", "b.firing.ops"]);
}

#[tokio::test]
async fn what_may_have_reached_the_receiver_before_the_silence_is_told_with_its_end_after_it() {
    let house = House::new();
    house.change("a", AlertState::Firing).await;
    let under_way = house.under_way().await;
    house.silenced(60).await;
    let error = String::from("no answer");
    let verdict = Verdict::TryAgain { error };
    house.state.settle(&under_way, verdict).await.unwrap();
    assert_eq!(
        house.status().await,
        (0, 1, 0, 0),
        "a failed try does not let it go"
    );
    house.change("a", AlertState::Resolved).await;
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.firing.ops", "a.resolved.ops"]);
}

#[tokio::test]
async fn a_try_that_succeeds_after_the_silence_began_counts() {
    let house = House::new();
    house.change("a", AlertState::Firing).await;
    let under_way = house.under_way().await;
    house.silenced(60).await;
    house
        .state
        .settle(&under_way, Verdict::Delivered)
        .await
        .unwrap();
    house.change("a", AlertState::Resolved).await;
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.resolved.ops"]);
    assert_eq!(house.status().await, (0, 0, 2, 0));
}

#[tokio::test]
async fn a_webhook_that_hears_no_ends_is_not_told_of_what_is_over() {
    let quiet = Recipient {
        send_resolved: false,
        ..webhook("ops")
    };
    let house = House::with(&[quiet]);
    house.change("a", AlertState::Firing).await;
    house.silenced(60).await;
    house.change("a", AlertState::Resolved).await;
    house.clock.set(after(60));
    assert!(house.delivered().await.is_empty());
    assert_eq!(house.status().await, (0, 0, 0, 1));
}

#[tokio::test]
async fn other_alerts_pass_and_two_silences_hold_until_both_are_over() {
    let house = House::new();
    house.silenced(60).await;
    house.silenced(90).await;
    house.state.silence(draft("pump", None, 900)).await.unwrap();
    house.change("a", AlertState::Firing).await;
    let mut other = transition("b", AlertState::Firing, 5);
    other.alert.series = "fan/speed".into();
    house.state.record(decided(2, vec![other])).await.unwrap();
    assert_eq!(house.delivered().await, ["b.firing.ops"]);
    house.clock.set(after(60));
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(90));
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
}

#[tokio::test]
async fn a_silence_holds_what_waited_before_it_and_lets_it_go_when_it_is_changed_or_ended() {
    let house = House::new();
    house.change("a", AlertState::Firing).await;
    let made = house.silenced(60).await;
    assert!(house.delivered().await.is_empty());
    let other = house
        .state
        .change_silence(&made.id, Some(1), draft("pump", None, 60))
        .await
        .unwrap();
    assert_eq!(other.version, 2);
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    house
        .state
        .change_silence(&made.id, Some(2), draft("boiler", None, 60))
        .await
        .unwrap();
    house.change("b", AlertState::Firing).await;
    assert!(house.delivered().await.is_empty());
    let by = String::from("Bob");
    let ended = house.state.end_silence(&made.id, None, by).await.unwrap();
    assert_eq!(ended.state, SilenceState::Ended);
    assert_eq!(house.delivered().await, ["b.firing.ops"]);
}

#[tokio::test]
async fn a_planned_silence_begins_at_its_time_also_over_a_kill() {
    let house = House::new();
    house
        .state
        .silence(draft("boiler", Some(30), 60))
        .await
        .unwrap();
    house.change("a", AlertState::Firing).await;
    house.clock.set(Timestamp(after(30).0 - 1));
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    house.clock.set(after(30));
    let house = house.again();
    house.change("b", AlertState::Firing).await;
    house.change("a", AlertState::Resolved).await;
    let house = house.again();
    assert!(house.delivered().await.is_empty());
    assert_eq!(house.status().await, (0, 2, 1, 0));
    house.clock.set(after(60));
    let house = house.again();
    assert_eq!(house.delivered().await, ["b.firing.ops", "a.resolved.ops"]);
}

#[tokio::test]
async fn an_end_written_down_after_the_silence_is_told_after_the_beginning() {
    let house = House::new();
    house.silenced(60).await;
    house.change("a", AlertState::Firing).await;
    // Nobody looked at the clock between the end of the silence and the end of the alert.
    house.clock.set(after(60));
    house.change("a", AlertState::Resolved).await;
    assert_eq!(house.delivered().await, ["a.firing.ops", "a.resolved.ops"]);
}

#[tokio::test]
async fn while_the_clock_is_not_set_nothing_begins_or_ends() {
    let house = House::new();
    house.silenced(60).await;
    house.change("a", AlertState::Firing).await;
    // A boot without a clock chip.
    house.clock.set(Timestamp(90 * SECOND));
    let house = house.again();
    assert!(house.delivered().await.is_empty());
    // One that begins now, asked for by a phone whose clock is right.
    house.state.silence(draft("pump", None, 60)).await.unwrap();
    house
        .state
        .silence(draft("fan", Some(10), 60))
        .await
        .unwrap();
    let states = |all: Vec<Silence>| {
        let mut states: Vec<_> = all
            .into_iter()
            .map(|s| (s.matchers[0].value.clone(), s.state))
            .collect();
        states.sort();
        states
    };
    let now = house.state.attention(9).await.unwrap();
    assert_eq!(
        states(now.silences),
        [
            ("boiler".into(), SilenceState::Active),
            ("fan".into(), SilenceState::Planned),
            ("pump".into(), SilenceState::Active)
        ]
    );
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    let now = house.state.attention(9).await.unwrap();
    assert!(now.silences.iter().all(|s| s.state == SilenceState::Ended));
}

#[tokio::test]
async fn a_clock_that_is_set_back_ends_nothing_twice_and_takes_nothing_back() {
    let house = House::new();
    house
        .state
        .silence(draft("boiler", Some(30), 60))
        .await
        .unwrap();
    house.clock.set(after(40));
    house.change("a", AlertState::Firing).await;
    house.clock.set(after(-1_000_000));
    let house = house.again();
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    house.clock.set(after(40));
    house.change("b", AlertState::Firing).await;
    assert_eq!(house.delivered().await, ["b.firing.ops"]);
}

#[tokio::test]
async fn the_clock_is_followed_and_those_who_wait_are_told() {
    let house = House::new();
    let stop = CancellationToken::new();
    let following = tokio::spawn(house.state.clone().follow_clock(stop.clone()));
    house.silenced(60).await;
    house.change("a", AlertState::Firing).await;
    let mut added = house.state.deliveries_added();
    let mut changed = house.state.attention_changed();
    added.borrow_and_update();
    changed.borrow_and_update();
    house.clock.set(after(60));
    let soon = std::time::Duration::from_secs(30);
    let told = async {
        added.changed().await.unwrap();
        changed.changed().await.unwrap();
    };
    tokio::time::timeout(soon, told).await.unwrap();
    assert_eq!(house.status().await.0, 1);
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn one_silence_too_many_is_refused_and_room_comes_with_an_end() {
    let house = House::new();
    let first = house.state.silence(draft("x", None, 60)).await.unwrap();
    house
        .state
        .with(|connection| {
            let transaction = connection.transaction()?;
            for n in 1..MAX_SILENCES {
                let silence = Silence {
                    id: smol_str::format_smolstr!("s-{n}"),
                    ..Silence::new("".into(), draft("x", None, 60), NOW)
                };
                crate::state::silences::write(&transaction, &silence)?;
            }
            transaction.commit()
        })
        .await
        .unwrap();
    let refused = house.state.silence(draft("x", None, 60)).await;
    assert!(matches!(refused, Err(AttentionError::TooMany)));
    assert_eq!(house.state.metrics.silences_refused.get(), 1);
    let by = String::from("Bob");
    house.state.end_silence(&first.id, None, by).await.unwrap();
    house.state.silence(draft("x", None, 60)).await.unwrap();
    // And of those that are over only so many are kept.
    house.clock.set(after(60));
    assert!(house.delivered().await.is_empty());
    let all = house.state.attention(i64::MAX).await.unwrap().silences;
    assert_eq!(all.len(), usize::try_from(KEPT_SILENCES).unwrap());
}

#[tokio::test]
async fn held_deliveries_are_bounded_with_the_waiting_ones() {
    let house = House::new();
    house.silenced(60).await;
    let changes = (0..=MAX_WAITING)
        .map(|i| transition(&format!("a{i}"), AlertState::Firing, 5))
        .collect();
    house.state.record(decided(1, changes)).await.unwrap();
    let status = house.state.webhooks().await.unwrap().remove(0);
    assert_eq!(
        (status.held, status.given_up),
        (MAX_WAITING.unsigned_abs(), 1)
    );
}

#[tokio::test]
async fn a_stale_version_is_refused_with_what_is_now_and_an_ended_one_stays_ended() {
    let house = House::new();
    let made = house.state.silence(draft("x", None, 60)).await.unwrap();
    let changed = house
        .state
        .change_silence(&made.id, Some(1), draft("y", None, 60))
        .await
        .unwrap();
    let refused = house
        .state
        .change_silence(&made.id, Some(1), draft("z", None, 60))
        .await;
    match refused {
        Err(AttentionError::Changed(now)) => assert_eq!(*now, changed),
        other => panic!("{other:?}"),
    }
    let by = || String::from("Bob");
    let ended = house
        .state
        .end_silence(&made.id, Some(2), by())
        .await
        .unwrap();
    let again = house.state.end_silence(&made.id, None, by()).await.unwrap();
    assert_eq!(ended, again);
    let refused = house
        .state
        .change_silence(&made.id, None, draft("z", None, 60))
        .await;
    assert!(matches!(refused, Err(AttentionError::Ended(_))));
    let unknown = house.state.end_silence("s-0", None, by()).await;
    assert!(matches!(unknown, Err(AttentionError::UnknownSilence)));
}

#[tokio::test]
async fn an_alert_is_acknowledged_while_it_fires_and_that_comes_back() {
    let house = House::new();
    let acknowledge = async |house: &House, alert: &str, by: &str| {
        house
            .state
            .acknowledge(alert, by.to_owned(), String::from("on it"))
            .await
    };
    assert!(matches!(
        acknowledge(&house, "a", "Ada").await,
        Err(AttentionError::UnknownAlert)
    ));
    house.change("a", AlertState::Pending).await;
    assert!(matches!(
        acknowledge(&house, "a", "Ada").await,
        Err(AttentionError::NotFiring("pending"))
    ));
    house.change("a", AlertState::Firing).await;
    let given = acknowledge(&house, "a", "Ada").await.unwrap();
    house.clock.set(after(5));
    assert_eq!(acknowledge(&house, "a", "Ada").await.unwrap(), given);
    match acknowledge(&house, "a", "Bob").await {
        Err(AttentionError::AcknowledgedBefore(before)) => assert_eq!(before, given),
        other => panic!("{other:?}"),
    }
    let house = house.again();
    let attention = house.state.attention(9).await.unwrap();
    assert_eq!(attention.acknowledged.get("a"), Some(&given));
    // Taken back, and given again; the end keeps it.
    house.state.unacknowledge("a", "Bob".into()).await.unwrap();
    house.state.unacknowledge("a", "Bob".into()).await.unwrap();
    acknowledge(&house, "a", "Bob").await.unwrap();
    house.change("a", AlertState::Resolved).await;
    assert!(matches!(
        house.state.unacknowledge("a", "Bob".into()).await,
        Err(AttentionError::NotFiring("resolved"))
    ));
    let attention = house.state.attention(9).await.unwrap();
    assert_eq!(attention.acknowledged["a"].by, "Bob");
    let trail = house.state.audit(9).await.unwrap();
    let lines: Vec<_> = trail
        .iter()
        .map(|e| (e.by.as_str(), e.action.as_str(), e.target.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("Bob", "alert_acknowledged", "a"),
            ("Bob", "alert_unacknowledged", "a"),
            ("Ada", "alert_acknowledged", "a"),
        ]
    );
    assert_eq!(trail[2].detail["comment"], "on it");
}

#[tokio::test]
async fn the_trail_keeps_its_newest_lines() {
    let house = House::new();
    house
        .state
        .with(|connection| {
            connection.execute(
                "INSERT INTO audit (number, at, by, action, target, detail) VALUES (1, 0, 'x', 'x', 'x', '{}'), (?1, 0, 'x', 'x', 'x', '{}')",
                [KEPT_ENTRIES],
            )
        })
        .await
        .unwrap();
    house.state.silence(draft("x", None, 60)).await.unwrap();
    let trail = house.state.audit(usize::MAX).await.unwrap();
    let numbers: Vec<_> = trail.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [KEPT_ENTRIES + 1, KEPT_ENTRIES]);
    assert_eq!(trail[0].detail["matchers"][0]["value"], "x");
}

#[tokio::test]
async fn a_file_of_the_first_format_keeps_its_alerts_and_its_outbox() {
    let dir = tempfile::tempdir().unwrap();
    let old = Connection::open(dir.path().join("state.sqlite")).unwrap();
    old.execute_batch(include_str!("first_format.sql")).unwrap();
    drop(old);
    let clock = Clock::manual(NOW);
    let house = House {
        state: open_with(dir.path(), &clock, &[webhook("ops")]),
        dir,
        clock,
        webhooks: vec![webhook("ops")],
    };
    let resumption = house.state.resumption().await.unwrap();
    assert_eq!(resumption.evaluated, Position(42));
    assert_eq!(resumption.alerts.len(), 1);
    assert_eq!(house.status().await, (1, 0, 7, 0));
    let alert = resumption.alerts[0].id.to_string();
    house
        .state
        .acknowledge(&alert, "Ada".into(), String::new())
        .await
        .unwrap();
    // What waited in the old file may have been tried: it is held, and told with its end.
    house.silenced(60).await;
    assert_eq!(house.status().await, (0, 1, 7, 0));
    house.change(&alert, AlertState::Resolved).await;
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["a.firing.ops", "a.resolved.ops"]);
}

#[tokio::test]
async fn what_was_told_from_memory_while_the_file_refused_has_its_end_told_after_the_silence() {
    let house = House::new();
    house
        .state
        .silence(draft("gateway", None, 60))
        .await
        .unwrap();
    let own = |state| {
        let mut change = transition("d15c0001-1", state, 5);
        change.alert.series = "gateway/disk".into();
        change.series = SeriesKey::parse("gateway/disk").unwrap();
        decided(1, vec![change])
    };
    house.state.deliver_from_memory(&own(AlertState::Firing));
    assert_eq!(house.delivered().await, ["d15c0001-1.firing.ops"]);
    house.state.record(own(AlertState::Firing)).await.unwrap();
    house.state.record(own(AlertState::Resolved)).await.unwrap();
    assert!(house.delivered().await.is_empty());
    house.clock.set(after(60));
    assert_eq!(house.delivered().await, ["d15c0001-1.resolved.ops"]);
}

#[tokio::test]
async fn a_silence_that_cannot_be_read_never_has_an_edge_that_is_due_for_ever() {
    let house = House::new();
    house.silenced(10).await;
    let file = Connection::open(house.dir.path().join("state.sqlite")).unwrap();
    let changed = file
        .execute(
            "UPDATE silences SET matchers = '[{\"unheard\": \"of\"}]'",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    assert_eq!(crate::state::silences::next_edge(&file).unwrap(), None);
}

#[tokio::test]
async fn a_silence_that_recurs_holds_and_lets_go_at_its_hours_also_over_kills() {
    let house = House::new();
    // 15 January 2027, a Friday, 8:00 UTC.
    let hours = |from: &str, to: &str| crate::alert::silence::Repeat {
        days: vec![String::from("fri"), String::from("sat")],
        from: from.to_owned(),
        to: to.to_owned(),
        zone: String::from("UTC"),
    };
    let asked = Draft {
        repeat: Some(hours("09:00", "10:00")),
        ..draft("boiler", None, 3 * 86_400)
    };
    let made = house.state.silence(asked).await.unwrap();
    assert_eq!(made.state, SilenceState::Planned);
    house.change("a", AlertState::Firing).await;
    assert_eq!(house.delivered().await, ["a.firing.ops"]);
    // Each edge once, with the gateway dead as it passes; a clock that is set back takes nothing back.
    let mut house = house;
    for (hour, expected) in [
        (1, SilenceState::Active),
        (0, SilenceState::Active),
        (2, SilenceState::Planned),
        (1, SilenceState::Planned),
        (25, SilenceState::Active),
        (26, SilenceState::Planned),
        (72, SilenceState::Ended),
    ] {
        house.clock.set(after(hour * 3_600));
        house = house.again();
        let id = format!("{hour}-{expected:?}");
        house.change(&id, AlertState::Firing).await;
        let now = house.state.one_silence(&made.id).await.unwrap().unwrap();
        assert_eq!(now.state, expected, "{hour}");
        let silent = house.delivered().await.is_empty();
        assert_eq!(silent, expected == SilenceState::Active, "{hour}");
    }
    // A person who changes it has it begin anew, at once where it is time.
    let house = House::new();
    let once = house.silenced(86_400).await;
    let other = Draft {
        repeat: Some(hours("09:00", "10:00")),
        ..draft("boiler", None, 86_400)
    };
    let changed = house
        .state
        .change_silence(&once.id, None, other.clone())
        .await
        .unwrap();
    assert_eq!(changed.state, SilenceState::Planned);
    let now_open = Draft {
        repeat: Some(hours("07:00", "24:00")),
        ..other.clone()
    };
    let changed = house
        .state
        .change_silence(&once.id, None, now_open)
        .await
        .unwrap();
    assert_eq!(changed.state, SilenceState::Active);
    let plain = Draft {
        repeat: None,
        ..other
    };
    let changed = house
        .state
        .change_silence(&once.id, None, plain)
        .await
        .unwrap();
    assert_eq!((changed.state, changed.turns), (SilenceState::Active, None));
}
