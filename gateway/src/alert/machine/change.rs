//! Other rules while alerts are under way: what asks the same goes on, the rest ends with the reason.

use std::collections::{BTreeMap, HashMap};

use super::{Lapsed, Machine, Moment, asked};
use crate::{
    alert::{Alert, AlertState, Counts, Rule, slot::Slot},
    model::SeriesKey,
};

impl Machine {
    /// Takes these rules instead of those before. A rule that asks the same under the same name keeps its alerts, whatever its
    /// words, labels and webhooks are now: they hold for its next alert. The alerts of all others are given back, to be ended
    /// by [`super::lapse`]; a condition that is still true begins anew with the next reading.
    ///
    /// A new rule about silence counts from the last arrival where that is known. Series that no rule was about before are
    /// found by [`Machine::watch`], which the caller calls for all series.
    pub fn set_rules(&mut self, rules: Vec<Rule>, now: Moment) -> Vec<(SeriesKey, Lapsed)> {
        let before = std::mem::replace(&mut self.rules, asked(rules));
        // Where the rules are now that ask what they asked; the others say why they end.
        let names: HashMap<&str, (u32, u32)> = (0..)
            .zip(&self.rules)
            .map(|(at, new)| (new.rule.name.as_str(), (at, new.fingerprint)))
            .collect();
        let fate: Vec<Result<u32, &'static str>> = before
            .iter()
            .map(|old| match names.get(old.rule.name.as_str()) {
                Some((at, fingerprint)) if *fingerprint == old.fingerprint => Ok(*at),
                Some(_) => Err("its rule was changed"),
                None => Err("its rule was removed"),
            })
            .collect();
        let mut lapsed = Vec::new();
        self.timers.clear();
        self.slots = 0;
        for (series, watched) in (0..).zip(&mut self.series) {
            let Some(watched) = watched else { continue };
            let mut kept: HashMap<u32, Slot> = HashMap::new();
            for mut slot in std::mem::take(&mut watched.slots) {
                match fate.get(slot.rule as usize) {
                    Some(Ok(rule)) => {
                        slot.rule = *rule;
                        slot.timer = None;
                        kept.insert(*rule, slot);
                    }
                    Some(Err(why)) => {
                        if let Some(active) = slot.active {
                            leave(&mut self.counts, &active.alert);
                            lapsed.push((watched.key.clone(), Lapsed(Box::new(active.alert), why)));
                        }
                    }
                    None => {}
                }
            }
            let name = watched.key.to_string();
            watched.slots = (0..)
                .zip(&self.rules)
                .filter(|(_, asked)| asked.rule.is_about(&name, &watched.labels))
                .map(|(rule, _)| kept.remove(&rule).unwrap_or_else(|| Slot::new(rule)))
                .collect();
            // A device with other labels may not be chosen any more.
            for active in kept.into_values().filter_map(|slot| slot.active) {
                leave(&mut self.counts, &active.alert);
                let why = "its rule is no longer about this series";
                lapsed.push((watched.key.clone(), Lapsed(Box::new(active.alert), why)));
            }
            self.slots += watched.slots.len();
            for (index, slot) in (0..).zip(&mut watched.slots) {
                let due = slot.due(&self.rules[slot.rule as usize].rule, &watched.heard);
                slot.time(
                    due.map(|due| due.max(now.uptime)),
                    series,
                    index,
                    &mut self.timers,
                );
            }
        }
        lapsed
    }

    /// The labels that the next alerts of a series carry; those under way keep theirs. Which rules are about it is looked at again by
    /// [`Machine::set_rules`].
    pub fn relabel(&mut self, series: u32, labels: BTreeMap<String, String>) {
        if let Some(Some(watched)) = self.series.get_mut(series as usize) {
            watched.labels = labels;
        }
    }
}

const fn leave(counts: &mut Counts, alert: &Alert) {
    match alert.state {
        AlertState::Firing => counts.firing -= 1,
        _ => counts.pending -= 1,
    }
}
