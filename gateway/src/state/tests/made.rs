//! What people make: durable, versioned, bounded, and in the audit trail.

use serde_json::{Map, Value as JsonValue, json};

use super::*;
use crate::state::{Made, MadeDraft, MadeError, Thing};

fn body(above: i64) -> Map<String, JsonValue> {
    let rule = json!({"name": "hot", "series": "*/t", "above": above});
    rule.as_object().unwrap().clone()
}

fn draft(above: i64, by: &str) -> MadeDraft {
    MadeDraft {
        body: body(above),
        enabled: true,
        by: by.to_owned(),
    }
}

async fn trail(state: &State) -> Vec<(String, String)> {
    let entries = state.audit(10).await.unwrap();
    entries.into_iter().map(|e| (e.by, e.action)).collect()
}

#[tokio::test]
async fn a_rule_is_there_after_a_restart_as_it_was_changed_last() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let made = state
        .make(Thing::Rule, None, draft(30, "Ada"))
        .await
        .unwrap();
    assert_eq!((made.version, made.name()), (1, "hot"));
    let other = state
        .make(Thing::Rule, None, draft(31, "Ada"))
        .await
        .unwrap();
    let changed = state
        .change_made(Thing::Rule, &made.id, Some(1), draft(35, "Bob"))
        .await;
    let changed = changed.unwrap();
    assert_eq!(changed.version, 2);
    assert_eq!(changed.changed_by.as_deref(), Some("Bob"));
    assert_eq!(changed.created_by, "Ada");
    // The same once more is no change.
    let again = state
        .change_made(Thing::Rule, &made.id, Some(2), draft(35, "Cy"))
        .await;
    assert_eq!(again.unwrap(), changed);
    drop(state);
    let state = open(dir.path(), &[]);
    assert_eq!(
        state.made(Thing::Rule).await.unwrap(),
        [changed, other.clone()]
    );
    let gone = state
        .delete_made(Thing::Rule, &made.id, None, String::from("Cy"))
        .await;
    assert_eq!(gone.unwrap().version, 2);
    assert_eq!(state.made(Thing::Rule).await.unwrap(), [other]);
    let expected = [
        ("Cy", "rule_deleted"),
        ("Bob", "rule_changed"),
        ("Ada", "rule_created"),
        ("Ada", "rule_created"),
    ];
    let expected = expected.map(|(by, action)| (by.to_owned(), action.to_owned()));
    assert_eq!(trail(&state).await, expected);
    let changed = &state.audit(2).await.unwrap()[1].detail;
    let [before, after] = ["before", "after"].map(|at| changed[at]["rule"]["above"].clone());
    assert_eq!((before, after), (json!(30), json!(35)));
}

#[tokio::test]
async fn who_changes_an_old_version_is_shown_the_new_one_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let made = state
        .make(Thing::Rule, None, draft(30, "Ada"))
        .await
        .unwrap();
    let second = state
        .change_made(Thing::Rule, &made.id, Some(1), draft(31, "Ada"))
        .await;
    let second = second.unwrap();
    let is_shown = |refused: Result<Made, MadeError>| match refused {
        Err(MadeError::Changed(now)) => *now == second,
        _ => false,
    };
    assert!(is_shown(
        state
            .change_made(Thing::Rule, &made.id, Some(1), draft(32, "Bob"))
            .await
    ));
    assert!(is_shown(
        state
            .delete_made(Thing::Rule, &made.id, Some(1), String::from("Bob"))
            .await
    ));
    assert_eq!(state.made(Thing::Rule).await.unwrap(), [second]);
    let unknown = state
        .change_made(Thing::Rule, "r-0", None, draft(1, "Bob"))
        .await;
    assert!(matches!(unknown, Err(MadeError::Unknown(Thing::Rule))));
    let expected = [("Ada", "rule_changed"), ("Ada", "rule_created")];
    let expected = expected.map(|(by, action)| (by.to_owned(), action.to_owned()));
    assert_eq!(trail(&state).await, expected);
}

