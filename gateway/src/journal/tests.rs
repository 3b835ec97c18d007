use std::{
    fs::File,
    io,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{disk::faults, format::tests::any_batch, *};
use crate::model::{
    DeviceId, Metric, Presence, Quality, Reading, SeriesKey, SourceName, Timestamp, Value,
};

mod rhythm;
mod stamps;
mod stock;

const DEADLINE: Duration = Duration::from_secs(20);

fn small() -> Config {
    Config {
        max_bytes: 64 << 20,
        keep_bytes: 32 << 20,
        segment_bytes: 4096,
        commit_prompt: Rhythm::Fixed(Duration::from_millis(2)),
        commit_patient: Duration::from_millis(200),
        note_every: Duration::ZERO,
    }
}

struct Open {
    journal: Journal,
    committed: mpsc::Receiver<Committed>,
    recovery: Recovery,
}

fn open_with(dir: &Path, config: Config) -> Open {
    let (sender, committed) = mpsc::channel(100_000);
    let (journal, recovery) =
        Journal::open(config, dir, sender, &mut Registry::default()).expect("opens");
    Open {
        journal,
        committed,
        recovery,
    }
}

fn open(dir: &Path) -> Open {
    open_with(dir, small())
}

/// Opens again once the thread of the journal before, which was dropped without closing, has let go.
async fn reopened(dir: &Path) -> Open {
    let lock = File::open(dir.join("lock")).unwrap();
    tokio::task::spawn_blocking(move || lock.lock().unwrap())
        .await
        .unwrap();
    open(dir)
}

fn numbered(n: i64, readings: usize) -> Batch {
    let reading = |i: usize| Reading {
        series: SeriesKey {
            device: DeviceId("pump".into()),
            metric: Metric("count".into()),
        },
        value: Value::Int(n),
        unit: None,
        quality: Quality::Good,
        time: Timestamp(1_780_000_000_000_000_000 + n * 1_000_000 + i as i64),
        received: Timestamp(1_780_000_000_000_000_000 + n * 1_000_000),
        retained: false,
    };
    Batch {
        source: SourceName("test".into()),
        peer: None,
        readings: (0..readings).map(reading).collect(),
        ..Batch::default()
    }
}

fn numbers(entries: &[Entry]) -> Vec<i64> {
    entries
        .iter()
        .flat_map(|e| &e.batches)
        .flat_map(|b| b.readings.first())
        .map(|r| match r.value {
            Value::Int(n) => n,
            _ => panic!("not a numbered reading"),
        })
        .collect()
}

impl Open {
    async fn queue(&self, batch: Batch) -> oneshot::Receiver<Position> {
        let (sender, receiver) = oneshot::channel();
        let call: OnDurable = Box::new(move |position| sender.send(position).unwrap_or_default());
        self.journal.submit(batch, call).await.expect("taken");
        receiver
    }

    async fn submit(&self, batch: Batch) -> Position {
        let durable = self.queue(batch).await;
        tokio::time::timeout(DEADLINE, durable)
            .await
            .expect("durable in time")
            .expect("durable")
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.journal.take_stock(&[]);
        self.journal
            .replay(Position(0), &mut |entry| entries.push(entry));
        entries
    }

    async fn until(&self, what: &str, holds: impl Fn(&JournalStatus) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !holds(&self.journal.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.journal.status());
    }
}

/// What a killed process leaves behind.
fn copy(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match std::fs::copy(entry.path(), to.path().join(entry.file_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
    to
}

fn newest_segment(dir: &Path) -> PathBuf {
    let first = segment::list(dir).unwrap().pop().expect("a segment");
    dir.join(segment::name(first))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn strictly_growing(entries: &[Entry]) -> bool {
    entries.is_sorted_by(|a, b| a.position < b.position)
}

#[tokio::test]
async fn what_was_called_durable_is_there_after_a_restart_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for n in 0..200 {
        assert_eq!(first.submit(numbered(n, 3)).await, Position(n as u64 + 1));
    }
    first.journal.close().await;
    let second = open(dir.path());
    assert_eq!(second.recovery.records, 200);
    assert_eq!(second.recovery.torn_bytes, 0);
    assert!(second.journal.status().segments > 1, "several segments");
    assert_eq!(numbers(&second.entries()), (0..200).collect::<Vec<_>>());
    assert_eq!(second.submit(numbered(200, 1)).await, Position(201));
}

#[tokio::test]
async fn the_engine_gets_every_batch_in_the_order_of_submission_and_grouped() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = open_with(dir.path(), Config::default());
    let mut last = None;
    for n in 0..2_000 {
        let batch = if n % 10 == 0 {
            // Nothing to write, but its place in the order counts.
            Batch {
                presence: vec![Presence {
                    peer: format!("{n}").into(),
                    online: true,
                    at: Timestamp(n),
                }],
                ..numbered(n, 0)
            }
        } else {
            numbered(n, 1)
        };
        last = Some(open.queue(batch).await);
    }
    last.unwrap().await.unwrap();
    let (mut seen, mut records) = (Vec::new(), 0);
    while seen.len() < 2_000 {
        let committed = open.committed.recv().await.unwrap();
        records += 1;
        seen.extend(committed.batches.iter().map(|b| {
            b.presence.first().map_or_else(
                || b.readings[0].value.clone(),
                |p| Value::Int(p.peer.parse().unwrap()),
            )
        }));
    }
    assert_eq!(seen, (0..2_000).map(Value::Int).collect::<Vec<_>>());
    assert!(records < 1_000, "grouped, not one by one: {records}");
    assert_eq!(
        numbers(&open.entries()).len(),
        1_800,
        "presence is not journalled"
    );
}

#[tokio::test]
async fn an_empty_batch_is_durable_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path());
    assert_eq!(open.submit(numbered(0, 0)).await, Position(0));
    assert_eq!(open.journal.status().segments, 0);
}

