//! Counting for what SQLite writes: its own code calls write(2) and fsync(2), so both are known from outside only.
//!
//! In WAL mode with `synchronous=FULL` a transaction that changes something is frames added to the log and one fsync of it (two
//! for the first after the log began anew, whose header is synced too); a checkpoint is one fsync of the log and
//! one of the file (<https://www.sqlite.org/wal.html>, "Performance Considerations"). The hook here is called after each such
//! transaction and decides about checkpoints in SQLite's place, so it can count both.

use rusqlite::{Connection, hooks::Wal};

use super::{PAGE, Writes};

/// Bytes of a frame's header in the log, beside its page.
const FRAME_HEADER: u64 = 24;
/// Bytes of the log's own header.
const LOG_HEADER: u64 = 32;

/// Counts what `connection` writes from now on in `writes`, and moves the log into the file when it has `checkpoint_pages`
/// pages. Replaces SQLite's own rule for that (1 000 pages).
///
/// # Errors
///
/// As SQLite's.
pub fn watch(
    connection: &mut Connection,
    writes: &Writes,
    checkpoint_pages: u32,
) -> rusqlite::Result<()> {
    let writes = writes.clone();
    let mut before = u64::MAX;
    connection.wal_hook(Some(move |log: &mut Wal, pages| {
        let pages = u64::try_from(pages).unwrap_or_default();
        let begun_anew = pages < before;
        let from = if begun_anew { 0 } else { before };
        before = pages;
        let frame = PAGE + FRAME_HEADER;
        if begun_anew {
            writes.wrote(0, LOG_HEADER + pages * frame);
        } else {
            writes.wrote(LOG_HEADER + from * frame, (pages - from) * frame);
        }
        writes.synced(1 + u64::from(begun_anew));
        if pages >= u64::from(checkpoint_pages) {
            let written = thread_written();
            match log.checkpoint() {
                Ok(()) => {
                    writes.synced(2);
                    // Of the pages in the log only the newest of each goes into the file: the kernel knows how many.
                    let known = written.and_then(|before| Some(thread_written()? - before));
                    writes.add_bytes(known.unwrap_or(pages * PAGE));
                }
                // The next transaction tries again; what was committed is durable in the log.
                Err(error) => tracing::debug!(%error, "a checkpoint did not finish"),
            }
        }
        Ok(())
    }))
}

/// Bytes that this thread has handed to disks, as the kernel counts them (`write_bytes`, `man 5 proc_pid_io`).
fn thread_written() -> Option<u64> {
    super::meter::written_in(std::path::Path::new("/proc/thread-self/io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transaction_is_a_sync_and_a_full_log_becomes_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("x.sqlite")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)",
            )
            .unwrap();
        let writes = Writes::default();
        watch(&mut connection, &writes, 8).unwrap();
        let insert = |n: u64| {
            connection
                .execute("INSERT INTO t VALUES (?1)", [n.cast_signed()])
                .unwrap();
            writes.syncs()
        };
        let counts: Vec<u64> = (0..8).map(insert).collect();
        // The first is not known to go on in an old log; three pages are there already, each adds one.
        assert_eq!(counts, [2, 3, 4, 5, 6, 9, 11, 12], "{counts:?}");
        let frames = 13 * (PAGE + FRAME_HEADER);
        assert!(writes.bytes() > frames, "{} of {frames}", writes.bytes());
        let reads = writes.syncs();
        connection
            .query_row("SELECT count(*) FROM t", [], |_| Ok(()))
            .unwrap();
        assert_eq!(writes.syncs(), reads, "reading counts nothing");
    }
}
