//! What came before the clock was set.

use super::*;
use crate::{
    clock::Clock,
    model::{Boot, Stamps},
};

const SECOND: i64 = 1_000_000_000;
/// When the machine booted for the last time.
const BOOTED: i64 = 1_800_000_000 * SECOND;
const NOW: (Boot, i64) = (Boot(0xfeed), 95);

/// This boot, so many seconds after it; the clock is set.
fn clock() -> Clock {
    let (boot, second) = NOW;
    let since_boot = Duration::from_secs(second.unsigned_abs());
    Clock::manual_after_boot(boot, since_boot, Timestamp(BOOTED + second * SECOND))
}

/// One reading of a boot, so many seconds after it, that came without a time of its own.
fn since_boot(boot: Boot, second: i64) -> Batch {
    let mut batch = numbered(second, 1);
    batch.stamps = Stamps::SinceBoot(boot);
    batch.readings[0].time = Timestamp(second * SECOND);
    batch.readings[0].received = Timestamp(second * SECOND);
    batch
}

/// Number, time and quality of everything that a cursor sees.
async fn seen(journal: &Journal, name: &str) -> Vec<(i64, Timestamp, Quality)> {
    let mut cursor = journal.cursor(name);
    let (mut after, mut seen) = (Position(0), Vec::new());
    while after < cursor.newest() {
        let entries = cursor.read(after, 500).await;
        after = entries.last().unwrap().position;
        for reading in entries
            .into_iter()
            .flat_map(|e| e.batches)
            .flat_map(|b| b.readings)
        {
            let Value::Int(n) = reading.value else {
                panic!("not a numbered reading");
            };
            seen.push((n, reading.time, reading.quality));
        }
    }
    seen
}

#[tokio::test]
async fn readings_from_before_the_clock_was_set_come_once_and_with_their_right_times() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path());
    let unset = Clock::manual_after_boot(NOW.0, Duration::from_secs(1), Timestamp(0));
    for second in 1..=90 {
        open.submit(since_boot(NOW.0, second)).await;
    }
    // One that its sender had stamped does not wait.
    let mut own = numbered(1_000, 1);
    own.stamps = Stamps::SinceBoot(NOW.0);
    own.readings[0].received = Timestamp(91 * SECOND);
    let own_time = own.readings[0].time;
    open.submit(own).await;
    open.journal.restamp(&unset).await.unwrap();
    let own = (1_000, own_time, Quality::Good);
    assert_eq!(seen(&open.journal, "early").await, [own]);
    let status = open.journal.status();
    assert_eq!(status.awaiting_clock, 90);
    assert!(status.cursors.contains(&("clock".into(), 91)), "{status:?}");

    open.journal.restamp(&clock()).await.unwrap();
    let expected: Vec<_> = std::iter::once(own)
        .chain((1..=90).map(|n| (n, Timestamp(BOOTED + n * SECOND), Quality::Good)))
        .collect();
    assert_eq!(seen(&open.journal, "late").await, expected);
    let status = open.journal.status();
    assert_eq!(status.awaiting_clock, 0);
    assert!(!open.journal.awaits_clock());
    assert!(status.cursors.iter().all(|(name, _)| name != "clock"));
    open.journal.restamp(&clock()).await.unwrap();
    assert_eq!(open.journal.status().newest, status.newest, "only once");
}

#[tokio::test]
async fn a_crash_while_they_get_their_times_loses_and_repeats_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = open(dir.path());
    // Several batches in a record, and so many readings that they take several rounds.
    for chunk in 0..60 {
        let mut last = None;
        for n in 1..=100 {
            last = Some(open.queue(since_boot(NOW.0, chunk * 100 + n)).await);
        }
        last.unwrap().await.unwrap();
    }
    let mut crashed = vec![copy(dir.path())];
    let journal = open.journal.clone();
    let mut restamping = tokio::spawn(async move { journal.restamp(&clock()).await });
    loop {
        let committed = tokio::select! {
            committed = open.committed.recv() => committed.unwrap(),
            done = &mut restamping => {
                done.unwrap().unwrap();
                break;
            }
        };
        let stamps = committed.batches.first().map(|batch| batch.stamps);
        if crashed.len() < 6 && matches!(stamps, Some(Stamps::Restamped { .. })) {
            crashed.push(copy(dir.path()));
        }
    }
    crashed.push(copy(dir.path()));
    let expected: Vec<_> = (1..=6_000)
        .map(|n| (n, Timestamp(BOOTED + n * SECOND), Quality::Good))
        .collect();
    for dir in crashed {
        let open = super::open(dir.path());
        drop(open.entries());
        open.journal.restamp(&clock()).await.unwrap();
        assert!(
            seen(&open.journal, "any").await == expected,
            "not each one once"
        );
    }
}