#[tokio::test]
async fn a_second_gateway_is_kept_out_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let (sender, _committed) = mpsc::channel(1);
    let second = Journal::open(small(), dir.path(), sender, &mut Registry::default());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    first.journal.close().await;
    assert_eq!(open(dir.path()).recovery, Recovery::default());
}

#[tokio::test]
async fn after_closing_nothing_is_taken_and_all_that_was_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path());
    let mut waiting = Vec::new();
    for n in 0..100 {
        waiting.push(open.queue(numbered(n, 1)).await);
    }
    open.journal.close().await;
    for durable in waiting {
        durable.await.expect("durable before the end");
    }
    let refused = open.journal.submit(numbered(1, 1), Box::new(|_| ())).await;
    assert_eq!(refused, Err(Closed));
    open.journal.close().await;
}

#[tokio::test]
async fn a_killed_process_leaves_everything_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = Arc::new(open(dir.path()));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let submitter = tokio::spawn({
        let (running, acknowledged) = (Arc::clone(&running), Arc::clone(&acknowledged));
        async move {
            for n in 0..600 {
                let counter = Arc::clone(&acknowledged);
                let call: OnDurable = Box::new(move |_| {
                    counter.fetch_add(1, Ordering::SeqCst);
                });
                running.journal.submit(numbered(n, 2), call).await.unwrap();
            }
        }
    });
    let mut kills = 0;
    while !submitter.is_finished() || kills == 0 {
        let before = acknowledged.load(Ordering::SeqCst);
        let left = copy(dir.path());
        let after = open(left.path());
        let found = numbers(&after.entries());
        assert!(found.len() as u64 >= before, "{} of {before}", found.len());
        assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
        kills += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("killed {kills} times");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_cut_anywhere_in_the_tail_loses_only_what_was_never_durable(
        batches in proptest::collection::vec(any_batch(), 2..6),
        alone in proptest::collection::vec(any::<bool>(), 6),
    ) {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let running = open_with(dir.path(), Config { segment_bytes: 1 << 20, ..small() });
            let (torn, whole) = batches.split_last().unwrap();
            let mut waiting = Vec::new();
            for (batch, alone) in whole.iter().zip(alone) {
                let durable = running.queue(batch.clone()).await;
                if alone { durable.await.unwrap(); } else { waiting.push(durable); }
            }
            for durable in waiting { durable.await.unwrap(); }
            let durable_end = std::fs::metadata(newest_segment(dir.path())).unwrap().len();
            running.submit(torn.clone()).await;
            let end = std::fs::metadata(newest_segment(dir.path())).unwrap().len();

            for cut in durable_end..end {
                let left = copy(dir.path());
                let file = File::options().write(true).open(newest_segment(left.path())).unwrap();
                file.set_len(cut).unwrap();
                let again = open(left.path());
                let entries = again.entries();
                let found: Vec<Batch> = entries.iter().flat_map(|e| e.batches.clone()).collect();
                assert_eq!(found, whole);
                assert!(strictly_growing(&entries));
                assert_eq!(again.recovery.torn_bytes, cut - durable_end);
                drop(again);
                // Or the file has its length, but the data never came.
                let zeroed = copy(dir.path());
                let path = newest_segment(zeroed.path());
                let before = std::fs::read(&path).unwrap();
                let mut bytes = before.clone();
                bytes[usize::try_from(cut).unwrap()..].fill(0);
                std::fs::write(&path, &bytes).unwrap();
                let found: Vec<Batch> =
                    open(zeroed.path()).entries().into_iter().flat_map(|e| e.batches).collect();
                assert_eq!(found, if bytes == before { &batches[..] } else { whole });
                // Every so often the life after it, which costs syncs.
                if cut % 16 == 0 {
                    let again = reopened(left.path()).await;
                    let newest = entries.last().unwrap().position;
                    assert!(again.submit(torn.clone()).await > newest);
                    again.journal.close().await;
                    let third = open(left.path());
                    let entries = third.entries();
                    let found: Vec<Batch> = entries.iter().flat_map(|e| e.batches.clone()).collect();
                    assert_eq!(found, batches);
                    assert!(strictly_growing(&entries));
                    assert_eq!(third.recovery.torn_bytes, 0);
                }
            }
        });
    }
}

