//! Which routes take what, who inhibits whom, and what groups say when.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    alert::{AlertState, Marks},
    model::{SeriesKey, Value},
};

const SECOND: Duration = Duration::from_secs(1);

fn alert(id: &str, rule: &str, series: &str, severity: Severity, labels: &[(&str, &str)]) -> Alert {
    assert!(SeriesKey::parse(series).is_some());
    Alert {
        id: id.into(),
        rule: rule.into(),
        series: series.into(),
        state: AlertState::Firing,
        severity,
        summary: String::new(),
        value: Some(Value::Float(1.0)),
        unit: None,
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        began_ms: 1,
        fired_ms: Some(1),
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks::default(),
    }
}

fn matcher(name: &str, value: &str) -> Matcher {
    Matcher {
        name: name.to_owned(),
        value: value.to_owned(),
        glob: value.contains('*'),
    }
}

fn route(name: &str, webhooks: &[&str]) -> Route {
    Route {
        webhooks: webhooks.iter().map(SmolStr::new).collect(),
        group_by: vec!["rule".into()],
        group_wait: 10 * SECOND,
        group_interval: 60 * SECOND,
        repeat_interval: 3_600 * SECOND,
        ..Route::bygone(name.into(), Vec::new())
    }
}

fn names(routing: &Routing, alert: &Alert) -> Vec<String> {
    let routes = routing.of(alert).into_iter();
    routes.map(|route| route.name.to_string()).collect()
}

#[test]
fn the_first_route_that_takes_an_alert_has_it_unless_it_goes_on() {
    let night = Route {
        severities: vec![Severity::Critical],
        goes_on: true,
        ..route("night", &["boss"])
    };
    let north = Route {
        matchers: vec![matcher("site", "north"), matcher("series", "*/temperature")],
        ..route("north", &["ops"])
    };
    let routing = Routing {
        routes: vec![night, north, route("rest", &["log"])],
        inhibits: Vec::new(),
    };
    let (north, south) = ([("site", "north")], [("site", "south")]);
    for (series, severity, labels, expected) in [
        (
            "a/temperature",
            Severity::Critical,
            &north,
            vec!["night", "north"],
        ),
        ("a/temperature", Severity::Warning, &north, vec!["north"]),
        ("a/humidity", Severity::Warning, &north, vec!["rest"]),
        (
            "a/temperature",
            Severity::Critical,
            &south,
            vec!["night", "rest"],
        ),
    ] {
        let alert = alert("1", "hot", series, severity, labels);
        assert_eq!(names(&routing, &alert), expected, "{series} {severity:?}");
    }
}

#[test]
fn a_rule_that_names_webhooks_is_taken_only_by_routes_to_one_of_them() {
    let routing = Routing {
        routes: vec![
            route("a", &["ops"]),
            route("b", &["boss", "log"]),
            route("c", &[]),
        ],
        inhibits: Vec::new(),
    };
    let mut alert = alert("1", "hot", "a/b", Severity::Info, &[]);
    assert_eq!(names(&routing, &alert), ["a"]);
    alert.webhooks = vec!["log".into()];
    assert_eq!(names(&routing, &alert), ["b"]);
    alert.webhooks = vec!["other".into()];
    assert!(names(&routing, &alert).is_empty());
}

#[test]
fn alerts_with_the_same_in_all_that_a_route_groups_by_are_one_group() {
    let by = |names: &[&str]| Route {
        group_by: names.iter().map(SmolStr::new).collect(),
        ..route("r", &[])
    };
    let one = alert(
        "1",
        "hot",
        "a/t",
        Severity::Info,
        &[("site", "n"), ("room", "1")],
    );
    let two = alert(
        "2",
        "hot",
        "b/t",
        Severity::Info,
        &[("site", "n"), ("room", "2")],
    );
    let three = alert("3", "hot", "b/t", Severity::Info, &[("room", "1")]);
    for (names, same_12, same_13) in [
        (&["rule"] as &[&str], true, true),
        (&[], true, true),
        (&["rule", "site"], true, false),
        (&["label.room"], false, true),
        (&["series"], false, false),
    ] {
        let key = |alert: &Alert| by(names).group(alert.facts()).key;
        assert_eq!(key(&one) == key(&two), same_12, "{names:?}");
        assert_eq!(key(&one) == key(&three), same_13, "{names:?}");
    }
    let group = by(&["label.room", "severity"]).group(one.facts());
    let labels = [("room", "1"), ("severity", "info")];
    assert_eq!(
        group.labels,
        labels.map(|(n, v)| (n.to_owned(), v.to_owned())).into()
    );
    let other = Route {
        name: "other".into(),
        ..by(&["rule"])
    };
    assert_ne!(
        other.group(one.facts()).key,
        by(&["rule"]).group(one.facts()).key
    );
}

