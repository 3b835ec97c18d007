//! Rules of people: durable, versioned, bounded, and in the audit trail.

use serde_json::{Map, Value as JsonValue, json};

use super::*;
use crate::state::{MAX_RULES, OwnRule, RuleDraft, RuleError};

fn body(above: i64) -> Map<String, JsonValue> {
    let rule = json!({"name": "hot", "series": "*/t", "above": above});
    rule.as_object().unwrap().clone()
}

fn draft(above: i64, by: &str) -> RuleDraft {
    RuleDraft {
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
    let made = state.create_rule(draft(30, "Ada")).await.unwrap();
    assert_eq!((made.version, made.name()), (1, "hot"));
    let other = state.create_rule(draft(31, "Ada")).await.unwrap();
    let changed = state.change_rule(&made.id, Some(1), draft(35, "Bob")).await;
    let changed = changed.unwrap();
    assert_eq!(changed.version, 2);
    assert_eq!(changed.changed_by.as_deref(), Some("Bob"));
    assert_eq!(changed.created_by, "Ada");
    // The same once more is no change.
    let again = state.change_rule(&made.id, Some(2), draft(35, "Cy")).await;
    assert_eq!(again.unwrap(), changed);
    drop(state);
    let state = open(dir.path(), &[]);
    assert_eq!(state.rules().await.unwrap(), [changed, other.clone()]);
    let gone = state.delete_rule(&made.id, None, String::from("Cy")).await;
    assert_eq!(gone.unwrap().version, 2);
    assert_eq!(state.rules().await.unwrap(), [other]);
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
    let made = state.create_rule(draft(30, "Ada")).await.unwrap();
    let second = state.change_rule(&made.id, Some(1), draft(31, "Ada")).await;
    let second = second.unwrap();
    let is_shown = |refused: Result<OwnRule, RuleError>| match refused {
        Err(RuleError::Changed(now)) => *now == second,
        _ => false,
    };
    assert!(is_shown(
        state.change_rule(&made.id, Some(1), draft(32, "Bob")).await
    ));
    assert!(is_shown(
        state
            .delete_rule(&made.id, Some(1), String::from("Bob"))
            .await
    ));
    assert_eq!(state.rules().await.unwrap(), [second]);
    let unknown = state.change_rule("r-0", None, draft(1, "Bob")).await;
    assert!(matches!(unknown, Err(RuleError::Unknown)));
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
    for n in 1..MAX_RULES {
        fill.execute(
            "INSERT INTO rules (id, version, enabled, body, created_by, created) VALUES (?1, 1, 1, '{}', 'x', 0)",
            [format!("r-{n}")],
        )
        .unwrap();
    }
    fill.commit().unwrap();
    state.create_rule(draft(1, "Ada")).await.unwrap();
    let refused = state.create_rule(draft(2, "Ada")).await;
    assert!(matches!(refused, Err(RuleError::TooMany)));
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
    assert!(
        metrics.contains("gateway_rules_refused_total 1\n"),
        "{metrics}"
    );
    file.execute("UPDATE rules SET body = 'no' WHERE id = 'r-1'", [])
        .unwrap();
    assert_eq!(state.rules().await.unwrap().len() as i64, MAX_RULES - 1);
}