#[tokio::test]
async fn a_damaged_byte_anywhere_costs_only_the_record_that_it_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let running = open(dir.path());
    let mut ends = vec![format::SEGMENT_HEADER as u64];
    for n in 0..5 {
        running.submit(numbered(n, 2)).await;
        ends.push(std::fs::metadata(newest_segment(dir.path())).unwrap().len());
    }
    running.journal.close().await;
    for at in 0..*ends.last().unwrap() {
        let left = copy(dir.path());
        let path = newest_segment(left.path());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        let hit = ends.iter().rposition(|end| *end <= at);
        let expected: Vec<i64> = (0..5).filter(|n| hit != Some(*n as usize)).collect();
        let again = open(left.path());
        assert_eq!(numbers(&again.entries()), expected, "byte {at}");
        let damaged = again.recovery.damaged_records;
        match hit {
            Some(4) => assert!(again.recovery.torn_bytes > 0),
            Some(_) => assert_eq!(damaged, 1, "byte {at}"),
            None => assert_eq!(damaged, 0),
        }
    }
}

#[tokio::test]
async fn files_of_nonsense_never_keep_it_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for n in 0..200 {
        first.submit(numbered(n, 2)).await;
    }
    first.journal.close().await;
    let firsts = segment::list(dir.path()).unwrap();
    assert!(firsts.len() >= 3);
    std::fs::write(dir.path().join(segment::name(firsts[0])), [0xfe; 5000]).unwrap();
    std::fs::write(dir.path().join(segment::name(firsts[1])), b"").unwrap();
    std::fs::write(dir.path().join(segment::name(5000)), b"x").unwrap();
    std::fs::create_dir(dir.path().join(segment::name(6000))).unwrap();
    std::fs::write(dir.path().join("a.cursor"), b"12 nonsense").unwrap();
    std::fs::write(dir.path().join("notes.seg"), b"12 nonsense").unwrap();
    let second = open(dir.path());
    let left = numbers(&second.entries());
    assert_eq!(left, (firsts[2] as i64 - 1..200).collect::<Vec<_>>());
    assert!(second.submit(numbered(200, 1)).await > Position(6000));
    let mut cursor = second.journal.cursor("a");
    assert!(!cursor.read(cursor.position(), 1).await.is_empty());
}

