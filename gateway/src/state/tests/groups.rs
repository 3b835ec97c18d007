//! Groups of alerts in the file: what is told when, over kills, silences, other routes, jumps of the clock, and storms.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::alert::{
    route::{Inhibit, Route, Routing, Step},
    silence::{Draft, Matcher},
};

const SECOND: i64 = 1_000_000_000;
/// A clock that says so is set.
const NOW: Timestamp = Timestamp(1_800_000_000 * SECOND);
const MINUTE: Duration = Duration::from_secs(60);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn route(name: &str, webhooks: &[&str]) -> Route {
    Route {
        group_by: vec!["rule".into()],
        group_wait: seconds(10),
        group_interval: MINUTE,
        repeat_interval: 60 * MINUTE,
        ..Route::bygone(name.into(), webhooks.iter().map(|w| (*w).into()).collect())
    }
}

fn routes(routes: Vec<Route>) -> Routing {
    Routing {
        routes,
        inhibits: Vec::new(),
    }
}

fn matcher(name: &str, value: &str) -> Matcher {
    Matcher {
        name: name.to_owned(),
        value: value.to_owned(),
        glob: false,
    }
}

/// Of a device of its own, under rule `rule`.
fn change_of(rule: &str, id: &str, state: AlertState) -> Transition {
    let mut change = transition(id, state, 1_800_000_000_000);
    let series = format!("{id}/temperature");
    change.alert.rule = rule.into();
    change.alert.series = series.as_str().into();
    change.series = SeriesKey::parse(&series).unwrap();
    change
}

struct House {
    dir: tempfile::TempDir,
    clock: Clock,
    webhooks: Vec<Recipient>,
    routing: Routing,
    state: State,
}

impl House {
    async fn new(routing: Routing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let webhooks = ["ops", "boss"].map(webhook).to_vec();
        let state = State::open(
            dir.path(),
            &webhooks,
            clock.clone(),
            &mut Registry::default(),
        )
        .unwrap();
        state.set_routes(routing.clone()).await.unwrap();
        Self {
            dir,
            clock,
            webhooks,
            routing,
            state,
        }
    }

    /// As after a kill: nothing is known but the file.
    async fn again(self) -> Self {
        drop(self.state);
        let state = State::open(
            self.dir.path(),
            &self.webhooks,
            self.clock.clone(),
            &mut Registry::default(),
        )
        .unwrap();
        state.set_routes(self.routing.clone()).await.unwrap();
        Self { state, ..self }
    }

    async fn reroute(&mut self, routing: Routing) {
        self.routing = routing;
        self.state.set_routes(self.routing.clone()).await.unwrap();
    }

    async fn change(&self, id: &str, state: AlertState) {
        let change = change_of("hot", id, state);
        self.state.record(decided(1, vec![change])).await.unwrap();
    }

    async fn fire(&self, id: &str) {
        self.change(id, AlertState::Firing).await;
    }

    async fn end(&self, id: &str) {
        self.change(id, AlertState::Resolved).await;
    }

    /// What a webhook hears by then, each message as `reason: alert.event …`; each is delivered.
    async fn hears(&self, webhook: &str) -> Vec<String> {
        self.state.look_at_groups().await.unwrap();
        let mut said = Vec::new();
        while let Some(delivery) = self.state.next_delivery(webhook, Vec::new()).await.unwrap() {
            self.state
                .settle(&delivery, Verdict::Delivered)
                .await
                .unwrap();
            let message = Message::from_body(&delivery.body).unwrap();
            let reason = match &message {
                Message::Group(group) => {
                    assert_eq!(group.id, delivery.id);
                    format!("{:?}", group.reason)
                }
                Message::Alert(_) => String::from("Alone"),
            };
            let alerts: Vec<String> = message
                .alerts()
                .iter()
                .map(|alert| format!("{}.{:?}", alert.alert_id, alert.event))
                .collect();
            said.push(format!("{reason}: {}", alerts.join(" ")).to_lowercase());
        }
        said
    }

    async fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.state.look_at_groups().await.unwrap();
    }

    async fn silence(&self, device: &str, seconds: i64) {
        let draft = Draft {
            matchers: vec![matcher("device", device)],
            starts: None,
            ends: Timestamp(self.clock.now().0 + seconds * SECOND),
            by: String::from("Ada"),
            comment: String::new(),
            repeat: None,
        };
        self.state.silence(draft).await.unwrap();
    }
}