#[tokio::test]
async fn one_rule_too_many_is_refused_and_counted_and_one_that_cannot_be_read_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let clock = Clock::manual(Timestamp::from_millis(1_000));
    let state = State::open(dir.path(), &[], clock, &mut registry).unwrap();
    let mut file = rusqlite::Connection::open(dir.path().join("state.sqlite")).unwrap();
    let fill = file.transaction().unwrap();
    for n in 1..Thing::Rule.most() {
        fill.execute(
            "INSERT INTO made (thing, id, version, enabled, body, created_by, created) VALUES ('rule', ?1, 1, 1, '{}', 'x', 0)",
            [format!("r-{n}")],
        )
        .unwrap();
    }
    fill.commit().unwrap();
    state
        .make(Thing::Rule, None, draft(1, "Ada"))
        .await
        .unwrap();
    let refused = state.make(Thing::Rule, None, draft(2, "Ada")).await;
    assert!(matches!(refused, Err(MadeError::TooMany(Thing::Rule))));
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
    assert!(
        metrics.contains("gateway_rules_refused_total 1\n"),
        "{metrics}"
    );
    file.execute("UPDATE made SET body = 'no' WHERE id = 'r-1'", [])
        .unwrap();
    assert_eq!(
        state.made(Thing::Rule).await.unwrap().len() as i64,
        Thing::Rule.most() - 1
    );
}

#[tokio::test]
async fn rules_of_an_older_file_are_there_in_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let old = crate::state::schema::of_format(&dir.path().join("state.sqlite"), 14);
    for (id, at) in [("r-b", 1), ("r-a", 2)] {
        old.execute(
            "INSERT INTO rules (id, version, enabled, body, created_by, created) VALUES (?1, 3, 0, '{\"name\":\"n\"}', 'Ada', ?2)",
            rusqlite::params![id, at],
        )
        .unwrap();
    }
    drop(old);
    let state = open(dir.path(), &[]);
    let rules = state.made(Thing::Rule).await.unwrap();
    let shown: Vec<_> = rules
        .iter()
        .map(|r| (r.id.as_str(), r.version, r.enabled, r.created.0, r.name()))
        .collect();
    assert_eq!(
        shown,
        [("r-b", 3, false, 1, "n"), ("r-a", 3, false, 2, "n")]
    );
}

#[tokio::test]
async fn what_is_made_anew_under_the_id_of_one_that_is_gone_has_a_version_that_nobody_holds() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let first = state
        .make(Thing::Device, Some("pump"), draft(1, "Ada"))
        .await;
    let first = first.unwrap();
    let taken = state
        .make(Thing::Device, Some("pump"), draft(2, "Bob"))
        .await;
    assert!(matches!(taken, Err(MadeError::Taken(made)) if *made == first));
    let other = state
        .make(Thing::Webhook, Some("pump"), draft(2, "Bob"))
        .await;
    assert_eq!(other.unwrap().version, 1, "a webhook is no device");
    state
        .delete_made(Thing::Device, "pump", Some(1), String::from("Ada"))
        .await
        .unwrap();
    let anew = state
        .make(Thing::Device, Some("pump"), draft(3, "Ada"))
        .await;
    assert_eq!(anew.unwrap().version, 2);
    let late = state
        .change_made(Thing::Device, "pump", Some(1), draft(4, "Bob"))
        .await;
    assert!(matches!(late, Err(MadeError::Changed(_))));
}

#[tokio::test]
async fn the_trail_has_no_secrets_of_webhooks_and_no_long_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[]);
    let draft = |body: JsonValue| MadeDraft {
        body: body.as_object().unwrap().clone(),
        enabled: true,
        by: String::from("Ada"),
    };
    let hook = json!({"name": "ops", "url": "https://h/S3CRET", "token": "S3CRET", "headers": {"x": "S3CRET"}, "timeout": "5s"});
    let wide = json!({"name": "wall", "layout": {"tiles": "x".repeat(3_000)}});
    state
        .make(Thing::Webhook, Some("ops"), draft(hook))
        .await
        .unwrap();
    let other = json!({"name": "ops", "url": "https://h/S3CRET2"});
    state
        .change_made(Thing::Webhook, "ops", None, draft(other))
        .await
        .unwrap();
    state
        .make(Thing::Dashboard, None, draft(wide))
        .await
        .unwrap();
    let trail = serde_json::to_string(&state.audit(10).await.unwrap()).unwrap();
    assert!(!trail.contains("S3CRET"), "{trail}");
    assert!(
        trail.contains("\"secrets\":[\"url\",\"token\",\"headers\"]"),
        "{trail}"
    );
    assert!(
        trail.contains("\"layout_bytes\":3012") && !trail.contains("xxx"),
        "{trail}"
    );
}
