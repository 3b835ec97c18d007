//! Which series a dry run goes through, and their readings: those that the rule is about; those that it compares them with or names in an
//! expression; and, on the same devices, those of the rules that it depends on. What can't be had is said in the notes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use smol_str::SmolStr;
use tokio::time::Instant;

use super::{HOUR, refuse};
use crate::{
    alert::{Condition, Rule},
    engine::{self, Rehearsal},
    http::{Api, RuleToRehearse, points, problem::Problem},
    model::{DeviceId, SeriesKey, Timestamp, Unit},
    store::{Device, DeviceConfig, Point, SeriesInfo},
};

/// Readings in one dry run; more are refused, with what to do.
const MAX_POINTS: usize = 1_000_000;
/// Series that the rule is about, and as many beside them; further ones are left out, and told.
const MAX_SERIES: usize = 500;
/// Readings from so long before the range are judged too, so that what was true at its start is known there.
const LEAD: i64 = HOUR;

/// One series, with what is stored of it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: SeriesKey,
    pub(super) unit: Option<Unit>,
    /// By time. Of one that is looked at, the first may be the newest from before the lead.
    pub(super) points: Vec<Point>,
    /// Nothing else is known of it than this last-known value.
    pub(super) retained: Option<Point>,
    /// Whether the rule is about it; else it is gone through because of others.
    pub(super) is_about: bool,
    /// Whether a condition looks at it from another series.
    pub(super) is_looked_at: bool,
}

/// All that a dry run needs.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The rule is the first of its rules; behind it those that it depends on.
    pub(super) config: engine::Config,
    /// From here on readings were gathered.
    pub(super) lead: Timestamp,
    pub(super) stored: Vec<Stored>,
    /// Series that the rule is about, and that were too many.
    pub(super) left_out: usize,
    pub(super) notes: Vec<String>,
}

/// Which series, and why.
#[derive(Debug, Default)]
struct Chosen {
    about: Vec<SeriesKey>,
    /// Those of rules that it depends on.
    along: Vec<SeriesKey>,
    looked_at: BTreeSet<SeriesKey>,
    left_out: usize,
    notes: Vec<String>,
}

/// Reads what is stored in a range, and before it as far as it counts.
pub(super) async fn gather(
    api: &Api,
    asked: RuleToRehearse,
    (from, to): (Timestamp, Timestamp),
    until: Instant,
) -> Result<Gathered, Problem> {
    let RuleToRehearse { mut config, notes } = asked;
    let devices = api.parts.engine.devices().await?;
    let mut known: BTreeMap<SeriesKey, SeriesInfo> = BTreeMap::new();
    for info in api.parts.engine.series().await? {
        known.insert(info.key.clone(), info);
    }
    let mut chosen = choose(&config, &devices, known.keys().cloned().collect());
    chosen.notes.splice(..0, notes);
    know_devices(&mut config, devices);
    let lead = Timestamp(from.0.saturating_sub(LEAD));
    let end = Timestamp(to.0.saturating_add(1));
    let mut room = MAX_POINTS;
    let about: BTreeSet<&SeriesKey> = chosen.about.iter().collect();
    let all: BTreeSet<&SeriesKey> = about
        .iter()
        .copied()
        .chain(&chosen.along)
        .chain(&chosen.looked_at)
        .collect();
    let mut stored = Vec::with_capacity(all.len());
    let (mut missing, mut only_retained) = (Vec::new(), Vec::new());
    for key in all {
        if Instant::now() >= until {
            return Err(refuse(api, "reading the history takes longer than 20 s"));
        }
        let mut points = points_of(api, key, (lead, end), room + 1).await?;
        let is_looked_at = chosen.looked_at.contains(key);
        let mut retained = None;
        if is_looked_at && points.first().is_none_or(|point| point.time > lead) {
            let earlier = points_of(api, key, (Timestamp(i64::MIN), lead), 1).await?;
            points.splice(..0, earlier.into_iter().next_back());
            let info = known
                .get(key)
                .filter(|info| points.is_empty() && info.retained);
            retained = info.and_then(|info| info.latest.clone());
            if retained.is_some() {
                only_retained.push(key);
            } else if points.is_empty() {
                missing.push(key);
            }
        }
        let Some(rest) = room.checked_sub(points.len()) else {
            return Err(refuse(
                api,
                &format!("there are more than {MAX_POINTS} readings"),
            ));
        };
        room = rest;
        stored.push(Stored {
            key: key.clone(),
            unit: known.get(key).and_then(|info| info.unit.clone()),
            points,
            retained,
            is_about: about.contains(key),
            is_looked_at,
        });
    }
    let mut notes = chosen.notes;
    if !missing.is_empty() {
        notes.push(format!(
            "Nothing is stored of {}: what needs it can't be decided.",
            some_of(&missing)
        ));
    }
    if !only_retained.is_empty() {
        notes.push(format!(
            "Only a retained value is known of {}, and not since when: it counts for the whole range.",
            some_of(&only_retained)
        ));
    }
    let oldest = stored
        .iter()
        .filter(|of| of.is_about)
        .filter_map(|of| of.points.first());
    match oldest.map(|point| point.time).min() {
        None if chosen.about.is_empty() => notes.push(String::from(
            "No series that is known matches: nothing was judged.",
        )),
        None => notes.push(String::from("Nothing is stored in this range.")),
        Some(oldest) if oldest > from => notes.push(format!(
            "Nothing is stored before {}: the range is judged from there.",
            oldest.to_rfc3339()
        )),
        Some(_) => {}
    }
    if api.parts.history.is_none() {
        notes.push(String::from(
            "The history is switched off: only the readings that are still in memory are judged.",
        ));
    }
    let waits = |rule: &Rule| {
        matches!(
            rule.condition,
            Condition::NoDataFor { .. } | Condition::Overdue
        )
    };
    if config.rules.iter().any(waits) {
        notes.push(String::from(
            "When readings arrived is not stored: silence is judged by when they were measured.",
        ));
    }
    Ok(Gathered {
        config,
        lead,
        stored,
        left_out: chosen.left_out,
        notes,
    })
}

