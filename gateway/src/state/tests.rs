mod acknowledged;
mod closings;
mod dead_letters;
mod groups;
mod inventory;
mod made;
mod shelving;
mod silences;

use std::collections::BTreeMap;

use rusqlite::params;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    alert::{Alert, AlertState, Cause, Change, Marks, Memory, Severity, Transition},
    engine::Decided,
    model::{SeriesKey, Timestamp, Value},
};

fn webhook(name: &str) -> Recipient {
    Recipient {
        name: name.into(),
        send_resolved: true,
        hears_acknowledgements: false,
    }
}

fn transition(id: &str, state: AlertState, at_ms: i64) -> Transition {
    let alert = Alert {
        id: id.into(),
        rule: "hot".into(),
        series: "boiler/temperature".into(),
        state,
        severity: Severity::Critical,
        summary: String::from("boiler is hot"),
        value: Some(Value::Float(91.5)),
        unit: Some("Cel".into()),
        labels: BTreeMap::from([(String::from("site"), String::from("cellar"))]),
        began_ms: at_ms,
        fired_ms: Some(at_ms),
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks::default(),
    };
    Transition {
        alert,
        series: SeriesKey::parse("boiler/temperature").unwrap(),
        at: Timestamp::from_millis(at_ms),
        memory: None,
    }
}

fn decided(position: u64, transitions: Vec<Transition>) -> Decided {
    Decided {
        position: Position(position),
        transitions,
        closings: Vec::new(),
    }
}

fn open(dir: &Path, webhooks: &[Recipient]) -> State {
    State::open(
        dir,
        webhooks,
        Clock::manual(Timestamp::from_millis(1_000)),
        &mut Registry::default(),
    )
    .unwrap()
}

#[tokio::test]
async fn alerts_in_progress_and_the_position_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let changes = vec![
        transition("a", AlertState::Firing, 5),
        transition("b", AlertState::Pending, 6),
        transition("c", AlertState::Pending, 7),
        transition("c", AlertState::Cancelled, 8),
        transition("d", AlertState::Resolved, 9),
    ];
    state.record(decided(42, changes)).await.unwrap();
    drop(state);
    let resumption = open(dir.path(), &[]).resumption().await.unwrap();
    assert_eq!(resumption.evaluated, Position(42));
    assert_eq!(
        resumption
            .alerts
            .iter()
            .map(|a| a.id.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[tokio::test]
async fn a_change_recorded_again_after_a_crash_is_delivered_once() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    state
        .record(decided(1, vec![transition("a", AlertState::Firing, 5)]))
        .await
        .unwrap();
    let delivery = state
        .next_delivery("ops", Vec::new())
        .await
        .unwrap()
        .unwrap();
    state.settle(&delivery, Verdict::Delivered).await.unwrap();
    state
        .record(decided(1, vec![transition("a", AlertState::Firing, 5)]))
        .await
        .unwrap();
    assert_eq!(state.next_delivery("ops", Vec::new()).await.unwrap(), None);
    assert_eq!(
        state.webhooks().await.unwrap()[0],
        WebhookStatus {
            name: String::from("ops"),
            delivered: 1,
            ..WebhookStatus::default()
        }
    );
}

#[tokio::test]
async fn deliveries_go_out_in_order_and_only_to_the_webhooks_of_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let mut quiet = webhook("quiet");
    quiet.send_resolved = false;
    let state = open(dir.path(), &[webhook("ops"), quiet, webhook("other")]);
    let mut firing = transition("a", AlertState::Firing, 5);
    firing.alert.webhooks = vec!["ops".into(), "quiet".into()];
    let mut resolved = firing.clone();
    resolved.alert.state = AlertState::Resolved;
    state
        .record(decided(1, vec![firing, resolved]))
        .await
        .unwrap();
    let first = state
        .next_delivery("ops", Vec::new())
        .await
        .unwrap()
        .unwrap();
    let body: serde_json::Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(body["event"], "firing");
    assert_eq!(body["device"], "boiler");
    assert_eq!(body["value"], 91.5);
    assert_eq!(body["id"], "a.firing.ops");
    assert_eq!(body["alert_id"], "a");
    state
        .settle(
            &first,
            Verdict::TryAgain {
                error: String::from("connection refused"),
            },
        )
        .await
        .unwrap();
    let again = state
        .next_delivery("ops", Vec::new())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.id.as_str(), again.tries), ("a.firing.ops", 1));
    state
        .settle(
            &again,
            Verdict::GivenUp {
                error: String::from("410 Gone"),
            },
        )
        .await
        .unwrap();
    assert_eq!(
        state
            .next_delivery("ops", Vec::new())
            .await
            .unwrap()
            .unwrap()
            .id,
        "a.resolved.ops"
    );
    let status = state.webhooks().await.unwrap();
    assert_eq!(
        (
            status[0].waiting,
            status[0].given_up,
            status[0].last_error.as_deref()
        ),
        (1, 1, Some("410 Gone"))
    );
    assert_eq!((status[1].waiting, status[2].waiting), (1, 0));
}