#[test]
fn a_firing_source_keeps_targets_with_equal_labels_quiet_and_never_itself() {
    let inhibits = [Inhibit {
        source: vec![matcher("rule", "down*")],
        target: vec![matcher("site", "*")],
        equal: vec!["site".into()],
    }];
    let down = alert(
        "d",
        "down",
        "switch/up",
        Severity::Critical,
        &[("site", "north")],
    );
    let also_down = alert(
        "e",
        "down too",
        "switch/x",
        Severity::Critical,
        &[("site", "north")],
    );
    let cold = alert("c", "cold", "a/t", Severity::Info, &[("site", "north")]);
    let south = alert("s", "cold", "b/t", Severity::Info, &[("site", "south")]);
    let firing = [&down, &also_down, &cold, &south].map(Clone::clone);
    let sources = Sources::new(&inhibits, firing.iter());
    assert_eq!(sources.of(cold.facts()), ["d", "e"]);
    assert!(sources.of(south.facts()).is_empty());
    // Both sides each: neither keeps the other quiet, or nobody would be told.
    assert!(sources.of(down.facts()).is_empty() && sources.of(also_down.facts()).is_empty());
    // A source that is no target keeps even those quiet that are both.
    let plain = [Inhibit {
        target: vec![matcher("severity", "critical")],
        ..inhibits[0].clone()
    }];
    let calm = alert("p", "down", "s/u", Severity::Info, &[("site", "north")]);
    let sources = Sources::new(&plain, std::iter::once(&calm));
    assert_eq!(sources.of(down.facts()), ["p"]);
    // What both lack is equal.
    let (no_site, other) = (
        alert("n", "down", "s/u", Severity::Info, &[]),
        alert("o", "x", "s/v", Severity::Critical, &[]),
    );
    let sources = Sources::new(&plain, std::iter::once(&no_site));
    assert_eq!(sources.of(other.facts()), ["n"]);
}

/// A group with what webhooks heard, as they would put it together.
struct House {
    route: Route,
    members: BTreeMap<usize, Member>,
    gate: Duration,
    now: Duration,
    /// By webhook and alert: what was said last of it, and how often each change was told.
    last: BTreeMap<(String, usize), bool>,
    begun: BTreeMap<(String, usize), usize>,
    ended: BTreeMap<(String, usize), usize>,
}

/// `quiet` hears no ends, `gone` is no longer there.
fn hears_end(webhook: &str) -> Option<bool> {
    (webhook != "gone").then_some(webhook != "quiet")
}

