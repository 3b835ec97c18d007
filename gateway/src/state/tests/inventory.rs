//! The inventory of series.

use super::*;
use crate::{
    alert::Remembered,
    engine::{Decided, Inventory, Known},
    model::{Quality, Reading, SourceName, Unit},
};

fn known(series: &str, position: u64, value: Value) -> Known {
    Known {
        source: SourceName("mqtt".into()),
        reading: Reading {
            series: SeriesKey::parse(series).unwrap(),
            value,
            unit: Some(Unit("Cel".into())),
            quality: Quality::Uncertain,
            time: Timestamp(-5),
            received: Timestamp(7),
            retained: true,
        },
        position: Position(position),
    }
}

fn of(position: u64, series: Vec<Known>) -> Inventory {
    Inventory {
        position: Position(position),
        series,
        ..Inventory::default()
    }
}

async fn read(state: &State, oldest: u64, max_series: usize) -> Option<Inventory> {
    let read = state.inventory(Position(oldest), max_series).await;
    let mut inventory = read.unwrap()?;
    inventory.series.sort_by_key(|known| known.position);
    Some(inventory)
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_was_and_newer_ones_take_the_place_of_older_ones() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    assert_eq!(read(&state, 1, 100).await, None);
    let all = vec![
        known("a/bool", 1, Value::Bool(true)),
        known("a/int", 2, Value::Int(i64::MIN)),
        known("a/float", 3, Value::Float(0.1 + 0.2)),
        known("a/whole", 4, Value::Float(20.0)),
        known("a/text", 5, Value::Text("on \u{1f525}".into())),
        Known {
            reading: Reading {
                unit: None,
                quality: Quality::Bad,
                retained: false,
                ..known("b/x/y", 6, Value::Int(0)).reading
            },
            ..known("b/x/y", 6, Value::Int(0))
        },
    ];
    let first = of(6, all);
    assert!(
        state
            .note_inventory(Position(0), first.clone())
            .await
            .unwrap()
    );
    drop(state);
    let state = open(dir.path(), &[]);
    assert_eq!(read(&state, 1, 100).await, Some(first.clone()));
    let newer = known("a/bool", 9, Value::Bool(false));
    let change = of(9, vec![newer.clone()]);
    assert!(state.note_inventory(Position(6), change).await.unwrap());
    let mut expected = of(9, first.series[1..].to_vec());
    expected.series.push(newer);
    assert_eq!(read(&state, 1, 100).await, Some(expected));
}

#[tokio::test]
async fn a_change_of_an_inventory_that_is_not_in_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let change = || of(9, vec![known("a/b", 9, Value::Int(1))]);
    assert!(!state.note_inventory(Position(6), change()).await.unwrap());
    assert_eq!(read(&state, 1, 100).await, None, "it would not be all");
    assert!(state.note_inventory(Position(0), change()).await.unwrap());
    assert!(!state.note_inventory(Position(8), change()).await.unwrap());
    assert!(state.note_inventory(Position(9), change()).await.unwrap());
}

#[tokio::test]
async fn series_that_the_journal_no_longer_holds_leave_room_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let series = |n: u64| known(&format!("d/{n}"), n, Value::Int(0));
    let all = of(10, (1..=10).map(series).collect());
    state.note_inventory(Position(0), all).await.unwrap();
    let positions = async |oldest, max_series| {
        let inventory = read(&state, oldest, max_series).await.unwrap();
        let positions = inventory.series.iter().map(|known| known.position.0);
        positions.collect::<Vec<_>>()
    };
    assert_eq!(positions(1, 4).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(positions(8, 14).await, (1..=10).collect::<Vec<_>>());
    // Seven are gone from the journal, and there is room for three of them.
    assert_eq!(positions(8, 6).await, (5..=10).collect::<Vec<_>>());
    assert_eq!(positions(1, 100).await, (5..=10).collect::<Vec<_>>());
}

fn remembered(rule: &str, series: &str, bytes: &[u8]) -> Remembered {
    Remembered {
        rule: rule.into(),
        fingerprint: u32::MAX,
        series: SeriesKey::parse(series).unwrap(),
        bytes: bytes.to_vec(),
    }
}

/// Writes down what conditions remember, and reads what is in the file then.
async fn kept(state: &State, position: u64, all: bool, of: Vec<Remembered>) -> Vec<Remembered> {
    let inventory = Inventory {
        position: Position(position),
        series: Vec::new(),
        remembered: of,
        remembers_all: all,
    };
    let since = Position(if all { 0 } else { position - 1 });
    assert!(state.note_inventory(since, inventory).await.unwrap());
    let mut inventory = read(state, 1, 100).await.unwrap();
    assert!(inventory.remembers_all);
    inventory
        .remembered
        .sort_by_key(|one| one.series.to_string());
    inventory.remembered
}

#[tokio::test]
async fn what_conditions_remember_comes_back_and_changes_or_is_replaced_with_the_inventory() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let (a, b) = (
        remembered("r", "a/x", &[0, 255]),
        remembered("r", "b/x", &[]),
    );
    let all = vec![a.clone(), b.clone()];
    assert_eq!(kept(&state, 5, true, all.clone()).await, all);
    let newer = remembered("r", "b/x", &[7; 4096]);
    let change = vec![newer.clone()];
    assert_eq!(kept(&state, 6, false, change).await, [a, newer]);
    let other = vec![remembered("other", "c/x", b"c")];
    assert_eq!(kept(&state, 7, true, other.clone()).await, other);
}

#[tokio::test]
async fn a_damaged_row_of_what_conditions_remember_is_left_out_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let rows = ["a/x", "b/x", "c/x"].map(|series| remembered("r", series, b"what it was"));
    kept(&state, 5, true, rows.to_vec()).await;
    drop(state);
    let file = Connection::open(dir.path().join("state.sqlite")).unwrap();
    file.execute(
        "UPDATE remembered SET body = x'00' WHERE series = 'a/x'",
        [],
    )
    .unwrap();
    file.execute(
        "UPDATE remembered SET series = 'none' WHERE series = 'c/x'",
        [],
    )
    .unwrap();
    drop(file);
    let inventory = read(&open(dir.path(), &[]), 1, 100).await.unwrap();
    assert_eq!(inventory.remembered, rows[1..2]);
    assert!(inventory.remembers_all);
}

#[tokio::test]
async fn a_file_of_before_says_that_it_does_not_know_what_conditions_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let old = schema::of_format(&dir.path().join("state.sqlite"), 10);
    old.execute("INSERT INTO meta VALUES ('inventory', 5)", [])
        .unwrap();
    drop(old);
    let inventory = read(&open(dir.path(), &[]), 1, 100).await.unwrap();
    assert!(!inventory.remembers_all && inventory.position == Position(5));
}

#[tokio::test(start_paused = true)]
async fn an_inventory_waits_until_what_rules_made_of_its_readings_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let evaluated = |position| crate::state::inventory::is_evaluated(&state, Position(position));
    assert!(evaluated(0).await);
    assert!(!evaluated(5).await);
    let decided = Decided {
        position: Position(5),
        transitions: Vec::new(),
        closings: Vec::new(),
    };
    state.record(decided).await.unwrap();
    assert!(evaluated(5).await);
    assert!(!evaluated(6).await);
}
