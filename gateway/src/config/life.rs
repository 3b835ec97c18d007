//! What a `[[rule]]` says about the life of its alerts: how long they stay, when they flap, to what hours they keep, and on what they
//! depend. Time zones are looked up here, so that nobody else reads them from files.

use std::time::Duration;

use jiff::{
    civil::{Time, Weekday},
    tz::TimeZone,
};
use smol_str::SmolStr;

use super::reader::{Placed, Table, did_you_mean};
use crate::alert::{
    Flapping, Life, Rule,
    schedule::{Period, Schedule},
};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const HIGHEST_FIRES: i64 = 100;

/// The names of rules that a rule depends on, to be checked when all are read.
pub(super) type DependsOn = Option<Placed<Vec<SmolStr>>>;

/// Reads the keys of a rule that are about the life of its alerts.
pub(super) fn read(table: &mut Table<'_>) -> (Life, DependsOn) {
    let mut life = Life::default();
    table.set("keep_firing_for", &mut life.keep_firing_for);
    table.set("min_on", &mut life.min_on);
    table.set("min_off", &mut life.min_off);
    table.set("stale_after", &mut life.stale_after);
    if let Some(after) = table.placed::<Duration>("resolve_after") {
        life.resolve_after = after.value;
        if !after.value.is_zero() && after.value <= life.min_on {
            let message = "it must be longer than `min_on`: an alert fires for at least that long";
            table.report(after.span, message);
        }
    }
    life.flapping = flapping(table);
    life.during = Schedule(during(table));
    let depends_on = table.placed::<Vec<SmolStr>>("depends_on");
    if let Some(depends_on) = &depends_on {
        life.depends_on.clone_from(&depends_on.value);
    }
    (life, depends_on)
}

/// Reports rules that depend on one that is not there, on themselves, or round in a ring.
pub(super) fn check_dependence(root: &Table<'_>, rules: &[Rule], written: &[(SmolStr, DependsOn)]) {
    let all: Vec<(SmolStr, Vec<SmolStr>)> = rules
        .iter()
        .map(|rule| (rule.name.clone(), rule.life.depends_on.clone()))
        .collect();
    for (name, depends_on) in written {
        let Some(Placed { value, span }) = depends_on else {
            continue;
        };
        for fault in value
            .iter()
            .filter_map(|on| dependence_fault(&all, name, on))
        {
            root.report(span.clone(), fault);
        }
    }
}

/// What is wrong with a rule that depends on another; `None`: nothing. `rules` are the names of all that there are, this one among them,
/// each with those that it depends on.
#[must_use]
pub fn dependence_fault(rules: &[(SmolStr, Vec<SmolStr>)], name: &str, on: &str) -> Option<String> {
    if rules.iter().all(|(rule, _)| rule != on) {
        let mean = did_you_mean(on, rules.iter().map(|(rule, _)| rule.as_str()));
        return Some(format!("there is no rule named \"{on}\"{mean}"));
    }
    reaches(rules, on, name).then(|| {
        format!("\"{name}\" and \"{on}\" depend on each other: neither could be trusted to be told")
    })
}

/// Whether a rule depends on another, over however many; one always on itself.
fn reaches(rules: &[(SmolStr, Vec<SmolStr>)], from: &str, to: &str) -> bool {
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(name) = seen.get(at).copied() {
        if name == to {
            return true;
        }
        at += 1;
        let on = rules.iter().filter(|(rule, _)| rule == name);
        for next in on.flat_map(|(_, depends_on)| depends_on) {
            if !seen.contains(&next.as_str()) {
                seen.push(next);
            }
        }
    }
    false
}

fn flapping(table: &mut Table<'_>) -> Option<Flapping> {
    let mut inner = table.table("flapping")?;
    inner.name = format!("`flapping` of {}", table.name);
    let mut fires = 3;
    inner.set_count("fires", &mut fires, 2, HIGHEST_FIRES);
    let within = inner.required_placed::<Duration>("within");
    let calm = inner.placed::<Duration>("calm");
    for span in within.iter().chain(&calm) {
        if span.value < Duration::from_secs(1) {
            inner.report(span.span.clone(), "it must be at least \"1s\"");
        }
    }
    inner.finish();
    let within = within?.value;
    Some(Flapping {
        fires,
        within,
        calm: calm.map_or(within, |calm| calm.value),
    })
}