#[tokio::test]
async fn a_number_that_a_reader_saw_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for n in 0..3 {
        first.submit(numbered(n, 1)).await;
    }
    first.journal.close().await;
    // The last record rots: it looks like a torn tail, but somebody has read it.
    let path = newest_segment(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        // Twice: the second start no longer sees the torn bytes.
        let again = open(dir.path());
        again.journal.close().await;
    }
    let second = open(dir.path());
    assert!(second.submit(numbered(3, 1)).await > Position(3));
}

#[tokio::test]
async fn the_numbering_goes_on_when_everything_old_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        keep_bytes: 0,
        ..small()
    };
    let first = open_with(dir.path(), config.clone());
    for n in 0..300 {
        first.submit(numbered(n, 3)).await;
    }
    first.until("old ones go", |s| s.segments <= 2).await;
    first.journal.close().await;
    let second = open_with(dir.path(), config);
    assert_eq!(second.submit(numbered(300, 1)).await, Position(301));
}

#[tokio::test]
async fn a_failing_write_or_sync_delays_the_acknowledgement_and_loses_or_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let faults = faults::of(dir.path());
    let open_once = open(dir.path());
    open_once.submit(numbered(0, 2)).await;
    faults.writes.store(2, Ordering::SeqCst);
    open_once.submit(numbered(1, 2)).await;
    assert_eq!(open_once.journal.status().segments, 1, "truncated back");
    faults.syncs.store(2, Ordering::SeqCst);
    open_once.submit(numbered(2, 2)).await;
    assert_eq!(
        open_once.journal.status().segments,
        2,
        "the tainted file is left"
    );
    open_once.submit(numbered(3, 2)).await;
    assert_eq!(open_once.journal.status().failing, None);
    for (entries, what) in [
        (open_once.entries(), "while running"),
        (open(copy(dir.path()).path()).entries(), "after a kill"),
    ] {
        assert_eq!(numbers(&entries), [0, 1, 2, 3], "{what}");
        assert!(strictly_growing(&entries));
    }
}

#[tokio::test]
async fn closing_while_the_disk_refuses_ends_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path());
    faults::of(dir.path())
        .writes
        .store(u32::MAX, Ordering::SeqCst);
    let durable = open.queue(numbered(0, 1)).await;
    open.until("failing is shown", |s| s.failing.is_some())
        .await;
    tokio::time::timeout(DEADLINE, open.journal.close())
        .await
        .expect("ends");
    assert!(durable.await.is_err(), "dropped uncalled");
}

#[tokio::test]
async fn the_byte_limit_is_hard_and_what_was_unread_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_bytes: 40_000,
        keep_bytes: 0,
        ..small()
    };
    let open = open_with(dir.path(), config);
    let mut cursor = open.journal.cursor("archive");
    for n in 0..1_000 {
        open.submit(numbered(n, 3)).await;
        if n % 50 == 0 {
            let status = open.journal.status();
            assert!(status.bytes <= 40_000, "{status:?}");
            let on_disk: u64 = segment::list(dir.path())
                .unwrap()
                .iter()
                .map(|first| std::fs::metadata(dir.path().join(segment::name(*first))))
                .map(|m| m.unwrap().len())
                .sum();
            assert!(on_disk <= 40_000, "{on_disk}");
        }
    }
    let mut read = Vec::new();
    let mut at = cursor.position();
    while read.len() < 1_000 {
        let entries = cursor.read(at, 100).await;
        at = entries.last().unwrap().position;
        read.extend(numbers(&entries));
        if at == cursor.newest() {
            break;
        }
    }
    let missed = 1_000 - read.len() as u64;
    assert!(missed > 0);
    assert_eq!(cursor.missed(), missed);
    assert_eq!(open.journal.status().dropped_unread, missed * 3);
    assert_eq!(
        read,
        (missed as i64..1_000).collect::<Vec<_>>(),
        "oldest went first"
    );
}

