//! Taking the directory and finding what is in it: the lock, the segments, where the numbering goes on.
//!
//! Nothing that a file contains makes this fail. Closed segments are believed by their footers; only the newest, and those that
//! were left without a footer, are read as a whole. A torn tail is cut only once a new segment behind it stands, whose
//! name skips every number that the tail could have held.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    time::Duration,
};

use super::{
    OpenError, Recovery, cursor,
    disk::Disk,
    format::{self, RECORD_HEADER},
    retention::Index,
    segment,
};

/// How often a held lock is tried again, and how long between two tries: a second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Takes the directory for this process; held as long as the file is open. A lock that is held is waited for a moment: a
/// predecessor may just be ending, and a process that it was starting holds its lock between fork(2) and exec(2).
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let refused = |source| OpenError::Directory {
        path: path.display().to_string(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(refused)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
    }
    Err(OpenError::Locked {
        path: dir.display().to_string(),
    })
}

/// What was found at start.
pub(super) struct Recovered {
    pub(super) index: Index,
    /// The last segment, if more can be added to it.
    pub(super) active: Option<File>,
    pub(super) recovery: Recovery,
}

/// What is in the directory, made durable. Fails only if it can't be listed or synced.
pub(super) fn recover(dir: &Path, disk: &Disk) -> io::Result<Recovered> {
    let firsts = segment::list(dir)?;
    let mut index = Index::default();
    let mut recovery = Recovery::default();
    let mut active = None;
    // No number that was ever given may be given again.
    let mut next = cursor::highest_noted(dir)? + 1;
    for (at, &first) in firsts.iter().enumerate() {
        let below = firsts.get(at + 1).copied();
        let path = disk.path(&segment::name(first));
        let found = match segment::inspect(&path, first, below.unwrap_or(segment::MAX_POSITION)) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(segment = first, %error, "a segment of the journal cannot be read and is left alone");
                recovery.damaged_records += 1;
                next = next.max(first + 1);
                continue;
            }
        };
        let mut segment = found.segment;
        recovery.records += segment.records;
        recovery.damaged_records += found.damaged;
        next = next.max(segment.first).max(segment.last + 1);
        if segment.records > 0 {
            index.newest = index.newest.max(segment.last);
        }
        if below.is_none() {
            if found.torn > 0 {
                recovery.torn_bytes = found.torn;
                next = next.max(segment.last + 1 + found.torn.div_ceil(RECORD_HEADER as u64));
            } else if !found.closed && next == segment.last + 1 {
                active = disk.open(&segment::name(first)).ok();
                // Without the zeros that it was made longer with: reading may have brought them in as one large piece.
                if let Some(file) = &active
                    && file.set_len(segment.end).is_ok()
                {
                    segment.size = segment.end;
                }
            }
            // A process that was killed between writing and syncing leaves records that can be read and are not durable.
            // What is read here counts as durable from here on.
            disk.sync(&File::open(&path)?)?;
            disk.sync_names()?;
        }
        index.segments.push_back(segment);
    }
    if recovery.torn_bytes > 0 {
        match skip_torn(disk, &mut index, next) {
            Ok(file) => active = Some(file),
            Err(error) => tracing::warn!(%error, "a torn tail stays and is passed over"),
        }
    }
    index.next = next;
    Ok(Recovered {
        index,
        active,
        recovery,
    })
}

/// Cuts the torn tail off the last segment. First comes the segment behind it, whose name keeps the numbers that were skipped.
fn skip_torn(disk: &Disk, index: &mut Index, next: u64) -> io::Result<File> {
    let name = segment::name(next);
    let behind = disk.create(&name)?;
    disk.write_at(&behind, &format::segment_header(next), 0)?;
    disk.sync(&behind)?;
    disk.sync_names()?;
    if let Some(torn) = index.segments.back_mut() {
        let file = disk.open(&segment::name(torn.first))?;
        file.set_len(torn.end)?;
        file.sync_all()?;
        torn.size = torn.end;
    }
    index.segments.push_back(segment::Segment::new(next));
    Ok(behind)
}