impl House {
    fn new(route: Route) -> Self {
        Self {
            gate: route.group_wait,
            route,
            members: BTreeMap::new(),
            now: Duration::ZERO,
            last: BTreeMap::new(),
            begun: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    fn add(&mut self, id: usize) {
        self.members.entry(id).or_default();
    }

    fn look(&mut self) -> Look {
        let ids: Vec<usize> = self.members.keys().copied().collect();
        let mut members: Vec<Member> = self.members.values().cloned().collect();
        let look = look(
            &self.route,
            hears_end,
            &mut members,
            &mut self.gate,
            self.now,
        );
        for message in &look.messages {
            assert!(!message.alerts.is_empty() && message.webhook != "gone");
            for at in &message.alerts {
                let (member, told) = (&members[*at], (message.webhook.to_string(), ids[*at]));
                assert!(!member.silenced, "a silenced alert was told");
                assert!(
                    member.is_over || !member.inhibited,
                    "an inhibited alert was told"
                );
                match message.why {
                    Why::Change if member.is_over => {
                        *self.ended.entry(told.clone()).or_default() += 1
                    }
                    Why::Change => *self.begun.entry(told.clone()).or_default() += 1,
                    Why::Repeat | Why::Escalation => {
                        assert!(!member.is_over && !member.acknowledged);
                    }
                }
                self.last.insert(told, !member.is_over);
            }
        }
        self.members = ids.into_iter().zip(members).collect();
        for at in look.gone.iter().rev() {
            let id = *self.members.keys().nth(*at).unwrap();
            self.members.remove(&id);
        }
        look
    }

    fn said(&mut self, at: u64) -> Vec<(String, Why, usize)> {
        self.now = Duration::from_secs(at);
        let look = self.look();
        let said = look.messages.into_iter();
        said.map(|m| (m.webhook.to_string(), m.why, m.alerts.len()))
            .collect()
    }
}

fn said(webhook: &str, why: Why, alerts: usize) -> (String, Why, usize) {
    (webhook.to_owned(), why, alerts)
}

#[test]
fn a_group_waits_for_more_and_then_keeps_its_distance() {
    let mut house = House::new(route("r", &["ops", "quiet"]));
    house.add(1);
    assert!(house.said(9).is_empty());
    house.add(2);
    assert_eq!(
        house.said(10),
        [said("ops", Why::Change, 2), said("quiet", Why::Change, 2)]
    );
    house.add(3);
    house.members.get_mut(&1).unwrap().is_over = true;
    assert!(house.said(69).is_empty());
    assert_eq!(house.look().due, Some(70 * SECOND));
    assert_eq!(
        house.said(70),
        [said("ops", Why::Change, 2), said("quiet", Why::Change, 1)]
    );
    for member in house.members.values_mut() {
        member.is_over = true;
    }
    house.now = 200 * SECOND;
    let look = house.look();
    assert_eq!((look.messages.len(), look.messages[0].firing), (1, 0));
    assert!(house.members.is_empty());
    assert_eq!(
        look.due,
        Some(260 * SECOND),
        "the group stays for its interval"
    );
}

#[test]
fn what_nobody_acknowledges_is_escalated_step_by_step_and_once() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let step = |after, webhook: &str| Step {
        after: minutes(after),
        webhooks: vec![webhook.into()],
    };
    let mut house = House::new(Route {
        escalate: vec![step(15, "boss"), step(30, "owner"), step(31, "gone")],
        repeat_interval: Duration::ZERO,
        ..route("r", &["ops"])
    });
    house.add(1);
    house.add(2);
    assert_eq!(house.said(10).len(), 1);
    assert_eq!(house.look().due, Some(10 * SECOND + minutes(15)));
    assert_eq!(house.said(10 + 900), [said("boss", Why::Escalation, 2)]);
    assert!(house.said(10 + 901).is_empty());
    house.members.get_mut(&1).unwrap().acknowledged = true;
    assert_eq!(house.said(10 + 1_800), [said("owner", Why::Escalation, 1)]);
    // Taken back: what was left out comes.
    house.members.get_mut(&1).unwrap().acknowledged = false;
    assert_eq!(house.said(3_000), [said("owner", Why::Escalation, 1)]);
    assert!(house.said(30_000).is_empty());
    // All who heard of it hear of the end.
    house.members.get_mut(&1).unwrap().is_over = true;
    assert_eq!(house.said(30_001).len(), 3);
}

#[test]
fn what_fires_is_told_again_unless_somebody_takes_care_of_it() {
    let mut house = House::new(route("r", &["ops"]));
    house.add(1);
    house.add(2);
    house.said(10);
    assert!(house.said(3_609).is_empty());
    house.members.get_mut(&2).unwrap().acknowledged = true;
    assert_eq!(house.said(3_610), [said("ops", Why::Repeat, 1)]);
    // However long nobody looked: once.
    assert_eq!(house.said(36_100), [said("ops", Why::Repeat, 1)]);
    assert!(house.look().messages.is_empty());
    house.members.get_mut(&1).unwrap().acknowledged = true;
    assert_eq!(house.look().due, None);
}

#[test]
fn what_a_silence_or_another_alert_holds_comes_when_it_still_fires() {
    for silenced in [true, false] {
        let mut house = House::new(route("r", &["ops"]));
        for id in [1, 2] {
            let member = Member {
                silenced,
                inhibited: !silenced,
                ..Member::default()
            };
            house.members.insert(id, member);
        }
        assert!(house.said(100).is_empty());
        assert!(house.look().held);
        house.members.get_mut(&2).unwrap().is_over = true;
        assert_eq!(house.look().untold, 1);
        let member = house.members.get_mut(&1).unwrap();
        (member.silenced, member.inhibited) = (false, false);
        assert_eq!(house.said(101), [said("ops", Why::Change, 1)]);
        // The end waits for a silence, and not for what explains the alert.
        let member = house.members.get_mut(&1).unwrap();
        (member.silenced, member.inhibited, member.is_over) = (silenced, !silenced, true);
        let ended = house.said(500);
        assert_eq!(ended.is_empty(), silenced);
        if silenced {
            assert!(house.look().held);
            house.members.get_mut(&1).unwrap().silenced = false;
            assert_eq!(house.said(501), [said("ops", Why::Change, 1)]);
        }
        assert!(house.members.is_empty());
    }
}

#[test]
fn ten_thousand_alerts_are_five_messages_and_each_is_in_one() {
    let mut house = House::new(route("r", &["ops"]));
    for id in 0..10_000 {
        house.add(id);
    }
    house.now = 10 * SECOND;
    let look = house.look();
    assert_eq!(look.messages.len(), 5);
    for message in &look.messages {
        assert_eq!(
            (message.alerts.len(), message.more, message.firing),
            (2_000, 8_000, 10_000)
        );
    }
    assert!(house.begun.values().all(|times| *times == 1) && house.begun.len() == 10_000);
}

#[derive(Clone, Debug)]
enum Deed {
    Fire(usize),
    End(usize),
    Silence(usize, bool),
    Inhibit(usize, bool),
    Acknowledge(usize, bool),
    Wait(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let id = 0_usize..6;
    prop_oneof![
        3 => id.clone().prop_map(Deed::Fire),
        2 => id.clone().prop_map(Deed::End),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, on)| Deed::Silence(id, on)),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, on)| Deed::Inhibit(id, on)),
        1 => (id, any::<bool>()).prop_map(|(id, on)| Deed::Acknowledge(id, on)),
        5 => (0_u64..4_000).prop_map(Deed::Wait),
    ]
}