#[tokio::test]
async fn alerts_of_a_group_come_in_one_message_after_its_wait_and_their_ends_after_its_interval() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    house.fire("a").await;
    house.later(seconds(9)).await;
    house.fire("b").await;
    assert!(house.hears("ops").await.is_empty());
    house.later(seconds(1)).await;
    assert_eq!(house.hears("ops").await, ["change: a.firing b.firing"]);
    assert!(house.hears("boss").await.is_empty());
    house.end("a").await;
    house.later(seconds(59)).await;
    assert!(house.hears("ops").await.is_empty());
    let house = house.again().await;
    house.later(seconds(1)).await;
    assert_eq!(house.hears("ops").await, ["change: a.resolved"]);
    // A replay of all of it adds nothing.
    house.fire("a").await;
    house.end("a").await;
    house.later(10 * MINUTE).await;
    assert!(house.hears("ops").await.is_empty());
    house.later(60 * MINUTE).await;
    assert_eq!(house.hears("ops").await, ["repeat: b.firing"]);
}

#[tokio::test]
async fn without_a_route_that_takes_it_an_alert_is_told_alone_and_at_once() {
    let only = Route {
        matchers: vec![matcher("rule", "other")],
        ..route("r", &["boss"])
    };
    let house = House::new(routes(vec![only])).await;
    house.fire("a").await;
    house.end("a").await;
    assert_eq!(
        house.hears("ops").await,
        ["alone: a.firing", "alone: a.resolved"]
    );
}

fn to_the_boss_after_a_quarter() -> Routing {
    let step = Step {
        after: 15 * MINUTE,
        webhooks: vec!["boss".into()],
    };
    routes(vec![Route {
        escalate: vec![step],
        ..route("r", &["ops"])
    }])
}

#[tokio::test]
async fn a_clock_that_jumps_fires_no_reminder_and_no_escalation() {
    let house = House::new(to_the_boss_after_a_quarter()).await;
    house.fire("a").await;
    house.later(seconds(10)).await;
    assert_eq!(house.hears("ops").await.len(), 1);
    house.clock.set(Timestamp(NOW.0 + 86_400 * 365 * SECOND));
    assert!(house.hears("ops").await.is_empty() && house.hears("boss").await.is_empty());
    let house = house.again().await;
    house.clock.set(Timestamp(NOW.0 - 86_400 * SECOND));
    house.later(14 * MINUTE).await;
    assert!(house.hears("boss").await.is_empty());
    house.later(MINUTE).await;
    assert_eq!(house.hears("boss").await, ["escalation: a.firing"]);
}

#[tokio::test]
async fn an_alert_that_somebody_acknowledged_is_not_escalated_until_that_is_taken_back() {
    let house = House::new(to_the_boss_after_a_quarter()).await;
    house.fire("a").await;
    house.later(seconds(10)).await;
    let shown = house.state.attention(10).await.unwrap();
    let due = NOW.as_millis() + 10_000 + 900_000;
    assert_eq!(shown.routed.escalates.get("a"), Some(&due));
    house
        .state
        .acknowledge("a", String::from("Ada"), String::new())
        .await
        .unwrap();
    let alert = change_of("hot", "a", AlertState::Firing).alert;
    let shown = house.state.attention(10).await.unwrap();
    assert_eq!(shown.to(&alert).standing.escalates_ms, None);
    house.later(120 * MINUTE).await;
    assert_eq!(house.hears("ops").await.len(), 1, "nor is it repeated");
    assert!(house.hears("boss").await.is_empty());
    house
        .state
        .unacknowledge("a", String::from("Ada"))
        .await
        .unwrap();
    assert_eq!(house.hears("boss").await, ["escalation: a.firing"]);
    house.end("a").await;
    house.later(MINUTE).await;
    assert_eq!(house.hears("boss").await, ["change: a.resolved"]);
}

#[tokio::test]
async fn a_silence_holds_its_alerts_out_of_the_message_and_lets_them_go_when_it_ends() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    house.silence("a", 300).await;
    for id in ["a", "b"] {
        house.fire(id).await;
    }
    house.later(seconds(10)).await;
    assert_eq!(house.hears("ops").await, ["change: b.firing"]);
    house.silence("b", 200).await;
    house.end("b").await;
    house.later(seconds(189)).await;
    assert!(house.hears("ops").await.is_empty());
    let house = house.again().await;
    house.later(seconds(11)).await;
    assert_eq!(house.hears("ops").await, ["change: b.resolved"]);
    house.later(seconds(100)).await;
    assert_eq!(house.hears("ops").await, ["change: a.firing"]);
}

