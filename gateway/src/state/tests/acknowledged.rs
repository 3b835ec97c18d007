//! Which webhooks hear of an acknowledgement, when, and how often.

use std::time::Duration;

use super::*;
use crate::alert::{
    route::{Route, Routing},
    silence::{Draft, Matcher},
};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

struct House {
    dir: tempfile::TempDir,
    clock: Clock,
    routing: Routing,
    state: State,
}

fn open_at(dir: &Path, clock: &Clock) -> State {
    let pager = Recipient {
        hears_acknowledgements: true,
        ..webhook("pager")
    };
    let all = [webhook("ops"), pager];
    State::open(dir, &all, clock.clone(), &mut Registry::default()).unwrap()
}

impl House {
    async fn new(routes: Vec<Route>) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(NOW));
        let state = open_at(dir.path(), &clock);
        let routing = Routing {
            routes,
            inhibits: Vec::new(),
        };
        state.set_routes(routing.clone()).await.unwrap();
        Self {
            dir,
            clock,
            routing,
            state,
        }
    }

    /// As after a kill.
    async fn again(self) -> Self {
        drop(self.state);
        let state = open_at(self.dir.path(), &self.clock);
        state.set_routes(self.routing.clone()).await.unwrap();
        Self { state, ..self }
    }

    async fn change(&self, id: &str, state: AlertState) {
        let change = transition(id, state, 1_800_000_000_000);
        self.state.record(decided(1, vec![change])).await.unwrap();
    }

    async fn acknowledge(&self, id: &str, by: &str) {
        let by = by.to_owned();
        let given = self.state.acknowledge(id, by, String::from("on my way"));
        given.await.unwrap();
    }

    async fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.state.look_at_groups().await.unwrap();
    }

    async fn silence(&self, seconds: i64) {
        let draft = Draft {
            matchers: vec![Matcher {
                name: String::from("rule"),
                value: String::from("hot"),
                glob: false,
            }],
            starts: None,
            ends: Timestamp(self.clock.now().0 + seconds * 1_000_000_000),
            by: String::from("Ada"),
            comment: String::new(),
            repeat: None,
        };
        self.state.silence(draft).await.unwrap();
    }

    /// What goes out, each as `subject what`; each is delivered.
    async fn hears(&self, webhook: &str) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(delivery) = self.state.next_delivery(webhook, Vec::new()).await.unwrap() {
            let verdict = Verdict::Delivered;
            self.state.settle(&delivery, verdict).await.unwrap();
            let message = Message::from_body(&delivery.body).unwrap();
            let what = match (message.acknowledged(), message.event()) {
                (Some(given), _) => format!("taken by {}", given.by),
                (None, event) => format!("{event:?}").to_lowercase(),
            };
            let ids: Vec<&str> = message
                .alerts()
                .iter()
                .map(|a| a.alert_id.as_str())
                .collect();
            said.push(format!("{} {what}", ids.join("+")));
        }
        said
    }
}

#[tokio::test]
async fn a_pager_hears_once_who_takes_care_after_it_heard_what_fires_and_nobody_else_does() {
    let house = House::new(Vec::new()).await;
    house.change("a", AlertState::Firing).await;
    house.acknowledge("a", "Ada").await;
    house.acknowledge("a", "Ada").await;
    let house = house.again().await;
    house.acknowledge("a", "Ada").await;
    house.change("a", AlertState::Resolved).await;
    assert_eq!(
        house.hears("pager").await,
        ["a firing", "a taken by Ada", "a resolved"]
    );
    assert_eq!(house.hears("ops").await, ["a firing", "a resolved"]);
    let refused = house
        .state
        .acknowledge("a", String::from("Bob"), String::new());
    assert!(matches!(
        refused.await,
        Err(AttentionError::NotFiring("resolved"))
    ));
    assert!(house.hears("pager").await.is_empty());
}

#[tokio::test]
async fn one_that_is_taken_back_and_given_anew_is_told_anew() {
    let house = House::new(Vec::new()).await;
    house.change("a", AlertState::Firing).await;
    house.acknowledge("a", "Ada").await;
    house
        .state
        .unacknowledge("a", String::from("Ada"))
        .await
        .unwrap();
    house.later(5).await;
    house.acknowledge("a", "Bob").await;
    assert_eq!(
        house.hears("pager").await,
        ["a firing", "a taken by Ada", "a taken by Bob"]
    );
}

#[tokio::test]
async fn what_a_silence_holds_back_is_acknowledged_behind_it_or_not_at_all() {
    let house = House::new(Vec::new()).await;
    house.silence(60).await;
    for id in ["a", "b"] {
        house.change(id, AlertState::Firing).await;
        house.acknowledge(id, "Ada").await;
    }
    assert!(house.hears("pager").await.is_empty());
    // Nobody there knows of what is over before the silence is.
    house.change("b", AlertState::Resolved).await;
    house.later(60).await;
    assert_eq!(house.hears("pager").await, ["a firing", "a taken by Ada"]);
}

#[tokio::test]
async fn what_was_given_up_is_no_incident_that_could_be_acknowledged() {
    let house = House::new(Vec::new()).await;
    house.change("a", AlertState::Firing).await;
    let fired = house.state.next_delivery("pager", Vec::new()).await;
    let fired = fired.unwrap().unwrap();
    let error = String::from("gone");
    let settled = house.state.settle(&fired, Verdict::GivenUp { error });
    settled.await.unwrap();
    house.acknowledge("a", "Ada").await;
    assert!(house.hears("pager").await.is_empty());
}

fn route() -> Route {
    Route {
        group_by: vec!["rule".into()],
        group_wait: Duration::from_secs(10),
        group_interval: Duration::from_secs(60),
        repeat_interval: Duration::ZERO,
        ..Route::bygone("r".into(), vec!["ops".into(), "pager".into()])
    }
}

#[tokio::test]
async fn a_group_is_one_incident_and_acknowledged_when_all_that_was_told_of_it_is() {
    let house = House::new(vec![route()]).await;
    house.change("a", AlertState::Firing).await;
    house.change("b", AlertState::Firing).await;
    house.later(10).await;
    assert_eq!(house.hears("pager").await, ["a+b firing"]);
    house.acknowledge("a", "Ada").await;
    assert!(house.hears("pager").await.is_empty());
    house.later(1).await;
    house.acknowledge("b", "Bob").await;
    assert_eq!(house.hears("pager").await, ["b taken by Bob"]);
    let house = house.again().await;
    // One more fires, and is acknowledged before anybody is told: that comes behind it.
    house.change("c", AlertState::Firing).await;
    house.acknowledge("c", "Eve").await;
    house.later(120).await;
    assert_eq!(house.hears("pager").await, ["c firing", "c taken by Eve"]);
    for id in ["a", "b", "c"] {
        house.change(id, AlertState::Resolved).await;
    }
    house.later(120).await;
    assert_eq!(house.hears("pager").await, ["a+b+c resolved"]);
    let ops = house.hears("ops").await;
    assert_eq!(ops, ["a+b firing", "c firing", "a+b+c resolved"]);
}

#[tokio::test]
async fn one_of_a_group_that_is_over_needs_nobody() {
    let house = House::new(vec![route()]).await;
    house.change("a", AlertState::Firing).await;
    house.change("b", AlertState::Firing).await;
    house.later(10).await;
    house.change("a", AlertState::Resolved).await;
    house.acknowledge("b", "Bob").await;
    assert_eq!(house.hears("pager").await, ["a+b firing", "b taken by Bob"]);
}
