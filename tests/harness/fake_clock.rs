//! A wall clock for one process that can be set while it runs: libfaketime, preloaded. Monotonic clocks stay as they are.

use std::{ffi::OsString, path::PathBuf};

use tempfile::TempDir;

/// The clock, and the file that says how far it is off.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    dir: TempDir,
}

impl FakeClock {
    /// One that is off by so many seconds; `None` (and a line that says so) if libfaketime is not installed.
    ///
    /// # Panics
    ///
    /// When there is no place for its file.
    #[must_use]
    pub fn off_by(seconds: i64) -> Option<Self> {
        let folders = std::fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten();
        let library = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists());
        let Some(library) = library else {
            println!("skipped: faketime is not installed (tests/run installs it where it may)");
            return None;
        };
        let clock = Self {
            library,
            dir: TempDir::new().expect("a temporary folder"),
        };
        clock.set(seconds);
        Some(clock)
    }

    /// Sets it to be off by so many seconds from now on.
    ///
    /// # Panics
    ///
    /// When its file can't be written.
    pub fn set(&self, seconds: i64) {
        // Never half a file: the process reads it at every look at the clock.
        let new = self.dir.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n"))
            .and_then(|()| std::fs::rename(&new, self.file()))
            .expect("the clock can be set");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }
}
