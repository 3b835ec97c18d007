//! A rule that waits for as long as the series itself shows.

use super::*;
use crate::alert::Cause;

/// A time at which the clock is set.
const SET: i64 = 1_800_000_000;

fn overdue() -> Rule {
    rule("silent", Condition::Overdue, 0)
}

impl Bench {
    /// One more reading after so many seconds; what that changes.
    fn comes(&mut self, after: i64) -> Vec<Transition> {
        self.now += after;
        let out = self.tick();
        assert_eq!(out, [], "at {}", self.now - self.started);
        self.take(&reading(self.now, 1.0), false)
    }

    fn waits(&mut self, seconds: i64) -> Vec<Transition> {
        self.now += seconds;
        self.tick()
    }
}

/// Every minute, often enough.
fn learned() -> Bench {
    let mut bench = Bench::new(vec![overdue()], SET);
    for _ in 0..20 {
        assert_eq!(bench.comes(60), []);
    }
    bench
}

#[test]
fn it_waits_for_three_usual_gaps_once_it_knows_them_and_says_so() {
    let mut bench = Bench::new(vec![overdue()], SET);
    for _ in 0..16 {
        bench.comes(60);
    }
    assert_eq!(bench.waits(86_400), [], "it knows of 15 gaps");
    bench.take(&reading(bench.now, 1.0), false);
    assert_eq!(bench.waits(179), []);
    let fired = bench.waits(1).remove(0);
    assert_eq!(
        (fired.alert.state, fired.alert.marks.cause),
        (Firing, Some(Cause::Silence))
    );
    assert_eq!(
        fired.alert.summary,
        "boiler/temperature: nothing was received for much longer than usual (it usually comes at least every 1 min)"
    );
    bench.now += 5;
    let over = bench.take(&reading(bench.now, 1.0), false).remove(0);
    assert_eq!(
        (over.alert.state, over.alert.id),
        (Resolved, fired.alert.id)
    );
    // Of 17 gaps the two longest are a day and 185 seconds; the 90th percentile is the shorter one of them.
    assert_eq!(bench.waits(554), []);
    assert_eq!(bench.waits(1)[0].alert.state, Firing);
}

#[test]
fn retained_bad_and_late_readings_teach_nothing() {
    let mut bench = learned();
    for second in 0..600 {
        bench.now += 1;
        let last = bench.now - second - 1;
        let now = reading(bench.now, 1.0);
        let retained = Reading {
            retained: true,
            ..now.clone()
        };
        let bad = Reading {
            quality: Quality::Bad,
            ..now
        };
        bench.take(&retained, false);
        bench.take(&bad, false);
        if second < 100 {
            // Data, and so not silent; but from another time.
            bench.take(&reading(last - 1, 1.0), false);
        }
    }
    // The last that was data came 500 seconds ago.
    assert_eq!(bench.machine.counts().firing, 0);
    assert_eq!(bench.tick()[0].alert.state, Firing);
    let again = bench.take(&reading(bench.now, 1.0), false);
    assert_eq!(again[0].alert.state, Resolved);
    assert_eq!(bench.waits(179), []);
    assert_eq!(bench.waits(1)[0].alert.state, Firing);
}

#[test]
fn what_it_learned_comes_back_and_sets_its_deadline() {
    let mut before = learned();
    before.now += 60;
    let newest = reading(before.now, 1.0);
    before.take(&newest, false);
    let remembered: Vec<_> = before.machine.remembered(0).collect();
    assert_eq!(remembered.len(), 1);

    // All that is left of the readings is the newest.
    let mut after = Bench::new(vec![overdue()], before.now + 20);
    after.take(&newest, true);
    let now = after.moment();
    after
        .machine
        .heard_before(0, Some(Duration::from_secs(20)), now);
    assert_eq!(after.machine.next_timer(), None, "nothing is known yet");
    assert_eq!(after.machine.give_back(0, &remembered[0]), Ok(()));
    assert_eq!(after.machine.next_timer(), Some(Duration::from_secs(160)));
    assert_eq!(after.waits(159), []);
    assert_eq!(after.waits(1)[0].alert.state, Firing);
    // A rule that asks something else does not take it.
    let mut other = Bench::new(vec![rule("silent", SILENT, 0)], before.now);
    assert_eq!(other.machine.give_back(0, &remembered[0]), Ok(()));
    assert_eq!(other.machine.remembered(0).count(), 0);
}

#[test]
fn a_device_that_says_how_often_it_sends_is_waited_for_from_the_first() {
    let mut bench = Bench::new(vec![overdue()], SET);
    bench.machine.place(0, 0, Duration::from_secs(600));
    assert_eq!(bench.waits(1_799), []);
    let fired = bench.waits(1).remove(0).alert;
    assert!(
        fired.summary.ends_with("usual (never received)"),
        "{}",
        fired.summary
    );
    // What it says wins where it is longer than what it does.
    let mut bench = learned();
    bench.machine.place(0, 0, Duration::from_secs(600));
    assert_eq!(bench.waits(1_799), []);
    assert_eq!(bench.waits(1)[0].alert.state, Firing);
}

#[test]
fn a_burst_after_an_outage_leaves_its_deadline_alone() {
    let mut bench = learned();
    bench.now += 7_200;
    assert_eq!(bench.tick()[0].alert.state, Firing);
    // All that was held back, at once.
    for minute in (0..120).rev() {
        let held = Reading {
            received: Timestamp(bench.now * SECOND),
            ..reading(bench.now - minute * 60, 1.0)
        };
        bench.take(&held, false);
    }
    assert_eq!(bench.waits(179), []);
    assert_eq!(bench.waits(1)[0].alert.state, Firing);
}