#[tokio::test]
async fn a_half_read_segment_counts_only_its_unread_half() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_bytes: 1,
        keep_bytes: 0,
        ..small()
    };
    let open = open_with(dir.path(), config);
    let mut cursor = open.journal.cursor("archive");
    for n in 0..5 {
        open.submit(numbered(n, 3)).await;
    }
    cursor.advance(Position(3)).await.unwrap();
    let gone = swept(&open).await;
    assert_eq!(open.journal.status().dropped_unread, (gone - 3) * 3);
}

/// A journal that keeps nothing beyond a byte, and an archive that has yet to read five records of three.
async fn behind_by_five(dir: &Path) -> (Open, Cursor, SourceName) {
    let config = Config {
        max_bytes: 1,
        keep_bytes: 0,
        ..small()
    };
    let open = open_with(dir, config);
    open.journal.tallies().open("archive");
    let cursor = open.journal.cursor("archive");
    for n in 0..5 {
        open.submit(numbered(n, 3)).await;
    }
    (open, cursor, numbered(0, 1).source)
}

/// Goes on until the byte limit takes the oldest records; how many.
async fn swept(open: &Open) -> u64 {
    while open.journal.status().oldest == 1 {
        open.submit(numbered(9, 3)).await;
    }
    open.journal.status().oldest - 1
}

#[tokio::test]
async fn what_was_read_and_is_on_its_way_is_not_lost_to_the_byte_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (open, mut cursor, source) = behind_by_five(dir.path()).await;
    // Three records on their way, none of them done with.
    let entries = cursor.read(Position(0), 7).await;
    assert_eq!(entries.last().unwrap().position, Position(3));
    let gone = swept(&open).await;
    assert_eq!(open.journal.status().dropped_unread, (gone - 3) * 3);
    let books = open.journal.tallies().of("archive").unwrap();
    assert_eq!(books[&source].dropped, (gone - 3) * 3);
    cursor.advance(Position(3)).await.unwrap();
}

/// How a cursor comes not to do with what it had in hand.
#[derive(Clone, Copy, Debug)]
enum GivesUp {
    Anew,
    LetGo,
    Seeks,
}

#[tokio::test]
async fn what_was_in_hand_when_it_was_swept_is_lost_when_the_hand_is_given_up() {
    for way in [GivesUp::Anew, GivesUp::LetGo, GivesUp::Seeks] {
        let dir = tempfile::tempdir().unwrap();
        let (open, mut cursor, source) = behind_by_five(dir.path()).await;
        assert_eq!(cursor.read(Position(0), 7).await.len(), 3);
        let gone = swept(&open).await;
        // One of the three was done with after all.
        cursor.advance(Position(1)).await.unwrap();
        let mut again = None;
        match way {
            GivesUp::Anew => again = Some(open.journal.cursor("archive")),
            GivesUp::LetGo => open.journal.let_go("archive"),
            GivesUp::Seeks => cursor.seek(Position(1)),
        }
        let books = open.journal.tallies().of("archive").unwrap();
        assert_eq!(books[&source].dropped, (gone - 1) * 3, "{way:?}");
        let status = open.journal.status();
        assert_eq!(status.dropped_unread, (gone - 1) * 3, "{way:?}");
        // Once.
        drop((cursor, again));
        drop(open.journal.cursor("archive"));
        let books = open.journal.tallies().of("archive").unwrap();
        assert_eq!(books[&source].dropped, (gone - 1) * 3, "{way:?}");
    }
}

