//! What of the outbox is in memory while the file refuses: deliveries of the gateway's own alert, which can't wait for the disk that
//! they are about, and how tries ended whose outcome could not be written down, so that nobody is told twice.
//!
//! Bounded: [`MAX_URGENT`] deliveries (the oldest goes) and [`MAX_SETTLED`] outcomes (the oldest is forgotten; its delivery may
//! then come once more under its old id). Lost when the process ends.

use std::collections::VecDeque;

use super::{Delivery, Verdict};

/// Deliveries that wait in memory.
pub(super) const MAX_URGENT: usize = 256;
/// Outcomes that wait to be written down.
pub(super) const MAX_SETTLED: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Urgent {
    waiting: VecDeque<Delivery>,
    settled: VecDeque<(String, Verdict)>,
}

impl Urgent {
    /// Adds a delivery unless it is known. Says whether it is new, and which one was given up for it.
    pub(super) fn add(&mut self, delivery: Delivery) -> (bool, Option<Delivery>) {
        if self.knows(&delivery.id) {
            return (false, None);
        }
        self.waiting.push_back(delivery);
        let over = self.waiting.len() > MAX_URGENT;
        (true, over.then(|| self.waiting.pop_front()).flatten())
    }

    /// Whether it is here, or was and is over.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.waiting.iter().any(|d| d.id == id) || self.verdict(id).is_some()
    }

    /// The file has it now.
    pub(super) fn recorded(&mut self, id: &str) {
        self.waiting.retain(|delivery| delivery.id != id);
    }

    /// The oldest one for this webhook that is about none of these subjects.
    pub(super) fn next(&self, webhook: &str, but: &[String]) -> Option<Delivery> {
        self.waiting
            .iter()
            .find(|d| d.webhook == webhook && but.iter().all(|subject| subject != d.subject()))
            .cloned()
    }

    /// How a try of a delivery in memory ended. False: it is not in memory.
    pub(super) fn settle(&mut self, id: &str, verdict: &Verdict) -> bool {
        let Some(at) = self.waiting.iter().position(|d| d.id == id) else {
            return false;
        };
        if let Verdict::TryAgain { .. } = verdict {
            self.waiting[at].tries += 1;
        } else {
            self.waiting.remove(at);
            self.remember(id, verdict);
        }
        true
    }

    /// Keeps a final outcome until it is written down.
    pub(super) fn remember(&mut self, id: &str, verdict: &Verdict) {
        if matches!(verdict, Verdict::TryAgain { .. }) || self.verdict(id).is_some() {
            return;
        }
        self.settled.push_back((id.to_owned(), verdict.clone()));
        if self.settled.len() > MAX_SETTLED {
            self.settled.pop_front();
        }
    }

    /// How it ended, if that is not written down yet.
    pub(super) fn verdict(&self, id: &str) -> Option<Verdict> {
        let found = self.settled.iter().find(|(settled, _)| settled == id);
        found.map(|(_, verdict)| verdict.clone())
    }

    /// It is written down.
    pub(super) fn forget(&mut self, id: &str) {
        self.settled.retain(|(settled, _)| settled != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn delivery(id: usize) -> Delivery {
        Delivery {
            id: id.to_string(),
            webhook: String::from("ops"),
            body: String::new(),
            created: Timestamp(0),
            tries: 0,
        }
    }

    #[test]
    fn both_lists_are_bounded_and_the_oldest_goes() {
        let mut urgent = Urgent::default();
        for id in 0..MAX_URGENT {
            assert_eq!(urgent.add(delivery(id)), (true, None));
        }
        let (new, given_up) = urgent.add(delivery(MAX_URGENT));
        assert!(new && given_up.unwrap().id == "0");
        for id in 0..=MAX_SETTLED {
            urgent.remember(&id.to_string(), &Verdict::Delivered);
        }
        assert!(urgent.verdict("0").is_none() && urgent.verdict("1").is_some());
    }

    #[test]
    fn what_was_delivered_from_memory_is_not_delivered_again() {
        let mut urgent = Urgent::default();
        urgent.add(delivery(1));
        let again = Verdict::TryAgain {
            error: String::new(),
        };
        assert!(urgent.settle("1", &again));
        assert_eq!(urgent.next("ops", &[]).unwrap().tries, 1);
        assert!(urgent.settle("1", &Verdict::Delivered));
        assert_eq!(urgent.next("ops", &[]), None);
        assert_eq!(urgent.add(delivery(1)), (false, None));
        assert_eq!(urgent.verdict("1"), Some(Verdict::Delivered));
        urgent.forget("1");
        assert_eq!(urgent.verdict("1"), None);
    }
}