#[tokio::test]
async fn a_message_that_waits_is_held_while_all_of_it_is_silenced() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    for id in ["a", "b"] {
        house.fire(id).await;
    }
    house.later(seconds(10)).await;
    house.silence("a", 300).await;
    let status = house.state.webhooks().await.unwrap();
    assert_eq!((status[0].waiting, status[0].held), (1, 0));
    house.silence("b", 300).await;
    assert!(house.hears("ops").await.is_empty());
    // Others of the group are told meanwhile.
    house.fire("c").await;
    house.end("a").await;
    house.later(seconds(60)).await;
    assert_eq!(house.hears("ops").await, ["change: c.firing"]);
    house.later(seconds(240)).await;
    assert_eq!(
        house.hears("ops").await,
        ["change: a.firing b.firing", "change: a.resolved"]
    );
}

#[tokio::test]
async fn what_another_alert_explains_is_not_told_until_that_is_over() {
    let routing = Routing {
        routes: vec![route("r", &["ops"])],
        inhibits: vec![Inhibit {
            source: vec![matcher("rule", "down")],
            target: vec![matcher("rule", "hot")],
            equal: vec!["site".into()],
        }],
    };
    let house = House::new(routing).await;
    let down = |state| decided(1, vec![change_of("down", "switch", state)]);
    house.fire("a").await;
    house.later(seconds(10)).await;
    assert_eq!(house.hears("ops").await, ["change: a.firing"]);
    house.state.record(down(AlertState::Firing)).await.unwrap();
    house.fire("b").await;
    house.fire("c").await;
    house.later(60 * MINUTE).await;
    assert_eq!(
        house.hears("ops").await,
        ["change: switch.firing"],
        "and no reminder of a"
    );
    let shown = house.state.attention(10).await.unwrap();
    assert_eq!(shown.routed.inhibited.get("b").unwrap(), &["switch"]);
    house.end("c").await;
    house.end("a").await;
    house.later(MINUTE).await;
    let house = house.again().await;
    assert_eq!(house.hears("ops").await, ["change: a.resolved"]);
    house
        .state
        .record(down(AlertState::Resolved))
        .await
        .unwrap();
    house.later(MINUTE).await;
    let mut said = house.hears("ops").await;
    said.sort();
    assert_eq!(said, ["change: b.firing", "change: switch.resolved"]);
    let shown = house.state.attention(10).await.unwrap();
    assert!(shown.routed.inhibited.is_empty());
}

#[tokio::test]
async fn other_routes_tell_nothing_twice_and_leave_no_end_out() {
    let mut house = House::new(Routing::default()).await;
    house.fire("a").await;
    assert_eq!(house.hears("ops").await, ["alone: a.firing"]);
    assert_eq!(house.hears("boss").await, ["alone: a.firing"]);
    // From no routes to one.
    house.reroute(routes(vec![route("r", &["ops"])])).await;
    house.fire("b").await;
    house.later(MINUTE).await;
    assert_eq!(house.hears("ops").await, ["change: b.firing"]);
    // Another name, other groups, and one webhook more.
    let other = Route {
        group_by: vec!["series".into()],
        ..route("s", &["ops", "boss"])
    };
    house.reroute(routes(vec![other])).await;
    let mut house = house.again().await;
    house.later(MINUTE).await;
    assert!(house.hears("ops").await.is_empty());
    assert_eq!(house.hears("boss").await, ["change: b.firing"]);
    // The end of what was told comes through the groups that are left.
    house.reroute(Routing::default()).await;
    house.end("a").await;
    house.fire("c").await;
    house.later(MINUTE).await;
    for webhook in ["ops", "boss"] {
        let mut said = house.hears(webhook).await;
        said.sort();
        assert_eq!(said, ["alone: c.firing", "change: a.resolved"]);
    }
    house.end("b").await;
    assert_eq!(house.hears("ops").await, ["change: b.resolved"]);
    assert!(house.hears("ops").await.is_empty());
    house.later(MINUTE).await;
    assert_eq!(house.state.groups(10).await.unwrap(), []);
}

#[tokio::test]
async fn a_webhook_that_leaves_the_config_and_comes_back_hears_what_fires_then() {
    let mut house = House::new(routes(vec![route("r", &["ops", "boss"])])).await;
    house.fire("a").await;
    house.later(seconds(10)).await;
    assert_eq!(house.hears("boss").await, ["change: a.firing"]);
    house
        .state
        .set_recipients(vec![webhook("ops")])
        .await
        .unwrap();
    house.reroute(routes(vec![route("r", &["ops"])])).await;
    house.fire("b").await;
    house.later(MINUTE).await;
    house
        .state
        .set_recipients(house.webhooks.clone())
        .await
        .unwrap();
    house
        .reroute(routes(vec![route("r", &["ops", "boss"])]))
        .await;
    house.later(MINUTE).await;
    assert_eq!(house.hears("boss").await, ["change: a.firing b.firing"]);
    assert_eq!(
        house.hears("ops").await,
        ["change: a.firing", "change: b.firing"]
    );
}