#[tokio::test]
async fn what_is_in_hand_behind_stays_in_hand_when_another_backlog_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (open, mut cursor, source) = behind_by_five(dir.path()).await;
    assert!(cursor.leave_backlog().await.unwrap());
    assert_eq!(cursor.read_behind(Position(0), 7).await.len(), 3);
    open.submit(numbered(5, 3)).await;
    assert!(cursor.leave_backlog().await.unwrap());
    let gone = swept(&open).await;
    cursor.fill(Position(3)).await.unwrap();
    let books = open.journal.tallies().of("archive").unwrap();
    assert_eq!(books[&source].dropped, (gone - 3) * 3);
    assert_eq!(open.journal.status().dropped_unread, (gone - 3) * 3);
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_was_left_and_wakes_on_new_records() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for n in 0..10 {
        first.submit(numbered(n, 1)).await;
    }
    let mut cursor = first.journal.cursor("influx main");
    let entries = cursor.read(cursor.position(), 4).await;
    assert_eq!(numbers(&entries), [0, 1, 2, 3]);
    cursor.advance(Position(3)).await.unwrap();
    assert_eq!(first.journal.status().cursors, [("influx main".into(), 7)]);
    first.journal.close().await;

    let second = open(dir.path());
    let mut cursor = second.journal.cursor("influx main");
    assert_eq!(cursor.position(), Position(3));
    let entries = cursor.read(cursor.position(), 1_000).await;
    assert_eq!(numbers(&entries), (3..10).collect::<Vec<_>>());
    let waiting = tokio::spawn(async move {
        let entries = cursor.read(Position(10), 1_000).await;
        (cursor, entries)
    });
    second.submit(numbered(10, 1)).await;
    let (mut cursor, entries) = tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("woken")
        .unwrap();
    assert_eq!(numbers(&entries), [10]);
    // An unfinished read can be dropped, an older place read again.
    let dropped =
        tokio::time::timeout(Duration::from_millis(5), cursor.read(Position(11), 1)).await;
    assert!(dropped.is_err());
    assert_eq!(numbers(&cursor.read(Position(5), 2).await), [5, 6]);
    second.journal.close().await;
    assert_eq!(cursor.read(Position(11), 1).await, []);
}

#[tokio::test]
async fn a_cursor_of_a_journal_that_is_gone_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path());
    for n in 0..3 {
        open.submit(numbered(n, 1)).await;
    }
    let mut cursor = open.journal.cursor("history");
    cursor.seek(Position(900));
    assert_eq!(cursor.position(), Position(0));
    cursor.seek(Position(2));
    assert_eq!(cursor.position(), Position(2));
}

/// A small file system of its own, gone with the value.
struct Mounted(TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|out| out.status.success());
        mounted.then(|| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|s| s.success()));
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_cursors_go_on_and_room_heals_it() {
    let Some(disk) = Mounted::new("size=1m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let config = Config {
        segment_bytes: 64 << 10,
        ..small()
    };
    let open_once = open_with(disk.path(), config.clone());
    let mut cursor = open_once.journal.cursor("archive");
    open_once.submit(numbered(0, 10)).await;
    let filler = disk.path().join("filler");
    let mut full = File::create(&filler).unwrap();
    while io::Write::write_all(&mut full, &[7; 4096]).is_ok() {}

    let mut acknowledged = 1;
    let mut refused = None;
    // The segment's last page still takes a few.
    for n in 1..500 {
        let mut durable = open_once.queue(numbered(n, 10)).await;
        let done = tokio::time::timeout(Duration::from_millis(300), &mut durable).await;
        if done.is_err() {
            refused = Some(durable);
            break;
        }
        acknowledged += 1;
    }
    let refused = refused.expect("a full disk");
    open_once
        .until("it is shown", |s| s.failing.is_some())
        .await;
    let words = open_once.journal.status().failing.unwrap();
    assert!(words.contains("full"), "{words}");
    cursor
        .advance(Position(1))
        .await
        .expect("the reserve has room for this");
    assert_eq!(numbers(&open_once.entries()).len(), acknowledged);

    drop(full);
    std::fs::remove_file(filler).unwrap();
    let position = tokio::time::timeout(DEADLINE, refused)
        .await
        .expect("heals");
    assert_eq!(position.unwrap().0, acknowledged as u64 + 1);
    open_once.until("healed", |s| s.failing.is_none()).await;
    assert!(disk.path().join("reserve").exists(), "made again");
    open_once.journal.close().await;
    let again = open_with(disk.path(), config);
    assert_eq!(numbers(&again.entries()).len(), acknowledged + 1);
    again.journal.close().await;
}

