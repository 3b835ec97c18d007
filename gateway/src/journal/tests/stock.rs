//! What archives have yet to do at the start.

use std::collections::BTreeMap;

use super::*;
use crate::{
    journal::format::{self, tests::any_stamped_batch},
    model::Stamps,
};

type Counts = BTreeMap<SourceName, u64>;

fn of_source(source: &str, n: i64, readings: usize) -> Batch {
    Batch {
        source: SourceName(source.into()),
        ..numbered(n, readings)
    }
}

/// Records of three sources in many small segments.
async fn filled(dir: &Path) -> Open {
    let open = open(dir);
    for n in 0..300 {
        let source = ["a", "b", "c"][n as usize % 3];
        open.submit(of_source(source, n, 4)).await;
    }
    assert!(open.journal.status().segments > 4, "several segments");
    open
}

/// As counted at the start for one archive, without what is 0.
fn carried_over(journal: &Journal, done: Option<Position>) -> Counts {
    journal.tallies().open("archive");
    journal.take_stock(&[("archive", done)]);
    let books = journal.tallies().of("archive").unwrap();
    let counts = books.into_iter().map(|(s, tally)| (s, tally.carried_over));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// What it must be, by reading everything.
fn by_reading(open: &Open, undone: impl Fn(u64) -> bool) -> Counts {
    let mut counts = Counts::new();
    open.journal.replay(Position(0), &mut |entry| {
        for batch in entry.batches.iter().filter(|_| undone(entry.position.0)) {
            *counts.entry(batch.source.clone()).or_default() += batch.archivable();
        }
    });
    counts.retain(|_, count| *count > 0);
    counts
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = segment::list(dir).unwrap().into_iter();
    all.map(|first| dir.join(segment::name(first))).collect()
}

/// Another byte in the first record's body.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[format::SEGMENT_HEADER + format::RECORD_HEADER + 3] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

/// What a cursor gets of each source when it reads to the end.
async fn read_all(journal: &Journal, name: &str) -> Counts {
    let mut cursor = journal.cursor(name);
    let (mut after, mut counts) = (Position(0), Counts::new());
    while after < cursor.newest() {
        let entries = cursor.read(after, 500).await;
        after = entries.last().unwrap().position;
        for batch in entries.iter().flat_map(|entry| &entry.batches) {
            *counts.entry(batch.source.clone()).or_default() += batch.archivable();
        }
        cursor.advance(after).await.unwrap();
    }
    counts
}

#[tokio::test]
async fn closed_segments_are_counted_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.journal.close().await;
    // Who reads it finds 4 readings of "a" missing.
    damage(&segments(dir.path())[0]);
    let again = open(dir.path());
    let counts = carried_over(&again.journal, Some(Position(0)));
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [400; 3]);
    assert_eq!(again.journal.status().damaged_records, 0, "it was not read");
}

#[tokio::test]
async fn what_was_counted_and_turns_out_to_be_damaged_is_dropped_once_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.journal.close().await;
    damage(&segments(dir.path())[1]);
    let again = open(dir.path());
    carried_over(&again.journal, Some(Position(0)));
    for _ in 0..2 {
        let read = read_all(&again.journal, "archive").await;
        assert_eq!(read.values().sum::<u64>(), 1_196);
        for (source, tally) in again.journal.tallies().of("archive").unwrap() {
            assert_eq!(
                tally.carried_over,
                read[&source] + tally.dropped,
                "{source:?} balances"
            );
        }
    }
    // A segment of which one archive has done a part is read, and so are all archives' shares of it.
    let third = open_copy(dir.path());
    carried_over(&third.journal, Some(Position(1)));
    assert_eq!(third.journal.status().damaged_records, 0);
    let newest = third.journal.newest_and_next().0;
    assert_eq!(
        carried_over(&open_copy(dir.path()).journal, Some(newest)),
        Counts::new()
    );
}

fn open_copy(dir: &Path) -> Open {
    // Kept on purpose: the test is short.
    open(&copy(dir).keep())
}

#[tokio::test]
async fn damage_in_what_the_byte_limit_takes_unread_is_dropped_with_it() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.journal.close().await;
    damage(&segments(dir.path())[0]);
    let config = Config {
        max_bytes: 16_384,
        ..small()
    };
    let again = open_with(dir.path(), config);
    let cursor = again.journal.cursor("archive");
    let carried = carried_over(&again.journal, None);
    assert_eq!(carried.values().sum::<u64>(), 1_200);
    let mut accepted = 0;
    while again.journal.status().segments > 0 && again.journal.oldest() <= Position(300) {
        again.submit(of_source("d", 1, 50)).await;
        accepted += 50;
    }
    let tallies = again.journal.tallies().of("archive").unwrap();
    let dropped: u64 = tallies.values().map(|tally| tally.dropped).sum();
    let left = read_all(&again.journal, "another").await;
    assert_eq!(1_200 + accepted, dropped + left.values().sum::<u64>());
    drop(cursor);
}