#[tokio::test]
async fn alerts_that_find_no_room_in_the_groups_are_told_by_themselves() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    house.fire("a").await;
    Connection::open(house.dir.path().join("state.sqlite"))
        .unwrap()
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_MEMBERS} - 1)
             INSERT INTO members (in_group, alert, told, steps, inhibited_by) SELECT 999, 'x' || i, '', 0, '' FROM n"
        ))
        .unwrap();
    house.fire("b").await;
    assert_eq!(house.hears("ops").await, ["alone: b.firing"]);
    assert_eq!(house.state.metrics.ungrouped.get(), 1);
    house.end("b").await;
    house.later(seconds(10)).await;
    assert_eq!(
        house.hears("ops").await,
        ["alone: b.resolved", "change: a.firing"]
    );
}

#[tokio::test]
async fn a_receiver_that_is_away_finds_one_reminder_and_not_one_for_each_time() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    house.fire("a").await;
    house.later(seconds(10)).await;
    for _ in 0..5 {
        house.later(61 * MINUTE).await;
    }
    assert_eq!(
        house.hears("ops").await,
        ["change: a.firing", "repeat: a.firing"]
    );
    house.later(61 * MINUTE).await;
    assert_eq!(house.hears("ops").await, ["repeat: a.firing"]);
}

#[tokio::test]
async fn of_a_large_message_only_the_id_is_kept_once_it_is_delivered() {
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    let changes = (0..500).map(|n| change_of("hot", &format!("a{n}"), AlertState::Firing));
    let changes = decided(1, changes.collect());
    house.state.record(changes).await.unwrap();
    house.later(seconds(10)).await;
    let file = Connection::open(house.dir.path().join("state.sqlite")).unwrap();
    let size = || -> i64 {
        let sum = "SELECT sum(length(body)) FROM deliveries";
        file.query_row(sum, [], |row| row.get(0)).unwrap()
    };
    assert!(size() > 100_000);
    assert_eq!(house.hears("ops").await.len(), 1);
    assert_eq!(size(), 0);
}

#[tokio::test]
async fn the_gateways_own_alert_is_never_grouped_and_goes_to_the_webhooks_of_its_route() {
    let house = House::new(routes(vec![route("r", &["boss"])])).await;
    let own = crate::alert::Own::default()
        .judged(Some(String::from("full")), NOW)
        .unwrap();
    house.state.record(decided(1, vec![own])).await.unwrap();
    assert_eq!(house.hears("boss").await.len(), 1);
    assert!(house.hears("ops").await.is_empty());
}

/// Also the figure: `cargo test --workspace --lib -- ten_thousand_alerts_one --nocapture`.
#[tokio::test]
async fn ten_thousand_alerts_one_by_one_are_five_messages_and_the_last_costs_what_the_first_did() {
    const ALERTS: usize = 10_000;
    let house = House::new(routes(vec![route("r", &["ops"])])).await;
    let mut took = Vec::new();
    for state in [AlertState::Firing, AlertState::Resolved] {
        for tenth in 0..10 {
            let begun = tokio::time::Instant::now();
            for id in (0..ALERTS / 10)
                .map(|n| tenth * ALERTS / 10 + n)
                .step_by(10)
            {
                let changes = (id..id + 10).map(|id| change_of("hot", &format!("a{id}"), state));
                house
                    .state
                    .record(decided(1, changes.collect()))
                    .await
                    .unwrap();
            }
            took.push(begun.elapsed());
        }
        house.later(MINUTE).await;
        let said = house.hears("ops").await;
        assert_eq!(said.len(), 5);
        let told: std::collections::HashSet<&str> = said
            .iter()
            .flat_map(|said| said.split(' ').skip(1))
            .collect();
        assert_eq!(told.len(), ALERTS, "each in exactly one message");
        let status = house.state.webhooks().await.unwrap().remove(0);
        assert_eq!(status.given_up, 0);
    }
    println!("a thousand changes, ten a transaction: {took:?}");
    let worst = took.iter().max().unwrap();
    assert!(*worst < took[0] * 20 + seconds(2), "{took:?}");
}

#[derive(Clone, Debug)]
enum Deed {
    Fire(usize),
    End(usize),
    Silence(usize, i64),
    Acknowledge(usize),
    Wait(u64),
    Kill,
    Reroute(usize),
    Deliver,
}