fn during(table: &mut Table<'_>) -> Vec<Period> {
    let name = table.name.clone();
    table
        .one_or_more_tables("during")
        .into_iter()
        .filter_map(|mut inner| {
            inner.name = format!("`during` of {name}");
            period(inner)
        })
        .collect()
}

fn period(mut table: Table<'_>) -> Option<Period> {
    let days = match table.placed::<Vec<SmolStr>>("days") {
        Some(days) => days_of(&table, &days),
        None => Some(DAYS.iter().map(|(_, day)| *day).collect()),
    };
    let from = clock(&mut table, "from");
    let to = clock(&mut table, "to");
    let zone = table.required_placed::<SmolStr>("zone");
    let zone = zone.and_then(|zone| match TimeZone::get(&zone.value) {
        Ok(found) => Some(found),
        Err(_) => {
            let known: Vec<String> = jiff::tz::db()
                .available()
                .map(|name| name.to_string())
                .collect();
            let hint = if known.is_empty() {
                String::from(": this system has no time zones; install tzdata")
            } else {
                did_you_mean(&zone.value, known.iter().map(String::as_str))
            };
            let message = format!(
                "there is no time zone \"{}\"{hint}; they have names such as \"Europe/Berlin\" or \"UTC\"",
                zone.value
            );
            table.report(zone.span, message);
            None
        }
    });
    table.finish();
    Some(Period {
        days: days?,
        from: from?,
        to: to?,
        zone: zone?,
    })
}

fn days_of(table: &Table<'_>, written: &Placed<Vec<SmolStr>>) -> Option<Vec<Weekday>> {
    let place = |word: &str| DAYS.iter().position(|(name, _)| *name == word.trim());
    let mut days = Vec::new();
    for word in &written.value {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (Some(mut at), Some(last)) = (place(first), place(last)) else {
            let message = format!(
                "days are \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\" or a row of them such as \"mon-fri\", found \"{word}\""
            );
            table.report(written.span.clone(), message);
            return None;
        };
        days.push(DAYS[at].1);
        // From Saturday to Monday it goes over Sunday.
        while at != last {
            at = (at + 1) % DAYS.len();
            days.push(DAYS[at].1);
        }
    }
    if days.is_empty() {
        table.report(written.span.clone(), "without a day it never fires");
        return None;
    }
    Some(days)
}