#[tokio::test]
async fn a_crash_half_way_whose_done_originals_are_swept_leaves_the_rest_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let right = |n| Timestamp(BOOTED + n * SECOND);
    for n in 1..=5 {
        first.submit(since_boot(NOW.0, n)).await;
    }
    // What closes the first segment, so that it can go alone.
    for n in 0..100 {
        first.submit(numbered(1_000 + n, 20)).await;
    }
    let mut waiting = Vec::new();
    for n in 6..=10 {
        waiting.push(first.submit(since_boot(NOW.0, n)).await);
    }
    for n in 1..=5 {
        let mut done = numbered(n, 1);
        done.readings[0].time = right(n);
        done.stamps = Stamps::Restamped {
            from: n.unsigned_abs(),
            boot: NOW.0,
            booted_at: Timestamp(BOOTED),
        };
        first.submit(done).await;
    }
    drop(first);
    std::fs::remove_file(dir.path().join(segment::name(1))).unwrap();
    let open = reopened(dir.path()).await;
    drop(open.entries());
    let status = open.journal.status();
    assert_eq!(status.awaiting_clock, 5);
    let held = open.journal.backlog("clock").records();
    assert_eq!(held, status.newest - (waiting[0].0 - 1));
    open.journal.restamp(&clock()).await.unwrap();
    let found = seen(&open.journal, "any").await;
    let found: Vec<_> = found.into_iter().filter(|(n, ..)| *n < 1_000).collect();
    let expected: Vec<_> = (1..=10).map(|n| (n, right(n), Quality::Good)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_copy_whose_original_is_damaged_takes_no_other_from_the_rest() {
    let mut unset = restamp::Unset::default();
    let done = |n: i64| {
        let mut done = numbered(n, 1);
        done.stamps = Stamps::Restamped {
            from: n.unsigned_abs(),
            boot: NOW.0,
            booted_at: Timestamp(BOOTED),
        };
        done
    };
    unset.note(1, &[since_boot(NOW.0, 1), since_boot(NOW.0, 1)]);
    unset.note(3, &[since_boot(NOW.0, 3)]);
    unset.note(4, &[done(1), done(1)]);
    unset.note(5, &[done(2)]);
    assert_eq!(unset.first(), Some(3), "it still waits");
    unset.note(6, &[done(3)]);
    assert_eq!((unset.first(), unset.readings()), (None, 0));
}

#[tokio::test]
async fn what_was_restamped_in_part_keeps_its_boots_time_after_the_next_boot() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for second in 1..=3 {
        first.submit(since_boot(Boot(1), second)).await;
    }
    // The first of them was restamped, then the machine went down.
    let mut done = numbered(1, 1);
    let booted_at = Timestamp(BOOTED - 1_000_000 * SECOND);
    done.stamps = Stamps::Restamped {
        from: 1,
        boot: Boot(1),
        booted_at,
    };
    first.submit(done).await;
    drop(first);
    let open = reopened(dir.path()).await;
    drop(open.entries());
    assert_eq!(open.journal.status().awaiting_clock, 2);
    open.journal.restamp(&clock()).await.unwrap();
    let found = seen(&open.journal, "any").await;
    let right = |n| (n, Timestamp(booted_at.0 + n * SECOND), Quality::Good);
    assert_eq!(found[1..], [right(2), right(3)]);
}