fn deed() -> impl Strategy<Value = Deed> {
    let id = 0_usize..4;
    prop_oneof![
        4 => id.clone().prop_map(Deed::Fire),
        3 => id.clone().prop_map(Deed::End),
        1 => (id.clone(), 1_i64..300).prop_map(|(id, seconds)| Deed::Silence(id, seconds)),
        1 => id.prop_map(Deed::Acknowledge),
        4 => (1_u64..1_000).prop_map(Deed::Wait),
        1 => Just(Deed::Kill),
        1 => (0_usize..4).prop_map(Deed::Reroute),
        2 => Just(Deed::Deliver),
    ]
}

fn routing(number: usize) -> Routing {
    let step = Step {
        after: 5 * MINUTE,
        webhooks: vec!["boss".into()],
    };
    let down = Inhibit {
        source: vec![matcher("device", "0x1")],
        target: vec![matcher("device", "1x1")],
        equal: Vec::new(),
    };
    match number {
        0 => Routing {
            routes: vec![Route {
                escalate: vec![step],
                ..route("r", &["ops"])
            }],
            inhibits: vec![down],
        },
        1 => routes(vec![Route {
            group_by: vec!["device".into()],
            ..route("s", &["ops", "boss"])
        }]),
        2 => routes(vec![
            Route {
                goes_on: true,
                ..route("r", &["boss"])
            },
            route("t", &["ops"]),
        ]),
        _ => Routing::default(),
    }
}

/// What a webhook knows: which alerts fire, and how often each change was told.
#[derive(Debug, Default)]
struct Heard {
    fires: BTreeMap<String, bool>,
    changes: BTreeMap<String, usize>,
}

async fn deliver(house: &House, heard: &mut BTreeMap<&'static str, Heard>) {
    for webhook in ["ops", "boss"] {
        let heard = heard.entry(webhook).or_default();
        for said in house.hears(webhook).await {
            let (reason, alerts) = said.split_once(": ").unwrap();
            assert!(!alerts.is_empty());
            for alert in alerts.split(' ') {
                let (id, event) = alert.split_once('.').unwrap();
                heard.fires.insert(id.to_owned(), event == "firing");
                if reason == "change" || reason == "alone" {
                    *heard.changes.entry(alert.to_owned()).or_default() += 1;
                }
            }
        }
    }
}

async fn live_through(deeds: Vec<Deed>) {
    let mut house = House::new(routing(0)).await;
    let mut heard = BTreeMap::new();
    let mut lives = [0_usize; 4];
    let mut firing = std::collections::BTreeSet::new();
    for deed in deeds {
        match deed {
            Deed::Fire(nth) => {
                if !firing.contains(&format!("{nth}x{}", lives[nth])) {
                    lives[nth] += 1;
                    let id = format!("{nth}x{}", lives[nth]);
                    house.fire(&id).await;
                    firing.insert(id);
                }
            }
            Deed::End(nth) => {
                let id = format!("{nth}x{}", lives[nth]);
                if firing.remove(&id) {
                    house.end(&id).await;
                }
            }
            Deed::Silence(nth, seconds) => {
                house
                    .silence(&format!("{nth}x{}", lives[nth]), seconds)
                    .await
            }
            Deed::Acknowledge(nth) => {
                // One that is over, or acknowledged before, is refused.
                drop(
                    house
                        .state
                        .acknowledge(
                            &format!("{nth}x{}", lives[nth]),
                            String::from("Ada"),
                            String::new(),
                        )
                        .await,
                );
            }
            Deed::Wait(by) => house.later(seconds(by)).await,
            Deed::Kill => house = house.again().await,
            Deed::Reroute(number) => house.reroute(routing(number)).await,
            Deed::Deliver => deliver(&house, &mut heard).await,
        }
    }
    // Silences are over, and nothing inhibits any more.
    if firing.remove("0x1") {
        house.end("0x1").await;
    }
    house.later(2 * seconds(300)).await;
    house.later(2 * MINUTE).await;
    deliver(&house, &mut heard).await;
    for (webhook, heard) in &heard {
        for (id, fires) in &heard.fires {
            assert_eq!(
                *fires,
                firing.contains(id),
                "the last word to {webhook} about {id}"
            );
        }
        for (change, times) in &heard.changes {
            assert_eq!(*times, 1, "{change} to {webhook}");
        }
    }
    for id in &firing {
        assert_eq!(heard["ops"].fires.get(id), Some(&true), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_each_webhook_knows_in_the_end_what_fires_and_heard_each_change_once(
        deeds in proptest::collection::vec(deed(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(deeds));
    }
}