#[tokio::test]
async fn too_many_waiting_deliveries_cost_the_oldest_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    let changes = (0..=MAX_WAITING)
        .map(|i| transition(&format!("a{i}"), AlertState::Firing, 5))
        .collect();
    state.record(decided(1, changes)).await.unwrap();
    let status = state.webhooks().await.unwrap();
    assert_eq!(
        (status[0].waiting, status[0].given_up),
        (MAX_WAITING.unsigned_abs(), 1)
    );
    assert_eq!(
        state
            .next_delivery("ops", Vec::new())
            .await
            .unwrap()
            .unwrap()
            .id,
        "a1.firing.ops"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_gateway_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &[]));
    Connection::open(dir.path().join("state.sqlite"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error =
        State::open(dir.path(), &[], Clock::system(), &mut Registry::default()).unwrap_err();
    assert!(
        matches!(error, StateError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.sqlite"), [b'x'; 10_000]).unwrap();
    let state = open(dir.path(), &[]);
    assert_eq!(
        state.resumption().await.unwrap().evaluated,
        Position::default()
    );
    assert!(dir.path().join("state.sqlite.damaged").exists());
    let firing = transition("a", AlertState::Firing, 5);
    state.record(decided(1, vec![firing])).await.unwrap();
    drop(state);
    let resumption = open(dir.path(), &[]).resumption().await.unwrap();
    assert_eq!(resumption.alerts.len(), 1);
}

/// A file with alerts in it whose pages behind the first one are overwritten.
async fn damaged_inside(dir: &Path) {
    let state = open(dir, &[]);
    for i in 0..200 {
        let firing = transition(&format!("a{i}"), AlertState::Firing, i);
        state.record(decided(1, vec![firing])).await.unwrap();
    }
    drop(state);
    // The thread has closed the file when it can be opened without its log.
    let connection = Connection::open(dir.join("state.sqlite")).unwrap();
    connection
        .execute_batch("PRAGMA busy_timeout = 5000; PRAGMA wal_checkpoint(TRUNCATE);")
        .unwrap();
    drop(connection);
    let path = dir.join("state.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 3 * 4096);
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_file_that_is_damaged_inside_is_set_aside_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    damaged_inside(dir.path()).await;
    let state = open(dir.path(), &[]);
    assert!(dir.path().join("state.sqlite.damaged").exists());
    let firing = transition("a", AlertState::Firing, 5);
    state.record(decided(1, vec![firing])).await.unwrap();
}

#[tokio::test]
async fn a_file_that_turns_out_to_be_damaged_in_use_is_set_aside_and_the_next_try_works() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let firing = |id: &str| decided(1, vec![transition(id, AlertState::Firing, 5)]);
    state.record(firing("a")).await.unwrap();
    let damaged = state
        .with(|_| -> rusqlite::Result<()> {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            Err(rusqlite::Error::SqliteFailure(code, None))
        })
        .await;
    assert!(damaged.is_err());
    // The file itself is whole, so what is in it is kept.
    assert_eq!(state.resumption().await.unwrap().alerts.len(), 1);
    state.record(firing("b")).await.unwrap();
    assert_eq!(state.resumption().await.unwrap().alerts.len(), 2);
}

const fn journal(newest: u64, next: u64, noted: u64) -> JournalAtStart {
    JournalAtStart {
        newest: Position(newest),
        next: Position(next),
        noted: Position(noted),
        is_new: false,
    }
}

#[tokio::test]
async fn runs_share_an_epoch_until_the_journal_is_new_or_ends_before_what_is_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let first = state.begin_run(journal(0, 1, 0)).await.unwrap();
    let second = state.begin_run(journal(7, 8, 5)).await.unwrap();
    assert_eq!(second.epoch, first.epoch);
    assert_eq!(second.runs.len(), 2);
    assert_ne!(second.runs[0].run, second.runs[1].run);
    assert_eq!(
        (second.runs[1].journal, second.runs[1].next),
        (Position(7), Position(8))
    );

    let put_back = state.begin_run(journal(6, 7, 5)).await.unwrap();
    assert_ne!(put_back.epoch, second.epoch);
    assert_eq!(put_back.runs.len(), 1, "no id of before is understood");
    let noted = state.begin_run(journal(7, 10, 9)).await.unwrap();
    assert_ne!(noted.epoch, put_back.epoch);
    let told_before = state.begin_run(journal(7, 10, 9)).await.unwrap();
    assert_eq!(told_before.epoch, noted.epoch);
    let is_new = JournalAtStart {
        is_new: true,
        ..journal(0, 10, 9)
    };
    let new = state.begin_run(is_new).await.unwrap();
    assert_ne!(new.epoch, told_before.epoch);
}

#[tokio::test]
async fn changes_are_numbered_on_over_a_restart_and_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let epoch = state.begin_run(journal(0, 1, 0)).await.unwrap().epoch;
    let change = |id: &str| transition(id, AlertState::Resolved, 5);
    let recorded = state
        .record(decided(3, vec![change("a"), change("b")]))
        .await
        .unwrap();
    assert_eq!((recorded.first, recorded.epoch), (1, Some(epoch)));
    drop(state);
    let state = open(dir.path(), &[]);
    let beginning = state.begin_run(journal(3, 4, 3)).await.unwrap();
    let told: Vec<_> = beginning
        .told
        .iter()
        .map(|told| (told.number, told.position, told.alert.id.as_str()))
        .collect();
    assert_eq!(told, [(1, Position(3), "a"), (2, Position(3), "b")]);
    assert_eq!(beginning.runs[1].told, 2);
    assert_eq!(beginning.ended.len(), 2);
    let many = (0..KEPT_TRANSITIONS)
        .map(|n| change(&format!("x{n}")))
        .collect();
    assert_eq!(state.record(decided(4, many)).await.unwrap().first, 3);
    let beginning = state.begin_run(journal(4, 5, 4)).await.unwrap();
    assert_eq!(beginning.told.len() as i64, KEPT_TRANSITIONS);
    assert_eq!(beginning.told[0].number, 3);
    assert_eq!(beginning.ended.len(), 50);
}

#[tokio::test]
async fn a_file_of_the_format_without_runs_gets_its_epoch_and_keeps_its_alerts() {
    let dir = tempfile::tempdir().unwrap();
    let old = schema::of_format(&dir.path().join("state.sqlite"), 2);
    let firing = transition("a", AlertState::Firing, 5).alert;
    old.execute(
        "INSERT INTO alerts (id, state, changed, body) VALUES ('a', 'firing', 5, ?1)",
        params![as_json(&firing).unwrap()],
    )
    .unwrap();
    drop(old);
    let state = open(dir.path(), &[]);
    assert_eq!(state.resumption().await.unwrap().alerts.len(), 1);
    let beginning = state.begin_run(journal(1, 2, 1)).await.unwrap();
    assert!(beginning.told.is_empty());
    assert_eq!(beginning.runs.len(), 1);
}

/// As an alert that fires, is clear, and is over, with a memory each time.
fn life_of(id: &str) -> Vec<Transition> {
    let memory = |open: bool| {
        let phase = r#","phase":{"began":1,"fired":1,"since":1,"clear":false}"#;
        let body = format!(
            r#"{{"question":7,"past":{{"began":1}}{}}}"#,
            if open { phase } else { "" }
        );
        Some(Box::new(serde_json::from_str::<Memory>(&body).unwrap()))
    };
    [
        (AlertState::Firing, Change::Fired, 1),
        (AlertState::Firing, Change::Cleared, 2),
        (AlertState::Resolved, Change::Resolved, 3),
    ]
    .into_iter()
    .map(|(state, change, at_ms)| {
        let mut told = transition(id, state, at_ms);
        told.alert.marks = Marks {
            change: Some(change),
            cause: Some(Cause::Reading),
            rule_version: "0a1b2c3d".into(),
            ..Marks::default()
        };
        told.memory = memory(state == AlertState::Firing);
        told
    })
    .collect()
}

#[tokio::test]
async fn each_change_is_written_down_with_its_cause_and_only_state_changes_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    let life = life_of("a");
    state.record(decided(1, life[..2].to_vec())).await.unwrap();
    let waiting = state.webhooks().await.unwrap()[0].waiting;
    assert_eq!(waiting, 1, "a mark is no news for a webhook");
    drop(state);
    let state = open(dir.path(), &[webhook("ops")]);
    let resumed = state.resumption().await.unwrap();
    assert_eq!(resumed.alerts[0].marks.change, Some(Change::Cleared));
    assert!(resumed.memories[0].2.is_open());
    state.record(decided(2, life[2..].to_vec())).await.unwrap();
    let (alert, changes) = state.alert(String::from("a")).await.unwrap().unwrap();
    assert_eq!(alert.state, AlertState::Resolved);
    let told: Vec<_> = changes
        .iter()
        .map(|entry| (entry.number, entry.change, entry.at_ms))
        .collect();
    assert_eq!(
        told,
        [
            (1, Some(Change::Fired), 1),
            (2, Some(Change::Cleared), 2),
            (3, Some(Change::Resolved), 3)
        ]
    );
    assert!(changes.iter().all(|entry| entry.rule_version == "0a1b2c3d"));
    assert_eq!(state.alert(String::from("b")).await.unwrap(), None);
    let resumed = state.resumption().await.unwrap();
    assert!(resumed.alerts.is_empty() && !resumed.memories[0].2.is_open());
}

