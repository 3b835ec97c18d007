//! When a fault begins and how long it lasts: pure and seeded. What it does to a reading is in [`crate::plan`].

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::{scenario::Fault, signal::draw};

/// A fault on its way through time.
#[derive(Debug)]
pub struct Trouble {
    fault: Fault,
    rng: ChaCha8Rng,
    /// When the next regular beginning is due.
    due: Duration,
    ends: Option<Duration>,
    began: Duration,
    begun: u32,
}

/// A fault that is there now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    /// This is its first reading.
    pub begins: bool,
    /// How much of it has passed, 0 to 1; 1 for a fault of a single reading.
    pub progress: f64,
}

impl Trouble {
    /// Before its first beginning; `rng` is its own.
    #[must_use]
    pub fn new(fault: Fault, rng: ChaCha8Rng) -> Self {
        let due = fault.after.or(fault.every).unwrap_or_default();
        Self {
            fault,
            rng,
            due,
            ends: None,
            began: Duration::ZERO,
            begun: 0,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Whether it is there at this reading. Call it once a reading, in order.
    pub fn at(&mut self, elapsed: Duration) -> Option<Active> {
        // Drawn at every reading, so that how long a fault lasts does not shift the chance of later ones.
        let dice = self
            .fault
            .probability
            .map(|chance| draw(&mut self.rng) < chance);
        if let Some(ends) = self.ends {
            if elapsed < ends {
                return Some(self.active(false, elapsed));
            }
            self.ends = None;
        }
        if self.fault.times.is_some_and(|times| self.begun >= times) {
            return None;
        }
        let begins = match (dice, self.fault.every) {
            (Some(dice), _) => dice && elapsed >= self.due,
            (None, Some(every)) if elapsed >= self.due => {
                let behind = (elapsed - self.due).as_nanos() / every.as_nanos().max(1) + 1;
                let behind = u32::try_from(behind).unwrap_or(u32::MAX);
                self.due = self.due.saturating_add(every.saturating_mul(behind));
                true
            }
            _ => false,
        };
        begins.then(|| {
            self.begun += 1;
            self.began = elapsed;
            self.ends = self.fault.lasts.map(|lasts| elapsed.saturating_add(lasts));
            self.active(true, elapsed)
        })
    }

    fn active(&self, begins: bool, elapsed: Duration) -> Active {
        let progress = match self.fault.lasts {
            Some(lasts) if !lasts.is_zero() => {
                ((elapsed - self.began).as_secs_f64() / lasts.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        };
        Active { begins, progress }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario::FaultKind, signal::chance};

    fn seconds(fault: Fault, count: u64) -> Vec<u64> {
        let mut trouble = Trouble::new(fault, chance(1, &["fault"]));
        (0..count)
            .filter(|s| trouble.at(Duration::from_secs(*s)).is_some())
            .collect()
    }

    #[test]
    fn a_regular_fault_comes_at_its_times_and_lasts_its_while() {
        let mut fault = Fault::new(FaultKind::DropOut);
        fault.every = Some(Duration::from_secs(10));
        fault.lasts = Some(Duration::from_secs(3));
        assert_eq!(seconds(fault.clone(), 24), [10, 11, 12, 20, 21, 22]);
        fault.after = Some(Duration::from_secs(2));
        fault.times = Some(2);
        assert_eq!(seconds(fault, 60), [2, 3, 4, 12, 13, 14]);
    }

    #[test]
    fn a_fault_shorter_than_a_reading_hits_one_reading() {
        let mut fault = Fault::new(FaultKind::Spike);
        fault.every = Some(Duration::from_nanos(1));
        assert_eq!(seconds(fault, 4), [1, 2, 3]);
    }

    #[test]
    fn a_fault_by_chance_comes_about_as_often_as_was_asked() {
        let mut fault = Fault::new(FaultKind::Spike);
        fault.probability = Some(0.1);
        let hits = seconds(fault, 10_000).len();
        assert!((900..1_100).contains(&hits), "{hits}");
    }

    #[test]
    fn progress_grows_from_nought_to_one() {
        let mut fault = Fault::new(FaultKind::Drift);
        fault.every = Some(Duration::from_secs(4));
        fault.lasts = Some(Duration::from_secs(4));
        fault.times = Some(1);
        let mut trouble = Trouble::new(fault, chance(1, &[]));
        let progress: Vec<_> = (0..10)
            .filter_map(|s| trouble.at(Duration::from_secs(s)).map(|a| a.progress))
            .collect();
        assert_eq!(progress, [0.0, 0.25, 0.5, 0.75]);
    }
}
