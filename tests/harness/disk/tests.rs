use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::FileExt as _,
};

use super::*;

struct Mounted {
    disk: Disk,
    _dir: tempfile::TempDir,
}

fn mounted() -> Option<Mounted> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&dir.path().join("disk"))?;
    Some(Mounted { disk, _dir: dir })
}

impl Mounted {
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn cut(&self) {
        self.disk.power_cut(Survives::Nothing);
        self.disk.power_on();
    }

    fn sync_names(&self) {
        File::open(self.disk.path()).unwrap().sync_all().unwrap();
    }
}

#[test]
fn a_cut_leaves_what_was_synced_under_names_that_were_synced() {
    let Some(it) = mounted() else { return };
    let mut file = File::create(it.path("kept")).unwrap();
    file.write_all(b"first").unwrap();
    file.sync_data().unwrap();
    it.sync_names();
    file.write_all(b" second").unwrap();
    let mut nameless = File::create(it.path("nameless")).unwrap();
    nameless.write_all(b"synced").unwrap();
    nameless.sync_all().unwrap();
    std::fs::rename(it.path("kept"), it.path("renamed")).unwrap();
    assert_eq!(std::fs::read(it.path("renamed")).unwrap(), b"first second");
    it.cut();
    assert_eq!(std::fs::read(it.path("kept")).unwrap(), b"first");
    assert!(!it.path("renamed").exists() && !it.path("nameless").exists());
    assert!(file.write_all(b"x").is_err(), "what was open is gone");
    std::fs::rename(it.path("kept"), it.path("renamed")).unwrap();
    it.sync_names();
    it.cut();
    let names: Vec<_> = std::fs::read_dir(it.disk.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["renamed"]);
}

#[test]
fn a_torn_cut_keeps_whole_sectors_and_the_same_seed_tears_alike() {
    let Some(it) = mounted() else { return };
    let mut tears = Vec::new();
    for seed in [1, 1, 2, 3, 4, 5] {
        let file = File::create(it.path("f")).unwrap();
        it.sync_names();
        file.write_all_at(&[7; 20_000], 0).unwrap();
        it.disk.power_cut(Survives::Part { seed });
        it.disk.power_on();
        let found = std::fs::read(it.path("f")).unwrap();
        for sector in found.chunks(512) {
            assert!(sector.iter().all(|b| *b == sector[0]), "a sector is whole");
        }
        tears.push(found);
        std::fs::remove_file(it.path("f")).unwrap();
    }
    assert_eq!(tears[0], tears[1]);
    assert!(tears.iter().any(|t| t != &tears[0]));
}

#[test]
fn full_is_full_until_there_is_room() {
    let Some(it) = mounted() else { return };
    std::fs::write(it.path("a"), [1; 10_000]).unwrap();
    it.disk.capacity(Some(15_000));
    let error = std::fs::write(it.path("b"), [1; 10_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(it.disk.used(), 15_000);
    std::fs::remove_file(it.path("a")).unwrap();
    std::fs::write(it.path("b"), [1; 10_000]).unwrap();
    it.disk.full();
    let file = OpenOptions::new().write(true).open(it.path("b")).unwrap();
    file.write_all_at(b"over", 0).unwrap();
    let error = file.write_all_at(b"more", 10_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn failures_are_what_was_asked_for_and_a_failed_sync_loses_its_writes() {
    let Some(it) = mounted() else { return };
    std::fs::write(it.path("a"), b"there").unwrap();
    File::open(it.path("a")).unwrap().sync_all().unwrap();
    it.sync_names();
    it.disk.fail(Some(Failure::ReadOnly));
    let error = std::fs::write(it.path("b"), b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    it.disk.fail(Some(Failure::Reads));
    assert!(std::fs::read(it.path("a")).is_err());
    it.disk.fail(Some(Failure::Writes));
    let file = OpenOptions::new().write(true).open(it.path("a")).unwrap();
    assert!(file.write_all_at(b"x", 0).is_err());
    it.disk.fail(None);
    file.write_all_at(b"T", 0).unwrap();
    it.disk.fail(Some(Failure::Syncs));
    assert!(file.sync_data().is_err());
    it.disk.fail(None);
    file.sync_data().unwrap();
    it.cut();
    assert_eq!(std::fs::read(it.path("a")).unwrap(), b"there");
}

#[test]
fn a_slow_sync_holds_up_nobody_else_and_ends_with_the_power() {
    let Some(it) = mounted() else { return };
    let file = File::create(it.path("a")).unwrap();
    it.sync_names();
    (&file).write_all(b"x").unwrap();
    it.disk.slow_sync(Duration::from_secs(3600));
    let syncing = std::thread::spawn(move || file.sync_data());
    while it.disk.syncs() < 2 {
        std::thread::yield_now();
    }
    std::fs::write(it.path("b"), b"meanwhile").unwrap();
    assert_eq!(std::fs::read(it.path("b")).unwrap(), b"meanwhile");
    it.disk.power_cut(Survives::Nothing);
    assert!(syncing.join().unwrap().is_err());
    it.disk.power_on();
    it.disk.slow_sync(Duration::ZERO);
    assert_eq!(std::fs::read(it.path("a")).unwrap(), b"", "it was not done");
}
