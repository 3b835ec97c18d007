//! Senders as they are, played through in no time: what is held to account is their rate and the number of commits.

use proptest::prelude::*;

use super::*;

/// A sender that has a message every `every`, may have `window` of them under way, and hears an answer `away` after the commit.
#[derive(Clone, Copy, Debug)]
struct Sends {
    every: Duration,
    window: usize,
    away: Duration,
}

#[derive(Debug)]
struct Outcome {
    messages: usize,
    commits: usize,
    /// From when a message could be had to its commit.
    longest_wait: Duration,
}

const SYNC: Duration = Duration::from_millis(1);
const SECONDS: u64 = 60;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A minute with one sender; a commit waits for `longest` at most, as the writer does it.
fn play(sends: Sends, longest: Duration) -> Outcome {
    let sender: Sender = (SourceName::default(), None);
    let mut pace = Pace::default();
    let start = Instant::now();
    let end = start + Duration::from_secs(SECONDS);
    let (mut sent, mut answered) = (0_usize, 0_usize);
    let mut free_again = start;
    let mut last = None;
    let mut outcome = Outcome {
        messages: 0,
        commits: 0,
        longest_wait: Duration::ZERO,
    };
    let had_at = |n: usize| start + sends.every * u32::try_from(n).unwrap();
    // When the next message reaches the journal, if it may be sent.
    let next = |sent: usize, answered: usize, free_again: Instant| {
        let allowed = if sends.window == usize::MAX {
            start
        } else {
            free_again
        };
        (sent - answered < sends.window).then(|| had_at(sent).max(allowed))
    };
    while let Some(first) = next(sent, answered, free_again).filter(|at| *at < end) {
        let mut now = first.max(last.unwrap_or(start));
        pace.came(sender.clone(), 1, false, now);
        sent += 1;
        loop {
            let latest = last.map_or(now, |at| at + longest);
            let due = pace.due().map_or(latest, |due| due.min(latest)).max(now);
            match next(sent, answered, free_again) {
                Some(at) if at.max(now) <= due => {
                    now = at.max(now);
                    pace.came(sender.clone(), 1, false, now);
                    sent += 1;
                }
                _ => {
                    now = due;
                    break;
                }
            }
        }
        let ended = now + SYNC;
        pace.committed(now, ended);
        outcome.longest_wait = outcome.longest_wait.max(ended - had_at(answered));
        outcome.messages = sent;
        outcome.commits += 1;
        answered = sent;
        last = Some(ended);
        free_again = ended + sends.away;
    }
    outcome
}

#[test]
fn who_goes_on_sending_is_gathered_for_as_long_as_allowed() {
    for every in [1, 3, 10, 40, 100] {
        let free = Sends {
            every: ms(every),
            window: usize::MAX,
            away: ms(1),
        };
        let outcome = play(free, ms(500));
        assert!(
            outcome.commits <= 125,
            "every {every} ms: two commits a second: {outcome:?}"
        );
    }
}

#[test]
fn who_may_have_only_so_many_under_way_keeps_its_rate() {
    for window in [1, 2, 20, 100] {
        for away in [0, 1, 20, 100] {
            let greedy = Sends {
                every: Duration::ZERO,
                window,
                away: ms(away),
            };
            let outcome = play(greedy, ms(500));
            let possible = window as u64 * SECONDS * 1_000 / (1 + away);
            assert!(
                outcome.messages as u64 * 10 > possible * 8,
                "window {window}, {away} ms away: of {possible} {outcome:?}"
            );
        }
    }
}

#[test]
fn a_window_of_twenty_that_is_wide_enough_costs_one_commit_each_twenty_and_no_backlog() {
    let mosquitto = Sends {
        every: ms(10),
        window: 20,
        away: ms(1),
    };
    let outcome = play(mosquitto, ms(500));
    assert!(outcome.messages >= 5_900, "{outcome:?}");
    assert!(outcome.commits <= outcome.messages / 20 + 30, "{outcome:?}");
    assert!(
        outcome.longest_wait < ms(1_600),
        "while it is learned: {outcome:?}"
    );
}

#[test]
fn a_limit_that_was_raised_or_mistaken_is_unlearned() {
    let sender: Sender = (SourceName::default(), None);
    let mut pace = Pace::default();
    let mut now = Instant::now();
    // Held back at one, twice.
    for _ in 0..3 {
        now += ms(1);
        pace.came(sender.clone(), 1, false, now);
        now += ms(500);
        pace.committed(now, now);
    }
    now += ms(1);
    pace.came(sender.clone(), 1, false, now);
    assert_eq!(pace.due(), Some(now), "its group goes at once");
    pace.committed(now, now);
    // From now on it sends every 10 ms whatever happens.
    let mut commits = 0;
    while pace.senders[&sender].limit.is_some() {
        now += ms(10);
        pace.came(sender.clone(), 1, false, now);
        if pace.due().is_some_and(|due| due <= now) {
            pace.committed(now, now);
            commits += 1;
        }
        assert!(commits < 100, "it stays learned");
        if pace.senders[&sender].under_way > 100 {
            pace.committed(now, now);
        }
    }
}

#[test]
fn what_was_sent_before_the_answer_says_nothing_about_it() {
    let sender: Sender = (SourceName::default(), None);
    let mut pace = Pace::default();
    let mut now = Instant::now();
    for _ in 0..20 {
        pace.came(sender.clone(), 1, true, now);
        now += ms(500);
        pace.committed(now, now);
    }
    assert!(pace.senders[&sender].limit.is_none());
}

#[test]
fn no_more_senders_are_known_than_said() {
    let mut pace = Pace::default();
    let now = Instant::now();
    for n in 0..10 * MAX_SENDERS {
        let peer = SmolStr::from(n.to_string());
        pace.came((SourceName::default(), Some(peer)), 1, false, now);
        pace.committed(now, now);
        assert!(pace.senders.len() <= MAX_SENDERS && pace.group.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_sender_its_rate_is_at_least_two_fifths_of_what_it_could_be(
        every in 0_u64..50, window in 1_usize..200, away in 0_u64..100, longest in 20_u64..700,
    ) {
        let sends = Sends { every: ms(every), window, away: ms(away) };
        let outcome = play(sends, ms(longest));
        let by_window = window as u64 * SECONDS * 1_000 / (1 + away);
        let possible = (SECONDS * 1_000).checked_div(every).map_or(by_window, |n| n.min(by_window));
        prop_assert!(outcome.messages as u64 * 5 >= 2 * possible.saturating_sub(2 * window as u64), "of {} {:?}", possible, outcome);
    }
}
