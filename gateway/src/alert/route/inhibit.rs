//! Inhibition: while one alert fires, others that it explains are not told.
//!
//! As in Prometheus Alertmanager (<https://prometheus.io/docs/alerting/latest/configuration/#inhibit_rule>): labels that both lack are
//! equal, and an alert that is both source and target of one inhibition is kept quiet only by one that is not, so that none keeps
//! itself quiet.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use smol_str::SmolStr;

use crate::alert::{
    Alert,
    silence::{Facts, Matcher},
};

/// How many sources are named of one that is inhibited.
const NAMED: usize = 5;

/// Who keeps whom quiet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inhibit {
    /// A firing alert that all of these match keeps others quiet.
    pub source: Vec<Matcher>,
    /// Those that all of these match.
    pub target: Vec<Matcher>,
    /// And that have the same in these: names as in matchers.
    pub equal: Vec<SmolStr>,
}

/// The firing alerts that keep others quiet.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    inhibits: &'a [Inhibit],
    /// For each inhibition, by what must be equal.
    firing: Vec<HashMap<Vec<String>, Same>>,
}

/// Sources with the same in what must be equal.
#[derive(Debug, Default)]
struct Same {
    /// Some of them.
    any: Vec<SmolStr>,
    /// Some of those that are no targets themselves.
    plain: Vec<SmolStr>,
}

impl Inhibit {
    /// Whether this alert keeps others quiet while it fires.
    #[must_use]
    pub fn is_source(&self, facts: Facts<'_>) -> bool {
        self.source.iter().all(|m| m.matches(facts))
    }

    fn is_target(&self, facts: Facts<'_>) -> bool {
        self.target.iter().all(|m| m.matches(facts))
    }

    fn equals(&self, facts: Facts<'_>) -> Vec<String> {
        let of = |name: &SmolStr| facts.subject(name).unwrap_or_default().to_owned();
        self.equal.iter().map(of).collect()
    }
}

impl<'a> Sources<'a> {
    /// Out of all alerts that fire.
    #[must_use]
    pub fn new<'f>(inhibits: &'a [Inhibit], firing: impl Iterator<Item = &'f Alert>) -> Self {
        let mut sources = Self {
            inhibits,
            firing: Vec::new(),
        };
        sources.firing.resize_with(inhibits.len(), HashMap::new);
        if inhibits.is_empty() {
            return sources;
        }
        for alert in firing {
            let facts = alert.facts();
            for (inhibit, of) in inhibits.iter().zip(&mut sources.firing) {
                if !inhibit.is_source(facts) {
                    continue;
                }
                let same = of.entry(inhibit.equals(facts)).or_default();
                let plain = !inhibit.is_target(facts);
                for list in [Some(&mut same.any), plain.then_some(&mut same.plain)]
                    .into_iter()
                    .flatten()
                    .filter(|list| list.len() < NAMED)
                {
                    list.push(alert.id.clone());
                }
            }
        }
        sources
    }

    /// The ids of some that keep this alert quiet; empty: nothing does.
    #[must_use]
    pub fn of(&self, facts: Facts<'_>) -> Vec<SmolStr> {
        let mut by = Vec::new();
        let mut seen = HashSet::new();
        for (inhibit, firing) in self.inhibits.iter().zip(&self.firing) {
            if firing.is_empty() || !inhibit.is_target(facts) {
                continue;
            }
            let Some(same) = firing.get(&inhibit.equals(facts)) else {
                continue;
            };
            let list = if inhibit.is_source(facts) {
                &same.plain
            } else {
                &same.any
            };
            by.extend(list.iter().filter(|id| seen.insert((*id).clone())).cloned());
        }
        by.truncate(NAMED);
        by
    }
}