#[tokio::test]
async fn a_summary_that_is_damaged_or_not_there_is_made_from_the_records() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await.journal.close().await;
    let all = segments(dir.path());
    let mut bytes = std::fs::read(&all[0]).unwrap();
    let at = bytes.len() - format::FOOTER - 2;
    bytes[at] ^= 1;
    std::fs::write(&all[0], bytes).unwrap();
    // As older gateways ended a segment.
    let mut bytes = std::fs::read(&all[1]).unwrap();
    let footer = format::Footer::read(&bytes[bytes.len() - format::FOOTER..]).unwrap();
    bytes.truncate(footer.end as usize);
    bytes.extend_from_slice(&format::tests::old_footer(&footer));
    std::fs::write(&all[1], bytes).unwrap();
    // Without an end, as after a crash.
    let mut bytes = std::fs::read(&all[2]).unwrap();
    bytes.truncate(bytes.len() - format::FOOTER - 1);
    std::fs::write(&all[2], bytes).unwrap();
    let again = open(dir.path());
    assert_eq!(again.recovery.records, 300);
    assert_eq!(again.recovery.damaged_records, 0);
    let counts = carried_over(&again.journal, Some(Position(0)));
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [400; 3]);
    assert_eq!(numbers(&again.entries()).len(), 300);
    assert_eq!(again.journal.status().damaged_records, 0);
}

#[tokio::test]
async fn a_segment_that_two_runs_wrote_says_what_both_put_into_it() {
    let dir = tempfile::tempdir().unwrap();
    for (n, source) in [(1, "first"), (2, "second")] {
        let open = open(dir.path());
        open.submit(of_source(source, n, 3)).await;
        open.journal.close().await;
    }
    let last = open(dir.path());
    for n in 0..200 {
        last.submit(of_source("third", n, 1)).await;
    }
    let first = &segments(dir.path())[0];
    let summary = segment::summary(first).unwrap().unwrap();
    assert_eq!(summary.sources[&SourceName("first".into())], 3);
    assert_eq!(summary.sources[&SourceName("second".into())], 3);
    assert!(summary.sources[&SourceName("third".into())] > 0);
    last.journal.close().await;
}

#[tokio::test]
async fn the_replay_begins_where_so_much_as_is_kept_lies_behind() {
    let dir = tempfile::tempdir().unwrap();
    let running = filled(dir.path()).await;
    assert_eq!(running.journal.kept_from(), Position(0), "all is kept");
    running.journal.close().await;
    let config = Config {
        keep_bytes: 10_000,
        ..small()
    };
    let again = open_with(dir.path(), config);
    let from = again.journal.kept_from();
    assert!(from > Position(100), "{from:?}");
    let kept = again.journal.bytes_after(from);
    assert!((10_000..20_000).contains(&kept), "{kept}");
    let mut positions = Vec::new();
    let mut each = |entry: Entry| positions.push(entry.position.0);
    again.journal.replay(from, &mut each);
    assert_eq!(positions, (from.0 + 1..=300).collect::<Vec<_>>());
    let newest = again.journal.before_newest(100);
    assert!(newest > from && newest < Position(276), "{newest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is in the journal and however far the archive is: as many as reading everything would find.
    #[test]
    fn stock_is_what_reading_everything_finds(
        batches in proptest::collection::vec(any_stamped_batch(), 20..60),
        read in 0..50_u64, left in 0..50_u64, filled in 0..50_u64,
    ) {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let running = open_with(dir.path(), Config { segment_bytes: 600, ..small() });
            let mut cursor = running.journal.cursor("archive");
            for (n, batch) in batches.into_iter().enumerate() {
                let position = running.submit(batch).await;
                if n as u64 == read { cursor.advance(position).await.unwrap(); }
                if n as u64 == left.max(read) { cursor.leave_backlog().await.unwrap(); }
            }
            cursor.fill(Position(filled)).await.unwrap();
            running.journal.close().await;
            drop(cursor);
            let again = open_copy(dir.path());
            let cursor = again.journal.cursor("archive");
            let expected = by_reading(&again, |at| cursor.is_undone(Position(at)));
            let mut expected = expected;
            // What waits for the clock is to be done wherever the archive is.
            let mut awaiting: BTreeMap<u64, Counts> = BTreeMap::new();
            again.journal.replay(Position(0), &mut |entry| {
                for batch in &entry.batches {
                    if let Stamps::Restamped { from, .. } = batch.stamps {
                        awaiting.remove(&from);
                    }
                    let count = batch.readings.iter().filter(|r| batch.is_provisional(r)).count() as u64;
                    let counts = awaiting.entry(entry.position.0).or_default();
                    *counts.entry(batch.source.clone()).or_default() += count;
                }
            });
            for (source, count) in awaiting.into_values().flatten().filter(|(_, count)| *count > 0) {
                *expected.entry(source).or_default() += count;
            }
            let seen = carried_over(&again.journal, None);
            prop_assert_eq!(seen, expected);
            Ok(())
        })?;
    }
}