/// `08:00`; midnight if it is not written. `24:00` is the midnight at the end.
fn clock(table: &mut Table<'_>, key: &'static str) -> Option<Time> {
    let Some(written) = table.placed::<String>(key) else {
        return (!table.has(key)).then(Time::midnight);
    };
    let time = written.value.split_once(':').and_then(|(hour, minute)| {
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if !(digits(hour) && digits(minute)) {
            return None;
        }
        match (hour.parse().ok()?, minute.parse().ok()?) {
            (24, 0) => Some(Time::midnight()),
            (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
        }
    });
    if time.is_none() {
        let message = format!(
            "`{key}` in {} is a time of day such as \"08:00\", found \"{}\"",
            table.name, written.value
        );
        table.report(written.span, message);
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{mistakes, parse_text};

    const HOT: &str = "[[rule]]\nname = \"hot\"\nseries = \"*/t\"\nabove = 30\n";

    fn life(keys: &str) -> Life {
        let config = parse_text(&format!("{HOT}{keys}\n")).unwrap();
        config.engine.rules[0].life.clone()
    }

    #[test]
    fn a_rule_says_how_its_alerts_live() {
        assert_eq!(life(""), Life::default());
        let written = life(
            "keep_firing_for = \"5m\"\nmin_on = \"1m\"\nmin_off = \"2m\"\nstale_after = \"1h\"\nresolve_after = \"8h\"\n\
             flapping = { fires = 4, within = \"10m\" }\n\
             during = { days = [\"mon-fri\"], from = \"08:00\", to = \"18:00\", zone = \"Europe/Berlin\" }",
        );
        assert_eq!(written.keep_firing_for, Duration::from_secs(300));
        assert_eq!(written.min_on, Duration::from_secs(60));
        assert_eq!(written.min_off, Duration::from_secs(120));
        assert_eq!(written.stale_after, Duration::from_secs(3600));
        assert_eq!(written.resolve_after, Duration::from_secs(8 * 3600));
        assert_eq!(
            life("resolve_after = \"0s\"\nmin_on = \"1m\"").resolve_after,
            Duration::ZERO
        );
        let ten = Duration::from_secs(600);
        assert_eq!(
            written.flapping,
            Some(Flapping {
                fires: 4,
                within: ten,
                calm: ten
            })
        );
        assert_eq!(written.during.0[0].days.len(), 5);
        let two = life(
            "during = [{ days = [\"sat-mon\", \"wed\"], zone = \"UTC\" }, { from = \"22:00\", to = \"24:00\", zone = \"UTC\" }]",
        );
        assert_eq!(
            two.during.0[0].days,
            [
                Weekday::Saturday,
                Weekday::Sunday,
                Weekday::Monday,
                Weekday::Wednesday
            ]
        );
        assert_eq!(two.during.0[1].days.len(), 7);
        assert_eq!(two.during.0[1].to, Time::midnight());
    }

    #[test]
    fn what_is_wrong_about_hours_and_flapping_is_told_with_its_place() {
        for (keys, line, column, said) in [
            (
                "during = { from = \"08:00\", zone = \"Europe/Berln\" }",
                5,
                35,
                "no time zone \"Europe/Berln\"; did you mean `Europe/Berlin`?",
            ),
            (
                "during = { from = \"8\", zone = \"UTC\" }",
                5,
                19,
                "such as \"08:00\"",
            ),
            (
                "during = { to = \"25:00\", zone = \"UTC\" }",
                5,
                17,
                "such as \"08:00\"",
            ),
            ("during = { from = \"08:00\" }", 5, 10, "needs `zone`"),
            (
                "during = { days = [\"monday\"], zone = \"UTC\" }",
                5,
                19,
                "\"mon-fri\"",
            ),
            (
                "during = { days = [], zone = \"UTC\" }",
                5,
                19,
                "never fires",
            ),
            ("during = 5", 5, 10, "must be"),
            (
                "flapping = { fires = 1, within = \"1m\" }",
                5,
                22,
                "between 2 and 100",
            ),
            ("flapping = { fires = 3 }", 5, 12, "needs `within`"),
            (
                "flapping = { wihtin = \"1m\" }",
                5,
                14,
                "did you mean `within`?",
            ),
            ("keep_firing_for = 5", 5, 19, "a duration"),
            (
                "min_on = \"1h\"\nresolve_after = \"1h\"",
                6,
                17,
                "longer than `min_on`",
            ),
            (
                "depends_on = [\"hott\"]",
                5,
                14,
                "no rule named \"hott\"; did you mean `hot`?",
            ),
            ("depends_on = [\"hot\"]", 5, 14, "depend on each other"),
        ] {
            let found = mistakes(&format!("{HOT}{keys}\n"));
            assert!(
                found
                    .iter()
                    .any(|(at, col, message)| (*at, *col) == (line, column)
                        && message.contains(said)),
                "{keys}: {found:?}"
            );
        }
    }

    #[test]
    fn rules_that_depend_on_each_other_over_others_are_a_mistake() {
        let rule = |name: &str, on: &str| {
            format!(
                "[[rule]]\nname = \"{name}\"\nseries = \"*/t\"\nabove = 1\ndepends_on = [\"{on}\"]\n"
            )
        };
        let ring = [rule("a", "b"), rule("b", "c"), rule("c", "a")].concat();
        assert_eq!(mistakes(&ring).len(), 3);
        let chain = [rule("a", "b"), rule("b", "c"), HOT.replace("hot", "c")].concat();
        let config = parse_text(&chain).unwrap();
        assert_eq!(config.engine.rules[0].life.depends_on, ["b"]);
    }
}
