//! Routes: which alerts go to which webhooks, put together how, and what happens when nobody answers; and inhibition: which alerts are
//! not told because another one explains them.
//!
//! Pure. Which routes an alert takes and of which group it is then ([`Routing::of`], [`Route::group`]), which alerts others inhibit
//! ([`Sources`]), and what a group has to say when ([`look()`]). The file, the clock and the deliveries are the caller's.

mod inhibit;
mod look;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use smol_str::SmolStr;

pub use self::{
    inhibit::{Inhibit, Sources},
    look::{Look, MAX_TOLD_AT_ONCE, Member, Planned, Why, look},
};
use crate::alert::{
    Alert, AlertState, Severity, identity,
    silence::{Facts, Matcher},
};

/// Routes, and inhibitions, at most.
pub const MAX_ROUTES: usize = 200;
/// Escalation steps of a route at most.
pub const MAX_STEPS: usize = 10;

/// Which alerts go to which webhooks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; shown to people.
    pub name: SmolStr,
    /// All must match; none: every alert.
    pub matchers: Vec<Matcher>,
    /// One of these; none: any.
    pub severities: Vec<Severity>,
    /// Who is told. Empty: nobody, the alert is only shown.
    pub webhooks: Vec<SmolStr>,
    /// What alerts of one group have in common: names as in matchers. Default `rule`; empty: all alerts of the route are one group.
    pub group_by: Vec<SmolStr>,
    /// How long a group waits for more before it tells what is new. Default 10 s.
    pub group_wait: Duration,
    /// The shortest time between two messages of a group about changes. Default 1 min.
    pub group_interval: Duration,
    /// How often what fires still is told again; zero: never. Default 4 h.
    pub repeat_interval: Duration,
    /// Who is told when nobody acknowledges, by time.
    pub escalate: Vec<Step>,
    /// Whether routes behind it are asked too. Default no.
    pub goes_on: bool,
}

/// One step of an escalation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// How long after the first word of the alert.
    #[serde(rename = "after_ms", serialize_with = "as_millis")]
    pub after: Duration,
    /// Who is told then.
    pub webhooks: Vec<SmolStr>,
}

/// All routes and inhibitions, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Routing {
    /// The first that takes an alert has it.
    pub routes: Vec<Route>,
    /// Who keeps whom quiet.
    pub inhibits: Vec<Inhibit>,
}

/// A group of a route: what its alerts have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOf {
    /// Stable, made from the route's name and the labels.
    pub key: SmolStr,
    /// By name, without `label.`; what an alert does not have is left out.
    pub labels: BTreeMap<String, String>,
}

/// The route that has an alert, and its group there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken<'a> {
    /// The route's name.
    pub route: &'a str,
    /// Its group.
    pub group_key: SmolStr,
}

/// What routes make of one alert, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing<'a> {
    /// Which routes have it; none: it is told at once, by itself.
    pub routes: Vec<Taken<'a>>,
    /// Firing alerts, by id, for the sake of which nobody is told; a few of them.
    pub inhibited_by: &'a [SmolStr],
    /// When it is told to the next step unless somebody acknowledges, epoch milliseconds.
    pub escalates_ms: Option<i64>,
}

/// What routes make of alerts, by the alert's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// The routes in force.
    pub routing: Arc<Routing>,
    /// Those that others inhibit, and which.
    pub inhibited: HashMap<SmolStr, Vec<SmolStr>>,
    /// When those that nobody acknowledged go one step on, epoch milliseconds.
    pub escalates: HashMap<SmolStr, i64>,
}

impl Route {
    /// Whether it takes this alert. A rule that names webhooks is taken only by routes to at least one of them.
    #[must_use]
    pub fn takes(&self, alert: &Alert) -> bool {
        let named =
            alert.webhooks.is_empty() || self.webhooks.iter().any(|w| alert.webhooks.contains(w));
        named
            && (self.severities.is_empty() || self.severities.contains(&alert.severity))
            && self.matchers.iter().all(|m| m.matches(alert.facts()))
    }

    /// The group of an alert that it takes.
    #[must_use]
    pub fn group(&self, facts: Facts<'_>) -> GroupOf {
        let subjects = self
            .group_by
            .iter()
            .filter_map(|name| Some((name.as_str(), facts.subject(name)?)));
        let key = identity::group(&self.name, subjects.clone());
        let labels = subjects
            .map(|(name, value)| {
                let name = name.strip_prefix("label.").unwrap_or(name);
                (name.to_owned(), value.to_owned())
            })
            .collect();
        GroupOf { key, labels }
    }

    /// In the place of one that is no longer in the config while its groups have something left to say: what they hold goes to these
    /// webhooks as it comes, and nobody is reminded.
    #[must_use]
    pub fn bygone(name: SmolStr, webhooks: Vec<SmolStr>) -> Self {
        Self {
            name,
            matchers: Vec::new(),
            severities: Vec::new(),
            webhooks,
            group_by: Vec::new(),
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat_interval: Duration::ZERO,
            escalate: Vec::new(),
            goes_on: false,
        }
    }
}

impl Routing {
    /// The routes that have an alert. None: it is told as if there were no routes.
    #[must_use]
    pub fn of(&self, alert: &Alert) -> Vec<&Route> {
        let mut routes = Vec::new();
        for route in &self.routes {
            if route.takes(alert) {
                routes.push(route);
                if !route.goes_on {
                    break;
                }
            }
        }
        routes
    }

    /// By its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }
}

impl Routed {
    /// What routes make of this alert.
    #[must_use]
    pub fn standing(&self, alert: &Alert) -> Standing<'_> {
        let is_open = alert.state == AlertState::Firing;
        let routes = self.routing.of(alert);
        let taken = routes.into_iter().map(|route| Taken {
            route: &route.name,
            group_key: route.group(alert.facts()).key,
        });
        let inhibited = self.inhibited.get(&alert.id).filter(|_| is_open);
        Standing {
            routes: taken.collect(),
            inhibited_by: inhibited.map_or(&[], Vec::as_slice),
            escalates_ms: self.escalates.get(&alert.id).copied().filter(|_| is_open),
        }
    }
}

/// The id of a message about a group, without the webhook. `reason` and `moment` tell apart what says the same more than once.
pub fn message_id<'a>(
    group: &str,
    reason: &str,
    moment: i64,
    alerts: impl Iterator<Item = (&'a str, bool)>,
) -> SmolStr {
    identity::message(group, reason, moment, alerts)
}

fn as_millis<S: serde::Serializer>(of: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(of.as_millis()).unwrap_or(u64::MAX))
}

impl Serialize for Route {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            name: &'a str,
            matchers: &'a [Matcher],
            severity: &'a [Severity],
            webhooks: &'a [SmolStr],
            group_by: &'a [SmolStr],
            #[serde(serialize_with = "as_millis")]
            group_wait_ms: Duration,
            #[serde(serialize_with = "as_millis")]
            group_interval_ms: Duration,
            #[serde(serialize_with = "as_millis")]
            repeat_interval_ms: Duration,
            escalate: &'a [Step],
            #[serde(rename = "continue")]
            goes_on: bool,
        }
        Shown {
            name: &self.name,
            matchers: &self.matchers,
            severity: &self.severities,
            webhooks: &self.webhooks,
            group_by: &self.group_by,
            group_wait_ms: self.group_wait,
            group_interval_ms: self.group_interval,
            repeat_interval_ms: self.repeat_interval,
            escalate: &self.escalate,
            goes_on: self.goes_on,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
