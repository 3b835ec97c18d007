//! What is given up, and what people do with it.

use serde_json::json;

use super::*;

/// A state with these alerts firing, in order, for one webhook.
async fn firing(dir: &Path, alerts: &[&str]) -> State {
    let state = open(dir, &[webhook("ops")]);
    let changes = alerts
        .iter()
        .zip(1..)
        .map(|(id, at)| transition(id, AlertState::Firing, at))
        .collect();
    state.record(decided(1, changes)).await.unwrap();
    state
}

async fn next(state: &State, but: &[&str]) -> Option<Delivery> {
    let but = but.iter().map(ToString::to_string).collect();
    state.next_delivery("ops", but).await.unwrap()
}

async fn give_up(state: &State) -> Delivery {
    let delivery = next(state, &[]).await.unwrap();
    let verdict = Verdict::GivenUp {
        error: String::from("the receiver answered 400 Bad Request"),
    };
    state.settle(&delivery, verdict).await.unwrap();
    delivery
}

#[tokio::test]
async fn a_delivery_that_rests_holds_back_its_own_alert_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let state = firing(dir.path(), &["a", "b"]).await;
    state
        .record(decided(2, vec![transition("a", AlertState::Resolved, 9)]))
        .await
        .unwrap();
    assert_eq!(next(&state, &[]).await.unwrap().id, "a.firing.ops");
    let other = next(&state, &["a"]).await.unwrap();
    assert_eq!((other.id.as_str(), other.subject()), ("b.firing.ops", "b"));
    state.settle(&other, Verdict::Delivered).await.unwrap();
    assert_eq!(next(&state, &["a"]).await, None, "not its end before it");
    let first = next(&state, &[]).await.unwrap();
    state.settle(&first, Verdict::Delivered).await.unwrap();
    assert_eq!(next(&state, &[]).await.unwrap().id, "a.resolved.ops");
}

#[tokio::test]
async fn what_was_given_up_is_kept_listed_and_sent_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let state = firing(dir.path(), &["a", "b"]).await;
    let sent = give_up(&state).await;
    give_up(&state).await;
    let (total, letters) = state.dead_letters(i64::MAX, 1).await.unwrap();
    assert_eq!((total, letters.len()), (2, 1));
    assert_eq!(letters[0].id, "b.firing.ops", "the newest first");
    let (_, older) = state.dead_letters(letters[0].number, 10).await.unwrap();
    assert_eq!(older[0].message["alert_id"], "a");
    assert!(older[0].error.as_ref().unwrap().contains("400"));
    let by = || String::from("Ada");
    state
        .replay_dead_letter(older[0].number, None, by())
        .await
        .unwrap();
    let again = next(&state, &[]).await.unwrap();
    assert_eq!((&again.id, &again.body), (&sent.id, &sent.body));
    assert_eq!(again.tries, 0);
    let twice = state.replay_dead_letter(older[0].number, None, by()).await;
    assert!(matches!(twice, Err(DeadLetterError::Unknown)));
    let trail = state.audit(10).await.unwrap();
    assert_eq!(trail[0].action, "delivery_replayed");
    assert_eq!(
        (trail[0].by.as_str(), trail[0].target.as_str()),
        ("Ada", "a.firing.ops")
    );
}

