//! What people do about alerts, as every open page hears of it.

use std::collections::HashMap;

use super::*;
use crate::alert::silence::{Acknowledgement, Matcher, Silence, SilenceState};

fn silence(id: &str, device: &str, state: SilenceState) -> Silence {
    Silence {
        id: id.into(),
        version: 1,
        state,
        matchers: vec![Matcher {
            name: String::from("device"),
            value: device.to_owned(),
            glob: false,
        }],
        starts: Timestamp(0),
        ends: Timestamp(1),
        created_by: String::from("Ada"),
        created: Timestamp(0),
        changed_by: None,
        changed: None,
        comment: String::new(),
        shelving: false,
        repeat: None,
        turns: None,
    }
}

fn attention(silences: Vec<Silence>, acknowledged: &[&str]) -> Attention {
    let given = |id: &&str| {
        let acknowledgement = Acknowledgement {
            by: String::from("Ada"),
            comment: String::from("on it"),
            at_ms: 5,
        };
        ((*id).into(), acknowledgement)
    };
    Attention {
        silences,
        acknowledged: acknowledged.iter().map(given).collect::<HashMap<_, _>>(),
        ..Attention::default()
    }
}

#[tokio::test]
async fn every_page_hears_of_silences_and_of_the_alerts_that_they_concern() {
    let house = house(Config::default());
    house.hub.attend(attention(vec![], &[])).await;
    house.say(alert("one", AlertState::Firing)).await;
    let mut other = an_alert("two", AlertState::Firing);
    other.series = "b/t".into();
    house
        .say(Update::Alert {
            alert: other,
            number: Some(1),
        })
        .await;
    let (mut a, mut b) = (
        house.open("/events", None).await,
        house.open("/events?types=silence", None).await,
    );
    let snapshot = a.expect("snapshot").await;
    assert_eq!(snapshot.data["silences"], json!([]));
    assert_eq!(snapshot.data["alerts"][0]["silenced_by"], json!([]));
    assert_eq!(snapshot.data["alerts"][0]["acknowledged"], JsonValue::Null);
    b.expect("snapshot").await;

    let active = silence("s-1", "a", SilenceState::Active);
    house.hub.attend(attention(vec![active.clone()], &[])).await;
    let said = a.expect("silence").await;
    assert_eq!(
        (&said.data["id"], &said.data["state"]),
        (&json!("s-1"), &json!("active"))
    );
    assert!(said.id.is_some());
    assert_eq!(b.expect("silence").await.data, said.data);
    let said = a.expect("alert").await;
    assert_eq!(
        (&said.data["id"], &said.data["silenced_by"]),
        (&json!("one"), &json!(["s-1"]))
    );

    // An acknowledgement alone; the other alert is not said again.
    house
        .hub
        .attend(attention(vec![active.clone()], &["one"]))
        .await;
    let said = a.expect("alert").await;
    assert_eq!(
        said.data["acknowledged"],
        json!({"by": "Ada", "comment": "on it", "at_ms": 5})
    );
    let ended = silence("s-1", "a", SilenceState::Ended);
    house.hub.attend(attention(vec![ended], &["one"])).await;
    assert_eq!(a.expect("silence").await.data["state"], "ended");
    assert_eq!(b.expect("silence").await.data["state"], "ended");
    assert_eq!(a.expect("alert").await.data["silenced_by"], json!([]));
    // One that ended among too many to be kept is said to have ended.
    house.hub.attend(attention(vec![active], &["one"])).await;
    a.expect("silence").await;
    a.expect("alert").await;
    house.hub.attend(attention(vec![], &["one"])).await;
    assert_eq!(a.expect("silence").await.data["state"], "ended");
    assert_eq!(a.expect("alert").await.data["silenced_by"], json!([]));
}

#[tokio::test]
async fn after_a_start_all_is_said_for_those_who_knew_it_otherwise() {
    let house = house(Config::default());
    house.say(alert("one", AlertState::Firing)).await;
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    let ended = silence("s-1", "a", SilenceState::Ended);
    house.hub.attend(attention(vec![ended], &[])).await;
    assert_eq!(reader.expect("silence").await.data["state"], "ended");
    let said = reader.expect("alert").await;
    assert_eq!(said.data["acknowledged"], JsonValue::Null);
    // And an alert that begins under a silence says so with its first word.
    let active = silence("s-2", "a", SilenceState::Active);
    house.hub.attend(attention(vec![active], &[])).await;
    reader.expect("silence").await;
    reader.expect("alert").await;
    house.say(alert("two", AlertState::Firing)).await;
    assert_eq!(
        reader.expect("alert").await.data["silenced_by"],
        json!(["s-2"])
    );
    let mut late = house.open("/events", None).await;
    let snapshot = late.expect("snapshot").await;
    assert_eq!(snapshot.data["silences"][0]["id"], "s-2");
    assert_eq!(snapshot.data["alerts"][1]["silenced_by"], json!(["s-2"]));
    let mut filtered = house.open("/events?types=readings", None).await;
    assert_eq!(
        filtered.expect("snapshot").await.data["silences"],
        json!([])
    );
}

/// The last alert that is told until nothing more comes.
async fn last_alert(reader: &mut Reader) -> JsonValue {
    let mut last = None;
    while let Ok(event) = timeout(Duration::from_millis(200), reader.next()).await {
        let event = event.unwrap();
        if event.name == "alert" {
            last = Some(event.data);
        }
    }
    last.expect("an alert was told")
}

#[tokio::test]
async fn who_comes_back_over_a_restart_hears_old_changes_of_alerts_with_what_people_did_since() {
    let before = house(Config::default());
    let mut reader = before.open("/events", None).await;
    let heard = reader.expect("snapshot").await.id.unwrap();
    drop(before);

    // The alert fired and was acknowledged in the run before, after the page broke off.
    let after = Past {
        run: RUN + 1,
        runs: vec![EarlierRun {
            run: RUN,
            journal: Position(0),
            alerts: 1,
        }],
        changes: vec![Change {
            number: 1,
            position: Position(0),
            alert: an_alert("one", AlertState::Firing),
        }],
        newest_change: 1,
        active: vec![an_alert("one", AlertState::Firing)],
        ..past()
    };
    let house = house_after(after, Config::default());
    let active = silence("s-1", "a", SilenceState::Active);
    house
        .hub
        .attend(attention(vec![active.clone()], &["one"]))
        .await;
    let mut reader = house.open("/events", Some(heard.as_bytes())).await;
    let resume = reader.expect("resume").await;
    assert_eq!(resume.data["alerts"][0]["acknowledged"]["by"], "Ada");
    assert_eq!(resume.data["silences"][0]["id"], "s-1");
    let told = last_alert(&mut reader).await;
    assert_eq!(told["id"], "one");
    assert_eq!(told["acknowledged"]["by"], "Ada");
    assert_eq!(told["silenced_by"], json!(["s-1"]));

    // Another fires in this run, and is acknowledged before the page comes back.
    house.say(alert("two", AlertState::Firing)).await;
    house
        .hub
        .attend(attention(vec![active], &["one", "two"]))
        .await;
    let mut reader = house.open("/events", Some(heard.as_bytes())).await;
    reader.expect("resume").await;
    let told = last_alert(&mut reader).await;
    assert_eq!(told["id"], "two");
    assert_eq!(told["acknowledged"]["by"], "Ada");
}