/// The first few by name.
fn some_of(keys: &[&SeriesKey]) -> String {
    let named: Vec<String> = keys.iter().take(5).map(ToString::to_string).collect();
    match keys.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The points of a series, the newest of the history if there are more than `limit`.
async fn points_of(
    api: &Api,
    key: &SeriesKey,
    (from, to): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Point>, Problem> {
    let old = match &api.parts.history {
        None => Vec::new(),
        Some(history) => history
            .points(key.clone(), from, to, limit)
            .await
            .map_err(|error| Problem::internal("the history cannot be read", &error))?,
    };
    let new = api.parts.engine.points(key.clone(), from, to).await?;
    Ok(points::merge(old, new.unwrap_or_default()))
}

fn choose(config: &engine::Config, devices: &[Device], all: Vec<SeriesKey>) -> Chosen {
    let (asked, along) = config.rules.split_at(config.rules.len().min(1));
    let of = |rules: &[Rule], all: Vec<SeriesKey>| {
        let alone = engine::Config {
            rules: rules.to_vec(),
            ..config.clone()
        };
        Rehearsal::concerned(&alone, devices, all)
    };
    let mut chosen = Chosen {
        about: of(asked, all.clone()),
        ..Chosen::default()
    };
    chosen.left_out = chosen.about.len().saturating_sub(MAX_SERIES);
    chosen.about.truncate(MAX_SERIES);
    if chosen.left_out > 0 {
        chosen.notes.push(format!(
            "{} further series match and were left out: narrow `series` to see them.",
            chosen.left_out
        ));
    }
    let mut room = MAX_SERIES;
    if !along.is_empty() {
        let on: BTreeSet<&DeviceId> = chosen.about.iter().map(|key| &key.device).collect();
        let there = all.into_iter().filter(|key| on.contains(&key.device));
        chosen.along = of(along, there.collect());
        let over = chosen.along.len().saturating_sub(room);
        chosen.along.truncate(room);
        room -= chosen.along.len();
        if over > 0 {
            chosen.notes.push(format!(
                "{over} further series of rules that it depends on were left out: narrow `series` to have them counted."
            ));
        }
    }
    chosen.looked_at = Rehearsal::looked_at(asked, &chosen.about);
    chosen
        .looked_at
        .extend(Rehearsal::looked_at(along, &chosen.along));
    let over = chosen.looked_at.len().saturating_sub(room);
    if over > 0 {
        chosen.looked_at = chosen.looked_at.into_iter().take(room).collect();
        chosen.notes.push(format!(
            "{over} further series that it compares with were left out: what needs them can't be decided; narrow `series`."
        ));
    }
    chosen
}

/// Devices as they are known now, with what the config says of how often they send.
fn know_devices(config: &mut engine::Config, devices: Vec<Device>) {
    let intervals: BTreeMap<SmolStr, Option<Duration>> = std::mem::take(&mut config.devices)
        .into_iter()
        .map(|device| (device.id, device.interval))
        .collect();
    config.devices = devices
        .into_iter()
        .map(|device| DeviceConfig {
            interval: intervals.get(&device.id.0).copied().flatten(),
            expect: Vec::new(),
            id: device.id.0,
            name: Some(device.name),
            site: device.site,
            labels: device.labels,
            note: None,
            version: 0,
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Expression, Of, Side};

    fn key(text: &str) -> SeriesKey {
        SeriesKey::parse(text).unwrap()
    }

    fn when(text: &str) -> Condition {
        let seconds = |text: &str| Some(Duration::from_secs(60 * text.len() as u64));
        Condition::When {
            when: Expression::compile(text, &seconds).unwrap(),
            clear: None,
        }
    }

    fn silent() -> Condition {
        Condition::NoDataFor {
            silence: Duration::from_secs(60),
        }
    }

    fn chosen(rules: Vec<Rule>, all: &[&str]) -> Chosen {
        let config = engine::Config {
            rules,
            ..engine::Config::default()
        };
        choose(&config, &[], all.iter().copied().map(key).collect())
    }

    #[test]
    fn what_a_condition_looks_at_is_chosen_with_it() {
        let all = ["a/t", "a/setpoint", "b/t", "b/x", "boiler/return"];
        let versus = Condition::Versus {
            side: Side::Above,
            other: Of::Series(key("boiler/return")),
            by: 0.0,
            clear_by: 0.0,
            max_age: None,
        };
        let one = chosen(vec![Rule::plain("r", "*/t", versus)], &all);
        assert_eq!(one.about, ["a/t", "b/t"].map(key));
        assert_eq!(one.looked_at, BTreeSet::from([key("boiler/return")]));
        let expression =
            when("value > 1 and metric('setpoint') > mean('5m', 'b/x') and age('w/o') < 5");
        let other = chosen(vec![Rule::plain("r", "*/t", expression.clone())], &all);
        let looked_at = ["a/setpoint", "b/setpoint", "b/x", "w/o"].map(key);
        assert_eq!(other.looked_at, BTreeSet::from(looked_at));
        let none = chosen(vec![Rule::plain("r", "c/t", expression)], &all);
        assert!(none.about.is_empty() && none.looked_at.is_empty());
    }

    #[test]
    fn of_rules_that_it_depends_on_only_what_is_on_the_same_devices_is_chosen() {
        let rules = vec![
            Rule::plain("r", "a/*", when("value > 1")),
            Rule::plain("off", "*/power", silent()),
            Rule::plain("odd", "*/link", when("metric('mode') > 2")),
        ];
        let chosen = chosen(rules, &["a/t", "a/link", "b/link", "b/power"]);
        assert_eq!(chosen.about, ["a/t", "a/link"].map(key));
        assert_eq!(chosen.along, [key("a/link")]);
        assert_eq!(chosen.looked_at, BTreeSet::from([key("a/mode")]));
    }

    #[test]
    fn what_is_too_much_is_left_out_and_told() {
        let names: Vec<String> = (0..2 * MAX_SERIES).map(|n| format!("d{n}/t")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let chosen = chosen(
            vec![Rule::plain("r", "*/t", when("metric('a') > metric('b')"))],
            &all,
        );
        assert_eq!(
            (chosen.about.len(), chosen.left_out),
            (MAX_SERIES, MAX_SERIES)
        );
        assert_eq!(chosen.looked_at.len(), MAX_SERIES);
        assert!(chosen.notes[0].starts_with("500 further series match"));
        assert!(chosen.notes[1].starts_with("500 further series that it compares"));
    }
}
