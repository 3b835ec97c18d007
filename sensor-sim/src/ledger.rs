//! What was sent, whether it was acknowledged, and what should be seen: an append-only file of JSON lines.
//!
//! Each line is one [`Entry`]. A run begins with [`Entry::Start`]; message ids count from 0 within a run, so several runs
//! can share a file. A message is entered before it is handed to a transport that acknowledges, and after it was written to
//! one that does not (serial): an acknowledgement without its entry can't happen. Lines are buffered and reach the file
//! when 64 KiB are gathered, at [`Ledger::flush`], and when the last handle is dropped; a torn last line is counted by the
//! reader and otherwise ignored. The ledger is evidence about others, so it is not synced to disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    clock,
    plan::{Expect, Message, Reading},
};

const VERSION: u32 = 1;
const BUFFER: usize = 64 * 1024;

/// One line of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A run begins; ids begin again.
    Start {
        /// Of this format: 1.
        version: u32,
        /// Nanoseconds since the epoch.
        at: i64,
        /// Of the scenario.
        seed: u64,
    },
    /// A message was handed to its transport for the first time.
    Sent(Sent),
    /// It was handed over again, because its acknowledgement did not come.
    Again {
        /// Of the message.
        id: u64,
        /// Nanoseconds since the epoch.
        at: i64,
    },
    /// It was acknowledged: PUBACK, PUBCOMP, HTTP 2xx.
    Ack {
        /// Of the message.
        id: u64,
        /// Nanoseconds since the epoch.
        at: i64,
    },
    /// It was refused for good: an MQTT 5 reason code, HTTP 4xx.
    Refused {
        /// Of the message.
        id: u64,
        /// Nanoseconds since the epoch.
        at: i64,
        /// What the other side said, at most 200 characters.
        answer: String,
    },
}

/// A message as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Counts from 0 within a run.
    pub id: u64,
    /// When it was handed over; nanoseconds since the epoch.
    pub at: i64,
    /// Who sent it.
    pub device: String,
    /// `serial`, `mqtt` or `http`.
    pub transport: String,
    /// The time in the payload; nanoseconds since the epoch. Absent: the time of arrival counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// The same message was sent just before: to be stored once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub copy: bool,
    /// What is to become of it as a whole.
    #[serde(default)]
    pub expect: Expect,
    /// What was in it; empty for garbage.
    pub readings: Vec<Reading>,
}

/// A ledger that is being written. Cheap to clone; all clones write the same file.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: Arc<PathBuf>,
    out: Arc<Mutex<BufWriter<File>>>,
}

/// A ledger that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file can't be opened.
    #[error("can't open the ledger {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line can't be written: the disk is full or gone. The run ends, because it could not be verified.
    #[error("can't write to the ledger {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be read.
    #[error("can't read the ledger {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no run.
    #[error("{} is no ledger: it has no start line of version {VERSION}", path.display())]
    NotALedger {
        /// Which.
        path: PathBuf,
    },
}

impl Ledger {
    /// Opens a ledger for another run: makes the file, or goes on at its end.
    ///
    /// # Errors
    ///
    /// When the file can't be opened or written.
    pub fn open(path: &Path, seed: u64) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .map_err(failed)?;
        let mut last = [b'\n'];
        if file.metadata().map_err(failed)?.len() > 0 {
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n").map_err(failed)?;
        }
        let ledger = Self {
            path: Arc::new(path.to_owned()),
            out: Arc::new(Mutex::new(BufWriter::with_capacity(BUFFER, file))),
        };
        ledger.enter(&Entry::Start {
            version: VERSION,
            at: clock::now_ns(),
            seed,
        })?;
        ledger.flush()?;
        Ok(ledger)
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn enter(&self, entry: &Entry) -> Result<(), LedgerError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_writer(&mut *out, entry)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|source| self.failed(source))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn flush(&self) -> Result<(), LedgerError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> LedgerError {
        LedgerError::Write {
            path: self.path.as_ref().clone(),
            source,
        }
    }
}

impl Sent {
    /// The entry of a message that is handed over at `at`.
    #[must_use]
    pub fn new(id: u64, at: i64, device: &str, transport: &str, message: &Message) -> Self {
        Self {
            id,
            at,
            device: device.to_owned(),
            transport: transport.to_owned(),
            time: message.time,
            copy: message.copy,
            expect: message.expect,
            readings: message.readings.clone(),
        }
    }
}

/// Reads a ledger line by line and hands each entry to `each`. Returns how many lines were damaged.
///
/// # Errors
///
/// When the file can't be read, or does not begin with a start line of a version that is known.
pub fn read(path: &Path, mut each: impl FnMut(Entry)) -> Result<u64, LedgerError> {
    let file = File::open(path).map_err(|source| LedgerError::Open {
        path: path.to_owned(),
        source,
    })?;
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    let mut started = false;
    let mut damaged = 0;
    loop {
        line.clear();
        let count = lines
            .read_until(b'\n', &mut line)
            .map_err(|source| LedgerError::Read {
                path: path.to_owned(),
                source,
            })?;
        if count == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(entry) => {
                started |= matches!(
                    entry,
                    Entry::Start {
                        version: VERSION,
                        ..
                    }
                );
                if !started {
                    break;
                }
                each(entry);
            }
            Err(_) => damaged += 1,
        }
    }
    if started {
        Ok(damaged)
    } else {
        Err(LedgerError::NotALedger {
            path: path.to_owned(),
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if hands a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Value;

    fn sent(id: u64) -> Entry {
        Entry::Sent(Sent {
            id,
            at: 5,
            device: String::from("d"),
            transport: String::from("mqtt"),
            time: Some(1_700_000_000_123_456_789),
            copy: false,
            expect: Expect::Either,
            readings: vec![
                Reading {
                    metric: String::from("t"),
                    value: Some(Value::Float(21.5)),
                    expect: Expect::Either,
                },
                Reading {
                    metric: String::from("n"),
                    value: None,
                    expect: Expect::Rejected,
                },
            ],
        })
    }

    #[test]
    fn what_is_entered_is_read_again_over_two_runs_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::open(&path, 1).unwrap();
        ledger.enter(&sent(0)).unwrap();
        ledger.enter(&Entry::Ack { id: 0, at: 6 }).unwrap();
        drop(ledger);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"sent\":{\"id\":1,")
            .unwrap();
        let ledger = Ledger::open(&path, 2).unwrap();
        ledger.enter(&sent(0)).unwrap();
        drop(ledger);

        let mut entries = Vec::new();
        assert_eq!(read(&path, |entry| entries.push(entry)).unwrap(), 1);
        assert_eq!(entries.len(), 5);
        assert_eq!(entries[1], sent(0));
        assert_eq!(entries[2], Entry::Ack { id: 0, at: 6 });
        assert!(matches!(entries[3], Entry::Start { seed: 2, .. }));
    }

    #[test]
    fn another_file_is_no_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "hello\n").unwrap();
        assert!(matches!(
            read(&path, |_| ()),
            Err(LedgerError::NotALedger { .. })
        ));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let ledger = Ledger::open(Path::new("/dev/full"), 1);
        assert!(matches!(ledger, Err(LedgerError::Write { .. })));
    }
}
