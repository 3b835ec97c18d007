//! What conditions remember, over a restart that reads only the end of the journal.

use proptest::prelude::*;

use super::*;
use crate::{
    alert::{Counted, Remembered},
    model::Stamps,
};

/// Enough to have learned what is usual.
const LEARNED: usize = 310;
const MINUTES: i64 = 60;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn rules() -> Vec<Rule> {
    let above = Condition::Above {
        limit: 24.0,
        clear: 23.0,
    };
    let count = |counted, more_than| Condition::Count {
        each: Box::new(above.clone()),
        more_than,
        over: hours(9),
        counted,
    };
    let stuck = Condition::Stuck {
        span: hours(3),
        tolerance: 0.4,
        least: 3,
    };
    vec![
        rule("stuck", stuck),
        rule("often", count(Counted::Readings, 9)),
        rule("starts", count(Counted::Beginnings, 2)),
        rule("unlike itself", Condition::Unusual { limit: 0.3 }),
    ]
}

/// Records with a reading or two each, by our clock, which jumps before some of them.
fn journal(steps: &[(i64, u8)], jumps: &[(usize, i64)]) -> Vec<Entry> {
    let mut second = 0;
    let mut entries = Vec::new();
    for (at, (minutes, what)) in (0..).zip(steps) {
        second += minutes * MINUTES;
        let jumped: i64 = jumps.iter().filter(|j| j.0 == at).map(|j| j.1).sum();
        second += jumped;
        let wave = 20.0 + 3.0 * ((at as f64) / 20.0).sin();
        let value = match what {
            0..3 => wave,
            3 => 25.0,
            4 => 20.0,
            _ => 60.0,
        };
        let mut readings = vec![reading("boiler/temperature", second, value)];
        if at % 3 == 0 {
            readings.push(reading("pump/temperature", second, wave));
        }
        let mut entry = entry(at as u64 + 1, readings);
        if jumped != 0 {
            entry.batches[0].stamps = Stamps::Jumped(jumped * SECOND);
        }
        entries.push(entry);
    }
    entries
}

fn moment(entry: &Entry) -> Moment {
    Moment {
        clock: entry.batches[0].readings[0].time,
        uptime: Duration::from_secs(entry.position.0),
    }
}

fn live(core: &mut Core, entry: &Entry) {
    let record = Committed {
        position: entry.position,
        batches: entry.batches.clone().into(),
    };
    let mut outgoing = Outgoing::new(Duration::from_millis(75));
    core.apply(&record, moment(entry), &mut outgoing);
}

type Change = (String, String, AlertState, Timestamp);

fn change(told: Transition) -> Change {
    let rule = told.alert.rule.to_string();
    (rule, told.series.to_string(), told.alert.state, told.at)
}

fn changes(core: &mut Core) -> Vec<Change> {
    core.take_transitions().into_iter().map(change).collect()
}

fn sorted(mut remembered: Vec<Remembered>) -> Vec<Remembered> {
    remembered.sort_by(|a, b| (&a.rule, &a.series).cmp(&(&b.rule, &b.series)));
    remembered
}