#[tokio::test]
async fn one_that_is_put_right_goes_out_under_a_new_id_and_stays_about_its_alert() {
    let dir = tempfile::tempdir().unwrap();
    let state = firing(dir.path(), &["a"]).await;
    give_up(&state).await;
    let by = || String::from("Ada");
    let letter = state.dead_letters(i64::MAX, 1).await.unwrap().1.remove(0);
    let replay = |message| state.replay_dead_letter(letter.number, Some(message), by());
    let nonsense = replay(json!({"hello": 1})).await;
    assert!(matches!(nonsense, Err(DeadLetterError::Message(_))));
    let mut other = letter.message.clone();
    other["alert_id"] = json!("b");
    assert!(matches!(
        replay(other).await,
        Err(DeadLetterError::Subject(_))
    ));
    let mut message = letter.message.clone();
    message["summary"] = json!("short");
    replay(message.clone()).await.unwrap();
    let sent = next(&state, &[]).await.unwrap();
    assert_eq!(sent.id, "a.firing.ops~1");
    assert!(sent.body.contains("short") && sent.body.contains("a.firing.ops~1"));
    give_up(&state).await;
    let letter = state.dead_letters(i64::MAX, 1).await.unwrap().1.remove(0);
    let again = state.replay_dead_letter(letter.number, Some(message), by());
    again.await.unwrap();
    assert_eq!(next(&state, &[]).await.unwrap().id, "a.firing.ops~2");
}

#[tokio::test]
async fn all_of_one_webhook_are_sent_again_or_discarded_with_one_line_in_the_trail() {
    let dir = tempfile::tempdir().unwrap();
    let state = firing(dir.path(), &["a", "b", "c"]).await;
    for _ in 0..3 {
        give_up(&state).await;
    }
    let by = || String::from("Ada");
    let other = Some(String::from("other"));
    assert_eq!(state.replay_dead_letters(other, by()).await.unwrap(), 0);
    let ops = Some(String::from("ops"));
    assert_eq!(state.replay_dead_letters(ops, by()).await.unwrap(), 3);
    for _ in 0..3 {
        give_up(&state).await;
    }
    assert_eq!(state.discard_dead_letters(None, by()).await.unwrap(), 3);
    assert_eq!(state.dead_letters(i64::MAX, 9).await.unwrap().0, 0);
    let trail = state.audit(10).await.unwrap();
    assert_eq!(trail.len(), 2, "nothing done is not told");
    assert_eq!(trail[0].action, "delivery_discarded");
    assert_eq!(trail[0].detail["deliveries"], 3);
}

#[tokio::test]
async fn dead_letters_have_a_bound_that_deliveries_which_worked_do_not_share() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(dir.path(), &[webhook("ops")]);
    state
        .with(|connection| {
            let transaction = connection.transaction()?;
            for number in 0..2 * KEPT_DEAD_LETTERS {
                let status = if number % 2 == 0 { "given_up" } else { "delivered" };
                transaction.execute(
                    "INSERT INTO deliveries (id, webhook, status, body, created, changed, tries) VALUES (?1 || '.x', 'ops', ?2, '{}', 0, 0, 1)",
                    params![number, status],
                )?;
            }
            outbox::prune(&transaction)?;
            transaction.commit()
        })
        .await
        .unwrap();
    let kept = |status: &'static str| {
        state.with(move |connection| {
            connection.query_row(
                "SELECT count(*), min(number) FROM deliveries WHERE status = ?1",
                params![status],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
        })
    };
    assert_eq!(kept("given_up").await.unwrap(), (KEPT_DEAD_LETTERS, 1));
    assert_eq!(kept("delivered").await.unwrap(), (KEPT_DELIVERIES, 2));
    state
        .with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute("UPDATE deliveries SET status = 'given_up'", [])?;
            outbox::prune(&transaction)?;
            transaction.commit()
        })
        .await
        .unwrap();
    let oldest = KEPT_DEAD_LETTERS + 1;
    assert_eq!(kept("given_up").await.unwrap(), (KEPT_DEAD_LETTERS, oldest));
}

#[tokio::test]
async fn a_webhook_that_fails_whatever_it_is_sent_is_shown_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let state = firing(dir.path(), &["a"]).await;
    state.circuit_is("ops", true);
    let status = state.webhooks().await.unwrap().remove(0);
    assert_eq!(
        status.failing_since.as_deref(),
        Some("1970-01-01T00:00:01Z")
    );
    state.circuit_is("ops", false);
    let status = state.webhooks().await.unwrap().remove(0);
    assert_eq!(status.failing_since, None);
}