#[tokio::test]
async fn numbers_that_others_noted_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    first.journal.number_after(Position(40));
    assert_eq!(first.submit(numbered(1, 1)).await, Position(41));
    // What lies behind the end already changes nothing.
    first.journal.number_after(Position(7));
    assert_eq!(first.submit(numbered(2, 1)).await, Position(42));
    first.journal.close().await;

    // An older journal was put back: it goes on behind the gap, in a new segment.
    let second = open(dir.path());
    second.journal.number_after(Position(100));
    let mut cursor = second.journal.cursor("archive");
    assert_eq!(second.submit(numbered(3, 1)).await, Position(101));
    assert_eq!(second.journal.status().segments, 2);
    let entries = cursor.read(cursor.position(), 100).await;
    assert_eq!(numbers(&entries), [1, 2, 3]);
    assert_eq!(cursor.missed(), 0);
    second.journal.close().await;

    let third = open(dir.path());
    assert_eq!(numbers(&third.entries()), [1, 2, 3]);
    assert_eq!(
        third.recovery,
        Recovery {
            records: 3,
            ..Recovery::default()
        }
    );
    assert_eq!(third.submit(numbered(4, 1)).await, Position(102));
}

#[tokio::test]
async fn a_backlog_left_behind_is_read_later_and_both_places_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for n in 1..=10 {
        first.submit(numbered(n, 1)).await;
    }
    let mut cursor = first.journal.cursor("influx");
    let two = cursor.read(cursor.position(), 2).await;
    cursor.advance(two.last().unwrap().position).await.unwrap();
    assert!(cursor.leave_backlog().await.unwrap());
    assert!(
        !cursor.leave_backlog().await.unwrap(),
        "there is nothing to leave"
    );
    first.submit(numbered(11, 1)).await;
    let fresh = cursor.read(cursor.position(), 100).await;
    assert_eq!(numbers(&fresh), [11]);
    cursor.advance(fresh[0].position).await.unwrap();
    let behind = cursor.behind().unwrap();
    let some = cursor.read_behind(behind.after, 3).await;
    assert_eq!(numbers(&some), [3, 4, 5]);
    cursor.fill(some[2].position).await.unwrap();
    let backlog = first.journal.backlog("influx");
    assert_eq!((backlog.fresh.records, backlog.behind.records), (0, 5));

    // Killed in the middle of it.
    let copied = copy(dir.path());
    let second = open(copied.path());
    let mut cursor = second.journal.cursor("influx");
    assert_eq!(cursor.position(), Position(11));
    second.submit(numbered(12, 1)).await;
    let behind = cursor.behind().unwrap();
    let rest = cursor.read_behind(behind.after, 100).await;
    assert_eq!(numbers(&rest), [6, 7, 8, 9, 10]);
    assert!(cursor.read_behind(rest[4].position, 100).await.is_empty());
    cursor.fill(rest[4].position).await.unwrap();
    assert_eq!(cursor.behind(), None);
    assert_eq!(numbers(&cursor.read(cursor.position(), 100).await), [12]);
}

#[tokio::test]
async fn what_is_left_behind_stays_on_disk_until_it_is_filled_or_the_limit_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        max_bytes: 64 << 10,
        keep_bytes: 0,
        ..small()
    };
    let open = open_with(dir.path(), config);
    let mut cursor = open.journal.cursor("influx");
    for n in 1..=20 {
        open.submit(numbered(n, 20)).await;
    }
    assert!(cursor.leave_backlog().await.unwrap());
    for n in 21..=40 {
        open.submit(numbered(n, 20)).await;
        cursor.advance(cursor.newest()).await.unwrap();
    }
    assert_eq!(
        open.journal.status().oldest,
        1,
        "the stretch holds its segments"
    );
    // Now the limit takes the oldest: of these, only what was left behind is lost.
    let mut n = 41;
    while open.journal.status().oldest <= 25 {
        open.submit(numbered(n, 20)).await;
        cursor.advance(cursor.newest()).await.unwrap();
        n += 1;
    }
    assert_eq!(open.journal.status().dropped_unread, 20 * 20);
    let behind = cursor.behind().unwrap();
    assert!(cursor.read_behind(behind.after, 100).await.is_empty());
    assert_eq!(cursor.missed(), 20);
    assert_eq!(open.journal.backlog("influx").behind.records, 0);
    cursor.fill(behind.until).await.unwrap();
    assert_eq!(open.journal.status().segments, 1, "nobody holds anything");
}

