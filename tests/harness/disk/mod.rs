//! A disk that fails on command: a real file system (FUSE) whose unsynced writes can be thrown away.
//!
//! What is written is kept in memory twice: as programs see it, and as it would be found after a power cut. Contents become
//! durable by fsync(2) or fdatasync(2) of the file, names (creations, renames, deletions) only by fsync(2) of their directory, as
//! POSIX leaves it open; ext4 and others promise more. A failed sync drops what it should have written, and the
//! next one succeeds without it, as Linux does.
//!
//! It runs on threads of the test process, so a gateway on it can be killed and started again. Mounting needs `/dev/fuse` and either
//! root or `fusermount3`. What it can't show: a drive that lies about its cache, damage to blocks that were not being
//! written, and what a particular file system does on top.

mod fuse;
mod image;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use fuser::{BackgroundSession, MountOption, SessionACL};

use self::fuse::{Faults, Fuse, Shared};

/// What of the unsynced writes is found after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Nothing: everything is as it was at its last sync.
    Nothing,
    /// A random part, out of order and torn into sectors of 512 bytes or pages of 4 KiB; the same seed tears alike.
    Part {
        /// Where the chance comes from.
        seed: u64,
    },
}

/// How operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Everything that changes something says EROFS.
    ReadOnly,
    /// Writes, truncations and allocations say EIO.
    Writes,
    /// Syncs say EIO, and what they should have written is lost to the next one too.
    Syncs,
    /// Reads say EIO.
    Reads,
}

/// A mounted disk; unmounted when dropped. Methods act at once and from any thread.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts an empty disk on this directory, which is made if it is not there. `None` (and a line that says so) where that is
    /// not possible.
    ///
    /// # Panics
    ///
    /// When the directory can't be made.
    #[must_use]
    pub fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the directory can be made");
        let shared = Arc::new(Shared::default());
        let mut options = fuser::Config::default();
        options.mount_options = vec![
            MountOption::FSName(String::from("faulty-disk")),
            MountOption::NoAtime,
        ];
        options.acl = SessionACL::Owner;
        options.n_threads = Some(2);
        match fuser::spawn_mount(Fuse::new(Arc::clone(&shared)), at, &options) {
            Ok(session) => Some(Self {
                shared,
                at: at.to_owned(),
                session: Some(session),
            }),
            Err(error) => {
                println!("skipped: no file system can be mounted here (FUSE): {error}");
                None
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The power goes: from here on every operation fails with EIO, and what was not synced is gone. Kill who used it, then
    /// call [`Disk::power_on`].
    pub fn power_cut(&self, survives: Survives) {
        self.shared.change(|faults, image| {
            faults.dead = true;
            image.power_cut(survives);
        });
    }

    /// The power is back, with the disk as the cut left it. Files that were open stay unusable.
    pub fn power_on(&self) {
        self.shared.change(|faults, _| faults.dead = false);
    }

    /// From now on each sync takes so long; zero ends it, for those under way too.
    pub fn slow_sync(&self, takes: Duration) {
        self.shared.change(|faults, _| faults.slow_sync = takes);
    }

    /// Syncs under way fail now and make nothing durable, yet what was written stays to be read: as when who asked for them is
    /// killed meanwhile.
    pub fn forsake_syncs(&self) {
        self.shared.change(|faults, _| faults.forsaken += 1);
    }

    /// From now on operations fail so; `None` ends it.
    pub fn fail(&self, failure: Option<Failure>) {
        self.shared.change(|faults, _| faults.failure = failure);
    }

    /// So many bytes fit on it, more is ENOSPC (after what still fits was written); `None`: no limit.
    pub fn capacity(&self, bytes: Option<u64>) {
        self.shared.change(|_, image| image.capacity = bytes);
    }

    /// Full as of now: what grows a file is ENOSPC until room is made, by a deletion or [`Disk::capacity`].
    pub fn full(&self) {
        self.shared
            .change(|_, image| image.capacity = Some(image.used()));
    }

    /// Bytes that its files take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.change(|_, image| image.used())
    }

    /// Syncs of files and directories since it was mounted.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.change(|faults, _| faults.syncs)
    }

    /// Bytes written since it was mounted.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.change(|faults, _| faults.written)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nobody may hang on it for ever.
        self.shared
            .change(|faults: &mut Faults, _| faults.slow_sync = Duration::ZERO);
        // Lazily: who was killed a moment ago may still have files open.
        let unmounted = ["umount", "fusermount3"].iter().any(|program| {
            let arguments: &[&str] = if *program == "umount" {
                &["-l"]
            } else {
                &["-u", "-z"]
            };
            Command::new(program)
                .args(arguments)
                .arg(&self.at)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
        if !unmounted {
            println!("{} could not be unmounted", self.at.display());
        }
        drop(self.session.take());
    }
}

#[cfg(test)]
mod tests;
