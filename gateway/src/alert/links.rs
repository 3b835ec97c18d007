//! The sources as the alerts see them: which device belongs to which, when each was last heard, whether its link stands, and the
//! gateway's own alert about each (rule `source`, series `gateway/<source>`).
//!
//! An alert about a source begins when its link has been down for `down_for`, or (decided by the machine) when the series on it are
//! due. It ends with the next reading; one whose link comes back ends with that, if no series on it is overdue.
//!
//! Bounds: one entry for each source that is configured or that a device was last heard on; one number for each series and device.

use std::{collections::HashMap, time::Duration};

use smol_str::SmolStr;

use super::{Alert, Moment, Own, Transition, heard::Heard, own::source_of};

/// A configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its name.
    pub name: SmolStr,
    /// How long its link may be down before that is an alert of its own. Default 1 min.
    pub down_for: Duration,
}

/// No source, no device.
const NONE: u32 = u32::MAX;

/// All sources. See the module.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<Link>,
    by_name: HashMap<SmolStr, u32>,
    device_of: Vec<u32>,
    source_of: Vec<u32>,
    /// Something is to be looked at.
    news: bool,
}

/// One source.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: SmolStr,
    own: Own,
    /// Nothing is judged of a source that is not configured.
    awaited: Option<Duration>,
    pub(super) heard: Heard,
    /// Its series count from here at the earliest: when it spoke again after an alert.
    pub(super) back: Duration,
    /// Since when its link is down, and why.
    pub(super) down: Option<(Duration, String)>,
    spoke: bool,
    came_up: bool,
}

impl Link {
    pub(super) const fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    pub(super) const fn fires(&self) -> bool {
        self.own.alert().is_some()
    }

    /// Its alert begins.
    pub(super) fn fail(&mut self, problem: String, now: Moment, out: &mut Vec<Transition>) {
        out.extend(self.own.judged(Some(problem), now.clock));
    }

    fn due(&self) -> Option<Duration> {
        let (since, _) = self.down.as_ref().filter(|_| !self.fires())?;
        Some(since.saturating_add(self.awaited?))
    }
}

impl Links {
    /// The number of a source, known or new.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = u32::try_from(self.links.len()).unwrap_or(NONE);
        self.by_name.insert(name.into(), number);
        self.links.push(Link {
            name: name.into(),
            own: Own::source(name),
            awaited: None,
            heard: Heard::never(Duration::ZERO),
            back: Duration::ZERO,
            down: None,
            spoke: false,
            came_up: false,
        });
        number
    }

    /// These are configured; alerts about others end.
    pub(super) fn await_these(
        &mut self,
        awaited: Vec<Awaited>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        for link in &mut self.links {
            link.awaited = None;
        }
        for Awaited { name, down_for } in awaited {
            let number = self.number(&name);
            self.links[number as usize].awaited = Some(down_for);
        }
        for link in self.links.iter_mut().filter(|link| !link.is_awaited()) {
            out.extend(link.own.judged(None, now.clock));
            link.down = None;
        }
    }

    /// Takes up an alert of an earlier run.
    ///
    /// # Errors
    ///
    /// One that is not about a source.
    pub(super) fn resume(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        let Some(name) = source_of(&alert).map(SmolStr::new) else {
            return Err(Box::new(alert));
        };
        let number = self.number(&name);
        self.links[number as usize].own.resume(alert)
    }

    /// A series is one of this device.
    pub(super) fn place(&mut self, series: u32, device: u32) {
        set(&mut self.device_of, series, device);
    }

    /// A device is on this source.
    pub(super) fn belongs(&mut self, device: u32, source: u32) {
        if self.source_of.get(device as usize) != Some(&source) {
            set(&mut self.source_of, device, source);
        }
    }

    /// The source that a series is on, as far as is known.
    pub(super) fn of(&self, series: u32) -> Option<u32> {
        let device = *self.device_of.get(series as usize)?;
        let source = *self.source_of.get(device as usize)?;
        (source != NONE).then_some(source)
    }

    /// By its number.
    pub(super) fn get_mut(&mut self, source: u32) -> Option<&mut Link> {
        self.links.get_mut(source as usize)
    }

    /// Data came on it now.
    pub(super) fn spoke(&mut self, source: u32, now: Duration) {
        if let Some(link) = self.links.get_mut(source as usize) {
            link.heard.now(now);
            if link.fires() {
                link.spoke = true;
                self.news = true;
            }
        }
    }

    /// Its link is down, with the reason, or up.
    pub(super) fn stands(&mut self, source: u32, down: Option<String>, now: Duration) {
        let Some(link) = self.links.get_mut(source as usize) else {
            return;
        };
        link.down = match (down, link.down.take()) {
            (Some(why), Some((since, _))) => Some((since, why)),
            (Some(why), None) => Some((now, why)),
            (None, was) => {
                link.came_up |= was.is_some();
                None
            }
        };
        self.news = true;
    }

    /// When a link has been down for too long.
    pub(super) fn next(&self) -> Option<Duration> {
        self.links.iter().filter_map(Link::due).min()
    }

    /// Begins and ends what is due. `overdue` says whether a series on this source is.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        overdue: impl Fn(&Self, u32) -> bool,
        out: &mut Vec<Transition>,
    ) {
        if !self.news && self.next().is_none_or(|due| due > now.uptime) {
            return;
        }
        self.news = false;
        for source in 0..self.links.len() {
            let number = u32::try_from(source).unwrap_or(NONE);
            let link = &mut self.links[source];
            let (spoke, came_up) = (
                std::mem::take(&mut link.spoke),
                std::mem::take(&mut link.came_up),
            );
            if !link.fires() {
                if link.due().is_some_and(|due| due <= now.uptime) {
                    let problem = link.down_in_words();
                    link.fail(problem, now, out);
                }
            } else if spoke {
                link.back = now.uptime;
                out.extend(link.own.judged(None, now.clock));
            } else if came_up && !overdue(self, number) {
                let link = &mut self.links[source];
                out.extend(link.own.judged(None, now.clock));
            }
        }
    }

    /// The alerts about sources.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.links.iter().filter_map(|link| link.own.alert())
    }
}

impl Link {
    /// What its alert says when its link is down.
    pub(super) fn down_in_words(&self) -> String {
        let why = self.down.as_ref().map_or("", |(_, why)| why);
        format!("Nothing can come from source \"{}\": {why}", self.name)
    }
}

fn set(all: &mut Vec<u32>, at: u32, to: u32) {
    let at = at as usize;
    if all.len() <= at {
        all.resize(at + 1, NONE);
    }
    all[at] = to;
}