/// As the file does it.
fn merge(before: Inventory, change: Inventory) -> Inventory {
    let mut series = change.series;
    let is_new = |key: &SeriesKey| series.iter().all(|k| k.reading.series != *key);
    let kept: Vec<Known> = before
        .series
        .into_iter()
        .filter(|known| is_new(&known.reading.series))
        .collect();
    series.extend(kept);
    let mut remembered = change.remembered;
    if !change.remembers_all {
        for one in before.remembered {
            let same = |r: &Remembered| (&r.rule, &r.series) == (&one.rule, &one.series);
            if !remembered.iter().any(same) {
                remembered.push(one);
            }
        }
    }
    Inventory {
        position: change.position,
        series,
        remembered,
        remembers_all: true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_restart_at_any_reading_goes_on_as_if_it_had_not_been(
        steps in prop::collection::vec((1_i64..40, 0_u8..7), 10..90),
        jumps in prop::collection::vec((0_usize..LEARNED + 90, -1_300_000_i64..1_300_000), 0..3),
        cuts in prop::array::uniform5(any::<prop::sample::Index>()),
    ) {
        let mut all = vec![(6, 0); LEARNED];
        all.extend(steps);
        let journal = journal(&all, &jumps);
        // Where the replay begins, two inventories, what was evaluated for sure, and the kill.
        let mut cuts = cuts.map(|cut| cut.index(journal.len()));
        cuts.sort_unstable();
        let [from, first, second, evaluated, killed] = cuts;

        let mut lived = Core::new(config(rules()), Resumption::default(), moment(&journal[0]));
        let (mut noted, mut alerts, mut expected) = (Inventory::default(), Vec::new(), Vec::new());
        let mut memories = BTreeMap::new();
        for (at, entry) in journal.iter().enumerate() {
            live(&mut lived, entry);
            let changed = lived.take_transitions();
            if at <= evaluated {
                for told in &changed {
                    let of = (told.alert.rule.clone(), told.alert.series.clone());
                    memories.insert(of, told.memory.as_deref().unwrap().clone());
                }
            }
            if at == first {
                noted = lived.inventory(Position(0));
                prop_assert!(noted.remembers_all);
            }
            if at == second {
                let change = lived.inventory(noted.position);
                noted = merge(noted, change);
            }
            if at == evaluated {
                alerts = lived.alerts().cloned().collect();
            }
            if at > evaluated {
                expected.extend(changed.into_iter().map(change));
            }
        }

        let start = moment(&journal[killed]);
        let resumption = Resumption {
            alerts,
            memories: memories.into_iter().map(|((rule, series), memory)| (rule, series, memory)).collect(),
            evaluated: journal[evaluated].position,
            closed: Vec::new(),
        };
        let mut restarted = Core::new(config(rules()), resumption, start);
        restarted.give_back(noted.position, noted.remembered);
        let from_position = journal[from].position;
        for known in noted.series.iter().filter(|known| known.position <= from_position) {
            restarted.know(known, start);
        }
        for entry in &journal[from + 1..=killed] {
            restarted.replay(entry, start, &mut Recorder::default());
        }
        restarted.end_replay();
        for entry in &journal[killed + 1..] {
            live(&mut restarted, entry);
        }
        prop_assert_eq!(changes(&mut restarted), expected);
        let (all, again) = (lived.inventory(Position(0)), restarted.inventory(Position(0)));
        prop_assert_eq!(sorted(again.remembered), sorted(all.remembered));
    }
}

fn remembered_of(core: &Core, rule: &str) -> Option<Remembered> {
    let mut all = core.inventory(Position(0)).remembered.into_iter();
    all.find(|one| one.rule == rule && one.series.device.0 == "boiler")
}

/// After a few readings, and a start that finds none of them in the journal.
fn restarted(rules: Vec<Rule>, damage: impl Fn(&mut Remembered)) -> (Inventory, Core) {
    let journal = journal(&[(6, 3); 12], &[]);
    let mut lived = Core::new(
        config(self::rules()),
        Resumption::default(),
        moment(&journal[0]),
    );
    for entry in &journal {
        live(&mut lived, entry);
    }
    let inventory = lived.inventory(Position(0));
    let mut remembered = inventory.remembered.clone();
    remembered.iter_mut().for_each(damage);
    let resumption = Resumption {
        evaluated: inventory.position,
        ..Resumption::default()
    };
    let now = moment(&journal[11]);
    let mut core = Core::new(config(rules), resumption, now);
    core.give_back(inventory.position, remembered);
    for known in &inventory.series {
        core.know(known, now);
    }
    core.end_replay();
    (inventory, core)
}

#[test]
fn a_rule_that_asks_something_else_now_is_given_nothing_and_the_others_theirs() {
    let mut others = rules();
    others[1].hold = Duration::from_secs(1);
    let (before, core) = restarted(others, |_| ());
    let find = |rule: &str| {
        let mut all = before.remembered.iter();
        all.find(|one| one.rule == rule && one.series.device.0 == "boiler")
            .cloned()
    };
    for rule in ["stuck", "starts", "unlike itself"] {
        assert!(find(rule).is_some());
        assert_eq!(remembered_of(&core, rule), find(rule));
    }
    let (was, is) = (
        find("often").unwrap(),
        remembered_of(&core, "often").unwrap(),
    );
    assert!(
        is.bytes.len() < was.bytes.len(),
        "only the newest reading is counted"
    );
}

#[test]
fn what_cannot_be_read_is_begun_anew_and_costs_only_itself() {
    let (before, core) = restarted(rules(), |one| {
        if one.rule == "unlike itself" {
            one.bytes.pop();
        }
    });
    let often = before.remembered.iter().find(|one| one.rule == "often");
    assert_eq!(remembered_of(&core, "often").as_ref(), often);
    let learned = before
        .remembered
        .iter()
        .find(|one| one.rule == "unlike itself");
    assert_ne!(remembered_of(&core, "unlike itself").as_ref(), learned);
    assert!(remembered_of(&core, "unlike itself").is_some());
}

#[test]
fn only_what_changed_is_written_down_again_unless_the_rules_or_the_clock_did() {
    let journal = journal(&[(6, 0); 7], &[(5, 3_600)]);
    let mut core = Core::new(config(rules()), Resumption::default(), moment(&journal[0]));
    for entry in &journal[..2] {
        live(&mut core, entry);
    }
    let all = core.inventory(Position(0));
    assert_eq!(all.remembered.len(), 8);
    live(&mut core, &journal[2]);
    let change = core.inventory(Position(2));
    assert!(!change.remembers_all);
    let boiler = |one: &Remembered| one.series.device.0 == "boiler";
    assert!(change.remembered.len() == 4 && change.remembered.iter().all(boiler));

    let mut fewer = rules();
    fewer.pop();
    let mut outgoing = Outgoing::new(Duration::from_millis(75));
    core.reconfigure(config(fewer), moment(&journal[2]), &mut outgoing);
    let change = core.inventory(Position(3));
    assert!(change.remembers_all && change.remembered.len() == 6);
    live(&mut core, &journal[4]);
    assert!(!core.inventory(Position(4)).remembers_all);
    live(&mut core, &journal[5]);
    assert!(
        core.inventory(Position(4)).remembers_all,
        "the clock jumped"
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_inventory_has_written_down_how_far_it_is_decided() {
    let mut rig = start(rules());
    rig.read(1, "boiler/temperature", 0, 20.0).await;
    rig.engine.status().await.unwrap();
    assert!(rig.decided.try_recv().is_err());
    let begin = tokio::time::Instant::now();
    let inventory = rig.engine.inventory(Position(0)).await.unwrap();
    assert_eq!(inventory.position, Position(1));
    assert_eq!(rig.decided.recv().await.unwrap().position, Position(1));
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "not with the next minute"
    );
}