#[tokio::test]
async fn changes_and_memories_are_bounded_and_those_of_alerts_under_way_stay() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let fired = life_of("a").remove(0);
    let cleared = life_of("a").remove(1);
    let mut all = vec![fired];
    all.extend((0..150).map(|_| cleared.clone()));
    state.record(decided(1, all)).await.unwrap();
    let (_, changes) = state.alert(String::from("a")).await.unwrap().unwrap();
    assert_eq!(changes.len() as i64, KEPT_OF_ONE);
    assert_eq!(changes.last().unwrap().number, 151);
    // Many that are over on other series, more than are remembered.
    let over = life_of("b").remove(2);
    let many = KEPT_MEMORIES + 10;
    for part in 0..3 {
        let ended = (0..=many / 3)
            .map(|n| {
                let mut over = over.clone();
                over.alert.id = format!("x{part}-{n}").into();
                over.alert.series = format!("d{part}-{n}/t").into();
                over
            })
            .collect();
        state.record(decided(2, ended)).await.unwrap();
    }
    let memories = state.resumption().await.unwrap().memories;
    assert_eq!(memories.len() as i64, KEPT_MEMORIES + 1);
    let open: Vec<_> = memories.iter().filter(|kept| kept.2.is_open()).collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].1, "boiler/temperature");
    // The alert that was forgotten took its changes with it.
    assert_eq!(state.alert(String::from("x0-0")).await.unwrap(), None);
    let file = rusqlite::Connection::open(dir.path().join("state.sqlite")).unwrap();
    let left_over: i64 = file
        .query_row(
            "SELECT count(*) FROM changes WHERE alert NOT IN (SELECT id FROM alerts)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left_over, 0);
}

#[tokio::test]
async fn what_a_rule_remembered_goes_when_it_asks_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let mut life = life_of("a");
    life[2].memory = None;
    state.record(decided(1, life)).await.unwrap();
    assert!(state.resumption().await.unwrap().memories.is_empty());
}

#[tokio::test]
async fn the_key_of_links_is_made_once_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let key = state.signing_key().await.unwrap();
    assert_ne!(key, [0; 32]);
    assert_eq!(state.signing_key().await.unwrap(), key);
    drop(state);
    let again = open(dir.path(), &[]).signing_key().await.unwrap();
    assert_eq!(again, key);
    let other = tempfile::tempdir().unwrap();
    let theirs = open(other.path(), &[]).signing_key().await.unwrap();
    assert_ne!(theirs, key);
}