proptest! {
    #[test]
    fn the_last_word_about_each_alert_is_right_and_no_change_is_told_twice(
        deeds in proptest::collection::vec(deed(), 1..80)
    ) {
        let mut house = House::new(Route {
            escalate: vec![Step { after: 900 * SECOND, webhooks: vec!["boss".into(), "gone".into()] }],
            ..route("r", &["ops", "quiet", "gone"])
        });
        // An alert that fires anew is another one.
        let mut lives = [0_usize; 6];
        let mut firing = std::collections::BTreeSet::new();
        for deed in deeds {
            let of = |lives: &[usize; 6], id: usize| lives[id] * 6 + id;
            match deed {
                Deed::Fire(id) if !firing.contains(&of(&lives, id)) => {
                    lives[id] += 1;
                    firing.insert(of(&lives, id));
                    house.add(of(&lives, id));
                }
                Deed::Fire(_) => {}
                Deed::End(id) => {
                    firing.remove(&of(&lives, id));
                    if let Some(member) = house.members.get_mut(&of(&lives, id)) {
                        member.is_over = true;
                    }
                }
                Deed::Silence(id, on) => if let Some(member) = house.members.get_mut(&of(&lives, id)) {
                    member.silenced = on;
                },
                Deed::Inhibit(id, on) => if let Some(member) = house.members.get_mut(&of(&lives, id)) {
                    member.inhibited = on;
                },
                Deed::Acknowledge(id, on) => if let Some(member) = house.members.get_mut(&of(&lives, id)) {
                    member.acknowledged = on;
                },
                Deed::Wait(seconds) => {
                    house.now += Duration::from_secs(seconds);
                    let due = house.look().due;
                    if !house.members.is_empty() {
                        prop_assert!(due.is_none_or(|due| due > house.now), "due at once: {due:?} at {:?}", house.now);
                    }
                    prop_assert!(house.look().messages.is_empty(), "the same look says more");
                }
            }
        }
        for member in house.members.values_mut() {
            (member.silenced, member.inhibited) = (false, false);
        }
        house.now += Duration::from_secs(10_000);
        house.look();
        for (told, fires) in &house.last {
            if told.0 != "quiet" {
                prop_assert_eq!(*fires, firing.contains(&told.1), "the last word to {} about {}", &told.0, told.1);
            }
        }
        for id in &firing {
            for webhook in ["ops", "quiet"] {
                prop_assert_eq!(house.last.get(&(webhook.to_owned(), *id)), Some(&true));
            }
        }
        for times in house.begun.values().chain(house.ended.values()) {
            prop_assert_eq!(*times, 1);
        }
    }
}
