//! The few file operations that the journal's promises rest on, in one place, so that each can be made to fail in a test.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::wear::{PAGE, Writes};

/// The journal's directory.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// What went into segments.
    pub(super) writes: Writes,
    /// What went into small files that are replaced as a whole.
    pub(super) replaced: Writes,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            writes: Writes::default(),
            replaced: Writes::default(),
            #[cfg(test)]
            faults: faults::of(dir),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A fresh, empty file to read and write. One of that name is emptied: it held nothing durable.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(name))
    }

    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(name))
    }

    pub(super) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_counted(file, bytes, offset, &self.writes)
    }

    /// Zeros from the end of what was just written up to `end`: what is written over them later makes the file no longer, and its
    /// sync writes nothing but its page. Without room for them the file ends where it ended.
    pub(super) fn lengthen(&self, file: &File, from: u64, end: u64) -> bool {
        // Page by page: what comes in one write may be kept in one piece, and counted as written whenever a byte of it is.
        let zeros = [0; PAGE as usize];
        let mut at = from;
        let mut page = || -> io::Result<()> {
            while at < end {
                let next = (at + 1).next_multiple_of(PAGE).min(end);
                let length = usize::try_from(next - at).unwrap_or(zeros.len());
                file.write_all_at(&zeros[..length], at)?;
                at = next;
            }
            Ok(())
        };
        if let Err(error) = page() {
            tracing::debug!(%error, "a segment is not made longer ahead");
            if let Err(error) = file.set_len(from) {
                tracing::debug!(%error, "some zeros stay behind the end of a segment");
            }
            return false;
        }
        // The first page is part of the write before.
        let whole = from.next_multiple_of(PAGE);
        self.writes.wrote(whole, end.saturating_sub(whole));
        true
    }

    /// fdatasync(2): contents, and the length if it grew.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.sync_counted(file, &self.writes)
    }

    /// As [`Disk::sync`], of a file that is as long as at its last sync.
    pub(super) fn sync_in_place(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_sync()?;
        self.writes.synced_in_place();
        file.sync_data()
    }

    /// Makes names durable: a new file is lost with its directory entry if the power fails before this.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        self.sync_names_counted(&self.writes)
    }

    fn write_counted(
        &self,
        file: &File,
        bytes: &[u8],
        offset: u64,
        count: &Writes,
    ) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_write(file, bytes, offset)?;
        count.wrote(offset, bytes.len() as u64);
        file.write_all_at(bytes, offset)
    }

    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests fail a sync here")
    )]
    fn sync_counted(&self, file: &File, count: &Writes) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_sync()?;
        count.synced(1);
        file.sync_data()
    }

    fn sync_names_counted(&self, count: &Writes) -> io::Result<()> {
        count.synced(1);
        File::open(&self.dir)?.sync_all()
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    /// Replaces a small file as a whole: after a crash it is the old one or the new one.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let new = format!("{name}.new");
        let file = self.create(&new)?;
        let written = self
            .write_counted(&file, content, 0, &self.replaced)
            .and_then(|()| self.sync_counted(&file, &self.replaced))
            .and_then(|()| std::fs::rename(self.path(&new), self.path(name)))
            .and_then(|()| self.sync_names_counted(&self.replaced));
        if written.is_err() {
            // It may hold space that a full disk needs; a leftover is overwritten by the next try.
            if let Err(error) = self.remove(&new) {
                tracing::debug!(%error, file = new, "a half-written file stays");
            }
        }
        written
    }

    /// A file of this size whose blocks are really taken.
    pub(super) fn allocate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = self.create(name)?;
        let taken = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                fill_with_zeros(&file, bytes)
            }
            other => other.map_err(io::Error::from),
        };
        if taken.is_err()
            && let Err(error) = self.remove(name)
        {
            tracing::debug!(%error, file = name, "a half-made file stays");
        }
        taken
    }
}

/// Makes the directory, and makes its name durable in those above it.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for above in dir.ancestors().skip(1).take(2) {
        // The path may be relative: the first of it lies in the working directory.
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        if let Err(error) = File::open(above).and_then(|folder| folder.sync_all()) {
            // Not ours to read, perhaps: then it was not ours to make either.
            tracing::debug!(%error, path = %above.display(), "a directory cannot be synced");
        }
    }
    Ok(())
}

fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut offset = 0;
    while offset < bytes {
        let n = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..usize::try_from(n).unwrap_or(zeros.len())], offset)?;
        offset += n;
    }
    Ok(())
}

/// Whether waiting for room is the answer.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
pub(super) mod faults {
    //! Errors on demand: a disk that fails in `write` half-way, or in `sync`, can't be had otherwise in a test.

    use std::{
        collections::HashMap,
        sync::{
            Arc, Mutex, OnceLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;

    #[derive(Debug, Default)]
    pub(in crate::journal) struct Faults {
        /// So many writes fail after half of their bytes.
        pub(in crate::journal) writes: AtomicU32,
        /// So many syncs fail.
        pub(in crate::journal) syncs: AtomicU32,
    }

    static BY_DIR: OnceLock<Mutex<HashMap<PathBuf, Arc<Faults>>>> = OnceLock::new();

    /// The faults of a directory: test and journal get the same.
    pub(in crate::journal) fn of(dir: &Path) -> Arc<Faults> {
        let mut by_dir = BY_DIR.get_or_init(Mutex::default).lock().unwrap();
        Arc::clone(by_dir.entry(dir.to_owned()).or_default())
    }

    fn takes(counter: &AtomicU32) -> bool {
        counter
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    }

    impl Faults {
        pub(super) fn on_write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            if takes(&self.writes) {
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                return Err(rustix::io::Errno::IO.into());
            }
            Ok(())
        }

        pub(super) fn on_sync(&self) -> io::Result<()> {
            if takes(&self.syncs) {
                return Err(rustix::io::Errno::IO.into());
            }
            Ok(())
        }
    }
}
