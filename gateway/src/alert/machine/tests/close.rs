//! What a person closed stays over until its condition was.

use proptest::prelude::*;

use super::*;
use crate::alert::{Closing, StillClosed};

impl Bench {
    fn close(&mut self, id: &str) -> (bool, Vec<Transition>) {
        let (mut out, now) = (Vec::new(), self.moment());
        let closed = self
            .machine
            .close(id, "Ada", "a known fault", now, &mut out);
        (closed, out)
    }

    fn read(&mut self, at: i64, value: f64) -> Vec<AlertState> {
        self.now = self.now.max(at);
        let out = self.take(&reading(at, value), false);
        out.iter().map(|change| change.alert.state).collect()
    }
}

fn cleared() -> Closing {
    Closing::Cleared {
        rule: "hot".into(),
        series: "boiler/temperature".into(),
    }
}

#[test]
fn what_is_closed_is_resolved_with_who_and_why_and_fires_again_only_after_it_was_clear() {
    let mut bench = Bench::new(vec![rule("hot", ABOVE, 0)], 0);
    assert_eq!(bench.read(1, 95.0), [Firing]);
    let fired = bench.machine.alerts().next().unwrap().clone();
    assert_eq!(bench.close("another"), (false, Vec::new()));
    bench.now = 3;
    let (closed, out) = bench.close(&fired.id);
    assert!(closed);
    let over = &out[0].alert;
    assert_eq!((out.len(), &over.id, over.state), (1, &fired.id, Resolved));
    assert_eq!(
        (over.resolved_ms, out[0].at),
        (Some(3_000), Timestamp(3 * SECOND))
    );
    assert_eq!(
        over.summary,
        format!("{} (closed by Ada: a known fault)", fired.summary)
    );
    let said = Closing::Closed {
        alert: Box::new(fired.clone()),
        by: String::from("Ada"),
        comment: String::from("a known fault"),
    };
    assert_eq!(bench.machine.take_closings(), [said]);
    assert_eq!(bench.machine.counts(), Counts::default());
    assert!(!bench.close(&fired.id).0, "it is over");
    // True still, then between: neither is clear. Nor is a text, or what is late or bad.
    assert!(bench.read(4, 96.0).is_empty());
    assert!(bench.read(5, 85.0).is_empty());
    assert!(bench.read(2, 20.0).is_empty());
    assert!(bench.read(6, 96.0).is_empty());
    assert!(bench.machine.take_closings().is_empty());
    assert!(bench.read(7, 80.0).is_empty());
    assert_eq!(bench.machine.take_closings(), [cleared()]);
    assert_eq!(bench.read(8, 95.0), [Firing]);
    assert_ne!(bench.machine.alerts().next().unwrap().id, fired.id);
}

#[test]
fn what_is_pending_is_not_closed() {
    let mut bench = Bench::new(vec![rule("hot", ABOVE, 10)], 0);
    assert_eq!(bench.read(1, 95.0), [Pending]);
    let pending = bench.machine.alerts().next().unwrap().id.clone();
    assert_eq!(bench.close(&pending), (false, Vec::new()));
    assert_eq!(bench.read(11, 95.0), [Firing]);
}

#[test]
fn a_silence_that_is_closed_is_not_noticed_again_before_something_was_heard() {
    let mut bench = Bench::new(vec![rule("hot", SILENT, 0)], 0);
    bench.now = 60;
    let fired = bench.tick().remove(0).alert;
    assert_eq!(fired.state, Firing);
    assert!(bench.close(&fired.id).0);
    bench.now = 1_000;
    assert!(bench.tick().is_empty());
    assert_eq!(bench.machine.next_timer(), None);
    bench.machine.take_closings();
    assert!(bench.read(1_000, 20.0).is_empty(), "it is over already");
    assert_eq!(bench.machine.take_closings(), [cleared()]);
    bench.now = 1_060;
    assert_eq!(bench.tick()[0].alert.state, Firing);
}

#[test]
fn a_restart_knows_what_is_closed_and_a_changed_rule_may_fire() {
    let mut before = Bench::new(vec![rule("hot", ABOVE, 0)], 0);
    assert_eq!(before.read(1, 95.0), [Firing]);
    let closed = StillClosed {
        alert: before.machine.alerts().next().unwrap().id.clone(),
        rule: "hot".into(),
        series: "boiler/temperature".into(),
    };

    let mut after = Bench::new(vec![rule("hot", ABOVE, 0)], 0);
    after.machine.resume_closed(0, closed.clone());
    assert!(after.read(2, 95.0).is_empty());
    // Another question, by the same name, while it runs: it is asked anew.
    let now = after.moment();
    after.machine.set_rules(vec![rule("hot", ABOVE, 0)], now);
    assert!(after.read(3, 95.0).is_empty(), "the same question");
    after.machine.set_rules(vec![rule("hot", CHANGE, 0)], now);
    assert_eq!(after.machine.take_closings(), [cleared()]);
    after.machine.set_rules(vec![rule("hot", ABOVE, 0)], now);
    assert_eq!(after.read(4, 95.0), [Firing]);

    // And over a start; or its series is nobody's any more.
    let mut other = Bench::new(vec![rule("hot", CHANGE, 0)], 0);
    other.machine.resume_closed(0, closed.clone());
    assert_eq!(other.machine.take_closings(), [cleared()]);
    other.machine.resume_closed(7, closed);
    assert_eq!(other.machine.take_closings(), [cleared()]);
}

proptest! {
    /// Whatever is measured and closed, also over a restart at any moment: after a close nothing fires on this series before a reading at
    /// `clear`.
    #[test]
    fn nothing_fires_between_a_close_and_the_next_clear(
        steps in prop::collection::vec((60.0..110.0_f64, prop::bool::weighted(0.3), prop::bool::weighted(0.2)), 1..60),
    ) {
        let rules = || vec![rule("hot", ABOVE, 0)];
        let mut bench = Bench::new(rules(), 0);
        let mut waits = None;
        for (at, (value, close, restart)) in (1..).zip(steps) {
            let changes = bench.read(at, value);
            if waits.is_some() {
                prop_assert!(changes.is_empty(), "{changes:?} at {at}");
            }
            if value <= 80.0 && waits.take().is_some() {
                prop_assert_eq!(bench.machine.take_closings(), vec![cleared()]);
            }
            let firing = bench.machine.alerts().next().map(|alert| alert.id.clone());
            if let (true, Some(id)) = (close, firing) {
                prop_assert!(bench.close(&id).0);
                bench.machine.take_closings();
                waits = Some(id);
            }
            if restart {
                let alerts: Vec<Alert> = bench.machine.alerts().cloned().collect();
                bench.machine = {
                    let mut fresh = Bench::new(rules(), 0);
                    let now = bench.moment();
                    for alert in alerts {
                        fresh.machine.resume(0, alert, now).unwrap();
                    }
                    if let Some(alert) = waits.clone() {
                        let (rule, series) = ("hot".into(), "boiler/temperature".into());
                        fresh.machine.resume_closed(0, StillClosed { alert, rule, series });
                    }
                    fresh.machine
                };
            }
        }
    }
}