#[tokio::test]
async fn a_boot_whose_clock_was_never_set_is_placed_before_the_next_and_stays_uncertain() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for (boot, second) in [
        (Boot(1), 10),
        (Boot(1), 100),
        (Boot(2), 50),
        (Boot(2), 60),
        (NOW.0, 5),
    ] {
        first.submit(since_boot(boot, second)).await;
    }
    drop(first);
    let open = reopened(dir.path()).await;
    drop(open.entries());
    open.journal.restamp(&clock()).await.unwrap();
    // The last of a boot lies a nanosecond before the next boot; the others keep their distance to it.
    let second_boot = BOOTED - 1 - 60 * SECOND;
    let first_boot = second_boot - 1 - 100 * SECOND;
    let at = |n: i64, boot: i64, quality| (n, Timestamp(boot + n * SECOND), quality);
    assert_eq!(
        seen(&open.journal, "any").await,
        [
            at(10, first_boot, Quality::Uncertain),
            at(100, first_boot, Quality::Uncertain),
            at(50, second_boot, Quality::Uncertain),
            at(60, second_boot, Quality::Uncertain),
            at(5, BOOTED, Quality::Good),
        ]
    );
}

#[tokio::test]
async fn what_waits_for_the_clock_is_held_and_goes_at_the_byte_limit_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        keep_bytes: 0,
        max_bytes: 64 << 10,
        ..small()
    };
    let open = open_with(dir.path(), config);
    let mut cursor = open.journal.cursor("archive");
    for archive in ["archive", "other"] {
        open.journal.tallies().open(archive);
    }
    open.submit(since_boot(NOW.0, 1)).await;
    let fill = async |cursor: &mut Cursor, records| {
        for n in 0..records {
            let at = open.submit(numbered(n, 20)).await;
            cursor.advance(at).await.unwrap();
        }
    };
    fill(&mut cursor, 200).await;
    assert_eq!(open.journal.status().oldest, 1, "it is held");
    fill(&mut cursor, 1_000).await;
    let status = open.journal.status();
    assert!(status.oldest > 1 && status.dropped_unread > 0, "{status:?}");
    // No archive will have it, wherever it is.
    assert_eq!(status.awaiting_clock, 0);
    for archive in ["archive", "other"] {
        let books = open.journal.tallies().of(archive).unwrap();
        assert_eq!(books[&numbered(0, 1).source].dropped, 1, "{archive}");
    }
    // There is nothing left to restamp, and nothing waits for ever.
    open.journal.restamp(&clock()).await.unwrap();
    assert_eq!(open.journal.status().awaiting_clock, 0);
}

/// A segment as a gateway wrote it before batches said by what clock they were stamped: position 7, two batches.
const FIRST_FORMAT: &str = "67776a726e6c0d0a01000000070000000000000035706eb4fe524543510000000700000000000000\
    040000005338099e42aa6030010005706c616e740200010470756d700204666c6f770103054c2f6d696e03828090c3b6a4eab331d00f\
    000000000000f83f006a020d04046c696e6502010105057374617465001402d00f026f6e004102";

#[tokio::test]
async fn a_journal_of_the_first_format_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..FIRST_FORMAT.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&FIRST_FORMAT[at..at + 2], 16).unwrap())
        .collect();
    std::fs::write(dir.path().join("00000000000000000007.seg"), bytes).unwrap();
    let open = open(dir.path());
    let position = open.submit(numbered(5, 1)).await;
    assert_eq!(position, Position(8));
    let entries = open.entries();
    assert_eq!(entries.len(), 2);
    let [plant, line] = &entries[0].batches[..] else {
        panic!("not two batches: {entries:?}");
    };
    assert_eq!(
        (plant.source.0.as_str(), line.source.0.as_str()),
        ("plant", "line")
    );
    assert!(entries[0].batches.iter().all(|b| b.stamps == Stamps::Set));
    let all: Vec<_> = plant.readings.iter().chain(&line.readings).collect();
    let keys: Vec<_> = all.iter().map(|r| r.series.to_string()).collect();
    assert_eq!(keys, ["pump/flow", "pump/flow", "pump/state", "pump/flow"]);
    let values: Vec<_> = all.iter().map(|r| r.value.clone()).collect();
    let text = Value::Text("on".into());
    assert_eq!(
        values,
        [Value::Float(1.5), Value::Int(-7), text, Value::Bool(true)]
    );
    for (n, reading) in (1..).zip(all) {
        assert_eq!(reading.time.0, 1_780_000_000_000_000_000 + n);
        assert_eq!(reading.received.0 - reading.time.0, n % 2 * 1_000);
        assert_eq!(reading.retained, n == 2);
    }
}