/// Patient batches wait for an hour unless something else makes them go.
fn patient() -> Config {
    Config {
        commit_patient: Duration::from_secs(3_600),
        segment_bytes: 4 << 20,
        ..small()
    }
}

impl Open {
    async fn queue_patient(&self, batch: Batch) -> oneshot::Receiver<Position> {
        let (sender, receiver) = oneshot::channel();
        let call: OnDurable = Box::new(move |position| sender.send(position).unwrap_or_default());
        let taken = self
            .journal
            .submit_as(Urgency::Patient, News::None, batch, call)
            .await;
        taken.expect("taken");
        receiver
    }
}

async fn durable(waiting: oneshot::Receiver<Position>) -> u64 {
    let durable = tokio::time::timeout(DEADLINE, waiting).await;
    durable.expect("durable in time").expect("durable").0
}

#[tokio::test]
async fn what_nobody_waits_for_gathers_and_goes_along_with_what_somebody_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), patient());
    let alone = open.queue_patient(numbered(0, 1)).await;
    assert_eq!(durable(alone).await, 1, "after a pause it goes at once");
    let first = open.queue_patient(numbered(1, 1)).await;
    let second = open.queue_patient(numbered(2, 1)).await;
    let asked = open.submit(numbered(3, 1)).await;
    assert_eq!(
        (durable(first).await, durable(second).await, asked.0),
        (2, 2, 2),
        "one record for all three"
    );
    let entries = open.entries();
    let numbers: Vec<i64> = entries[1]
        .batches
        .iter()
        .flat_map(|b| &b.readings)
        .map(|r| match r.value {
            Value::Int(n) => n,
            _ => panic!("not a numbered reading"),
        })
        .collect();
    assert_eq!(numbers, [1, 2, 3], "in the order of submission");
}

#[tokio::test]
async fn what_waits_patiently_goes_when_it_is_due_when_it_is_much_and_when_the_gateway_stops() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(
        dir.path(),
        Config {
            commit_patient: Duration::from_millis(50),
            ..patient()
        },
    );
    for n in 0..5 {
        let due = open.queue_patient(numbered(n, 1)).await;
        assert_eq!(durable(due).await, n.cast_unsigned() + 1, "when it is due");
    }
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), patient());
    durable(open.queue_patient(numbered(0, 1)).await).await;
    let much = open.queue_patient(numbered(1, 20_000)).await;
    assert_eq!(durable(much).await, 2, "much of it");
    let last = open.queue_patient(numbered(2, 1)).await;
    open.journal.hurry();
    assert_eq!(durable(last).await, 3, "when the gateway stops");
    let after = open.queue_patient(numbered(3, 1)).await;
    assert_eq!(durable(after).await, 4, "and from then on");
}

#[tokio::test]
async fn each_record_counts_as_a_sync_and_its_pages() {
    let dir = tempfile::tempdir().unwrap();
    let open = open_with(dir.path(), patient());
    let [(_, records), (_, cursors)] = open.journal.writes();
    open.submit(numbered(0, 1)).await;
    // The first also makes the segment's name durable, and the file longer for those behind it: its first page is written twice.
    let first = 65_536 + 4096;
    assert_eq!((records.syncs(), records.bytes()), (2, first));
    open.submit(numbered(1, 1)).await;
    assert_eq!((records.syncs(), records.bytes()), (3, first + 4096));
    assert_eq!(records.noted_syncs(), 2, "the file is as long as before");
    assert_eq!((cursors.syncs(), cursors.bytes()), (0, 0));
    let mut cursor = open.journal.cursor("reader");
    cursor.advance(Position(1)).await.unwrap();
    assert_eq!((cursors.syncs(), cursors.bytes()), (2, 4096));
    assert_eq!(records.syncs(), 3, "a cursor's file is not a record");
}
