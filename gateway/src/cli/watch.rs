//! Sees that the config file, or a file that it names, holds something else than before.
//!
//! It looks at the contents every two seconds instead of asking the kernel for events: that is the same for an editor that
//! renames over the file, for a symlink that is swapped (as Kubernetes does), for network file systems and for files that
//! are not there yet; and a handful of small files from the page cache costs nothing and writes nothing.

use std::{path::PathBuf, time::Duration};

use super::check;
use crate::config::Files;

/// How often it looks. What was changed must then stay as it is for as long before it counts: a file that is still being
/// written is left alone.
const EVERY: Duration = Duration::from_secs(2);

/// What was in the files when they were last read, and at the last look.
#[derive(Debug)]
pub(super) struct Watch {
    read: Files,
    seen: Files,
}

impl Watch {
    /// Watches the files that a config was read from; as they were then is what a change is told against.
    pub(super) fn new(files: Files) -> Self {
        Self {
            seen: files.clone(),
            read: files,
        }
    }

    /// Returns when something else is in the files than when they were last read, and has stayed so between two looks.
    /// Cancel-safe.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let files: Vec<PathBuf> = self.read.keys().cloned().collect();
            let looked = tokio::task::spawn_blocking(move || check::look(files.into_iter()));
            // It fails only when the runtime ends.
            let Ok(now) = looked.await else { continue };
            let at_rest = now == self.seen;
            self.seen = now;
            if at_rest && self.seen != self.read {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_still_being_written_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, "site = \"a\"\n").unwrap();
        let mut watch = Watch::new(check::look([file.clone()].into_iter()));
        for half in ["site = ", "site = \"b\"\n[", "site = \"b\"\n[log"] {
            std::fs::write(&file, half).unwrap();
            let early = tokio::time::timeout(EVERY + EVERY / 2, watch.changed()).await;
            assert!(early.is_err(), "{half} was taken for whole");
        }
        std::fs::write(&file, "site = \"b\"\n").unwrap();
        watch.changed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_holds_the_same_again_is_no_change_and_one_that_comes_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(check::look([file.clone(), missing.clone()].into_iter()));
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "one").unwrap();
        let told = tokio::time::timeout(5 * EVERY, watch.changed()).await;
        assert!(told.is_err());
        std::fs::write(&missing, "two").unwrap();
        watch.changed().await;
    }
}
