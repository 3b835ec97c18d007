//! The one thread that writes: it takes what waits, makes one record of it, writes and syncs once, and only then says so.
//!
//! Group commit: while a sync runs, submissions queue up and form the next record. What comes after a pause is committed at
//! once; after that the next commit waits until a time has passed since the last one (`rhythm.rs`), unless that holds somebody up
//! (`pace.rs`), or an alert begins or ends with what waits (as often as `allowance.rs` allows).
//!
//! A group of [`ENOUGH_BYTES`] goes without waiting: a longer record costs the disk hardly less a byte.
//!
//! A segment is made longer ahead, in steps, while records are short: a sync of a file that did not grow writes the page of the
//! record, and nothing into the file system's journal.
//!
//! What a failing disk does to it:
//!
//! - A failed write is truncated back; a failed sync taints the file, since the kernel may have dropped the pages
//!   ("PostgreSQL's fsync() surprise", LWN 2018). In both cases the same record is tried again until it works, after a sync in
//!   a new segment. Nothing is acknowledged meanwhile, and submissions wait.
//! - On a full disk the reserve file is deleted, so that cursors, deletions and the state file have room to go on. The
//!   writer itself does not touch that room: it first makes the reserve again, and only then writes.
//! - The condition is logged once when it begins and once when it ends; [`super::JournalStatus::failing`] shows it.
//!
//! When asked to close while the disk refuses, it tries once more and then ends; what waited was never acknowledged.

use std::{
    fs::File,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    Committed, OnDurable, Position, Rhythm, Shared,
    allowance::Allowance,
    disk::is_full,
    format::{Encoder, FOOTER, Footer, SEGMENT_HEADER, Summary, segment_header},
    pace::Pace,
    rhythm::{self, Group},
    segment::{self, Segment},
};
use crate::{
    backoff::{self, Backoff},
    model::{Batch, News, Urgency},
    wear::PAGE,
};

/// A record is closed at about this size.
const RECORD_TARGET: usize = 1 << 20;
/// Batches in a record at most, empty ones included.
const MAX_GROUP: usize = 4096;
/// The room that is held back for cursors and the like, below the size of a segment.
pub(super) const RESERVE: &str = "reserve";
/// A group is committed at this size, if nobody in it is prompt: the page that the next one writes again is then a quarter at most, and
/// dense readings are seen soon.
const ENOUGH_BYTES: usize = 16 << 10;
/// A segment grows in steps of this size, or of a sixteenth of the largest segment if that is less; while records are shorter than
/// [`GROW_BELOW`], since the zeros cost as much as the records.
const GROW: u64 = 64 << 10;
const GROW_BELOW: u64 = 8 << 10;
/// The waits while the disk refuses.
const RETRY: backoff::Config = backoff::Config {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// What waits for the writer.
pub(super) enum Submission {
    Batch(Urgency, News, Batch, OnDurable),
    /// All of one record that came before the clock was set, with its right times: in one record again.
    Restamped(Vec<Batch>, OnDurable),
    /// The gateway hurries: looks at the time again.
    Hurry,
    Close,
}

/// The thread's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    submissions: mpsc::Receiver<Submission>,
    committed: mpsc::Sender<Committed>,
    durable: watch::Sender<Position>,
    /// The file of the index's last segment, if it can be added to.
    active: Option<File>,
    /// What the index's last segment holds; none if that could not be read at the start.
    summary: Option<Summary>,
    /// Kept open for its lock.
    _lock: File,
    encoder: Encoder,
    batches: Vec<Batch>,
    waiting: Vec<OnDurable>,
    group: Group,
    pace: Pace,
    allowance: Allowance,
    /// So many submissions were there before the last commit was answered, and are not taken yet.
    unanswered: usize,
    last_commit: Option<Instant>,
    /// For waiting with a deadline, on this thread alone.
    timer: tokio::runtime::Runtime,
    /// Deleted for the full disk, to be made again.
    reserve_released: bool,
    engine_gone: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        submissions: mpsc::Receiver<Submission>,
        committed: mpsc::Sender<Committed>,
        durable: watch::Sender<Position>,
        active: Option<File>,
        lock: File,
    ) -> io::Result<Self> {
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        Ok(Self {
            shared,
            submissions,
            committed,
            durable,
            active,
            summary: None,
            _lock: lock,
            encoder: Encoder::default(),
            batches: Vec::new(),
            waiting: Vec::new(),
            group: Group::default(),
            pace: Pace::default(),
            allowance: Allowance::new(Instant::now()),
            unanswered: 0,
            last_commit: None,
            timer,
            reserve_released: false,
            engine_gone: false,
        })
    }

    /// Until the journal is closed or all its handles are gone.
    pub(super) fn run(mut self) {
        if let Err(error) = self.hold_reserve() {
            tracing::warn!(%error, "no room is held back for a full disk until there is some");
        }
        self.summarise_active();
        while let Some(submission) = self.submissions.blocking_recv() {
            self.encoder.begin();
            self.group = Group::default();
            self.take(submission);
            self.take_waiting();
            self.gather();
            if self.batches.is_empty() {
                continue;
            }
            if !self.commit() {
                let unsaved = self.batches.len();
                tracing::error!(
                    batches = unsaved,
                    "the journal closes while the disk refuses: what waited was not acknowledged"
                );
                break;
            }
            self.last_commit = Some(Instant::now());
        }
        self.cut_zeros();
        self.shared.set_closed();
    }

    /// Nothing more is written: the segment ends with its records.
    fn cut_zeros(&self) {
        let mut index = self.shared.index();
        if let (Some(file), Some(last)) = (&self.active, index.segments.back_mut())
            && last.size > last.end
        {
            match file.set_len(last.end) {
                Ok(()) => last.size = last.end,
                Err(error) => {
                    tracing::debug!(%error, "some zeros stay behind the end of a segment")
                }
            }
        }
    }

    /// An earlier run began the segment that is added to: what is in it is read again, for the summary at its end.
    fn summarise_active(&mut self) {
        let last = self.shared.index().segments.back().copied();
        if let (Some(_), Some(last)) = (&self.active, last) {
            let path = self.shared.disk.path(&segment::name(last.first));
            self.summary = segment::summarise(&path, &last)
                .inspect_err(|error| tracing::debug!(%error, segment = last.first, "a segment stays without its summary"))
                .ok();
        }
    }

    fn take(&mut self, submission: Submission) {
        let unanswered = self.unanswered > 0;
        self.unanswered = self.unanswered.saturating_sub(1);
        match submission {
            Submission::Batch(urgency, news, batch, on_durable) => {
                self.group.news = self.group.news.max(news);
                match urgency {
                    Urgency::Prompt => self.group.prompt = true,
                    Urgency::Steady { messages } => {
                        self.group.steady = true;
                        let sender = (batch.source.clone(), batch.peer.clone());
                        self.pace
                            .came(sender, messages.into(), unanswered, Instant::now());
                    }
                    Urgency::Patient => {}
                }
                self.add(batch);
                self.waiting.push(on_durable);
            }
            Submission::Restamped(batches, on_durable) => {
                for batch in batches {
                    self.add(batch);
                }
                self.waiting.push(on_durable);
            }
            Submission::Hurry => {}
            Submission::Close => {
                self.shared.hurried.store(true, Ordering::Release);
                self.submissions.close();
            }
        }
    }

    fn add(&mut self, batch: Batch) {
        if !batch.readings.is_empty() {
            self.encoder.push(&batch);
        }
        self.batches.push(batch);
    }

    fn has_room(&self) -> bool {
        self.encoder.len() < RECORD_TARGET && self.batches.len() < MAX_GROUP
    }

    fn take_waiting(&mut self) {
        while self.has_room() {
            let Ok(submission) = self.submissions.try_recv() else {
                return;
            };
            self.take(submission);
        }
    }

    /// Takes what comes until the group is due.
    fn gather(&mut self) {
        while self.has_room() {
            let now = Instant::now();
            let Some(due) = self.due().filter(|due| *due > now) else {
                return;
            };
            if self.hastens(due, now) {
                return;
            }
            let until = match rhythm::quiet(self.shared.config.commit_prompt, self.group) {
                Some(quiet) => due.min(Instant::now() + quiet),
                None => due,
            };
            let next = self.submissions.recv();
            let Ok(submission) = self
                .timer
                .block_on(async { tokio::time::timeout_at(until, next).await })
            else {
                return;
            };
            let Some(submission) = submission else {
                return;
            };
            self.take(submission);
            self.take_waiting();
        }
    }

    /// Whether the group goes now, though it may gather until then: somebody would hear of an alert.
    fn hastens(&mut self, due: Instant, now: Instant) -> bool {
        let news = std::mem::take(&mut self.group.news);
        // What goes soon by itself is left alone.
        if news == News::None || due.saturating_duration_since(now) <= rhythm::WATCHED {
            return false;
        }
        let hastens = self.allowance.take(news, now);
        let metrics = &self.shared.metrics;
        match hastens {
            true => metrics.hastened.inc(),
            false => metrics.not_hastened.inc(),
        };
        hastens
    }

    /// When the group is to be committed; `None`: at once.
    fn due(&self) -> Option<Instant> {
        let config = &self.shared.config;
        if self.encoder.readings() == 0 || self.shared.hurried.load(Ordering::Acquire) {
            return None;
        }
        if !self.group.prompt && self.encoder.len() >= ENOUGH_BYTES {
            return None;
        }
        let last = self.last_commit?;
        let watched = self.shared.watched.load(Ordering::Acquire);
        let apart = rhythm::apart(
            config.commit_prompt,
            config.commit_patient,
            self.group,
            watched,
        );
        let due = last + apart;
        match (config.commit_prompt, self.pace.due()) {
            (Rhythm::Auto, Some(held)) => Some(held.min(due)),
            _ => Some(due),
        }
    }

    /// Writes the group and tells everybody. False: the journal closes and the disk still refuses.
    fn commit(&mut self) -> bool {
        let began = Instant::now();
        let position = if self.encoder.readings() == 0 {
            self.shared.index().newest
        } else {
            let position = self.shared.index().next;
            if !self.persist(position) {
                return false;
            }
            self.shared.note_stamps(position, &self.batches);
            self.durable.send_replace(Position(position));
            position
        };
        self.unanswered = self.submissions.len();
        self.pace.committed(began, Instant::now());
        for on_durable in self.waiting.drain(..) {
            on_durable(Position(position));
        }
        let committed = Committed {
            position: Position(position),
            batches: Arc::from(std::mem::take(&mut self.batches)),
        };
        if self.committed.blocking_send(committed).is_err() && !self.engine_gone {
            self.engine_gone = true;
            tracing::warn!("nobody takes committed readings any more; the journal goes on");
        }
        true
    }

    /// Tries until the record is on disk.
    fn persist(&mut self, position: u64) -> bool {
        let mut backoff = Backoff::new(RETRY);
        let began = Instant::now();
        self.shared.set_writing_since(Some(began));
        loop {
            let error = match self.restore_reserve().and_then(|()| self.write(position)) {
                Ok(()) => {
                    self.shared.set_writing_since(None);
                    if backoff.failures() > 0 {
                        let seconds = began.elapsed().as_secs();
                        tracing::warn!(seconds, "the journal can write again");
                        self.shared.set_failing(None);
                    }
                    return true;
                }
                Err(error) => error,
            };
            if is_full(&error) {
                self.release_reserve();
            }
            if backoff.failures() == 0 {
                tracing::error!(
                    %error,
                    "the journal cannot write: nothing is acknowledged until it can"
                );
            }
            self.shared.set_failing(Some(&error));
            if self.shared.is_closing() {
                return false;
            }
            self.shared.wait_or_closing(backoff.next_wait());
        }
    }

    /// One try. Afterwards the record is durable, or there is nothing of it that a reader would see.
    fn write(&mut self, position: u64) -> io::Result<()> {
        let length = self.encoder.len() as u64;
        // With what sealing this segment and beginning another would add, or making it longer.
        let summary = self.summary.as_ref().map_or(0, Summary::length);
        let ahead = if length < GROW_BELOW { self.step() } else { 0 };
        self.shared
            .sweep(length + ahead + (summary + FOOTER + SEGMENT_HEADER) as u64);
        let last = self.shared.index().segments.back().copied();
        let segment = match (self.active.take(), last) {
            (Some(file), Some(last))
                if position == last.last + 1
                    && (last.records == 0
                        || last.end + length <= self.shared.config.segment_bytes) =>
            {
                self.append(file, last, position)?
            }
            (file, last) => {
                if let (Some(file), Some(last)) = (file, last)
                    && last.records > 0
                {
                    self.seal(&file, last);
                }
                self.begin_segment(position)?
            }
        };
        let mut index = self.shared.index();
        let readings = u64::from(self.encoder.readings());
        let end = segment.end + length;
        let segment = Segment {
            last: position,
            end,
            size: segment.size.max(end),
            records: segment.records + 1,
            readings: segment.readings + readings,
            ..segment
        };
        // One that begins with this position never held a durable record.
        if index
            .segments
            .back()
            .is_some_and(|last| last.first == segment.first)
        {
            index.segments.pop_back();
        }
        index.segments.push_back(segment);
        index.newest = position;
        index.next = position + 1;
        let metrics = &self.shared.metrics;
        metrics.set_size(index.bytes());
        drop(index);
        if let Some(summary) = &mut self.summary {
            summary.add(&self.batches);
        }
        metrics.records.inc();
        metrics.readings.inc_by(readings);
        metrics.written.inc_by(length);
        Ok(())
    }

    /// In what steps segments grow ahead; 0 for those that are too small for it.
    fn step(&self) -> u64 {
        let step = GROW.min(self.shared.config.segment_bytes / 16);
        step - step % PAGE
    }

    /// Makes a file longer, of which a record of this length is now the end; returns where it ends then.
    fn lengthen(&self, file: &File, length: u64, end: u64) -> u64 {
        let step = self.step();
        if length >= GROW_BELOW || step == 0 {
            return end;
        }
        let longer = end
            .next_multiple_of(step)
            .min(self.shared.config.segment_bytes);
        if longer > end && self.shared.disk.lengthen(file, end, longer) {
            longer
        } else {
            end
        }
    }

    /// Adds the record to the open segment.
    fn append(&mut self, file: File, mut segment: Segment, position: u64) -> io::Result<Segment> {
        let disk = &self.shared.disk;
        let record = self.encoder.finish(position);
        let length = record.len() as u64;
        if let Err(error) = disk.write_at(&file, record, segment.end) {
            // Kept only if the torn part is gone; else the next try begins a new segment behind it.
            if file.set_len(segment.end).is_ok() {
                self.active = Some(file);
                if let Some(last) = self.shared.index().segments.back_mut() {
                    last.size = segment.end;
                }
            }
            return Err(error);
        }
        let end = segment.end + length;
        let grows = end > segment.size;
        if grows {
            segment.size = self.lengthen(&file, length, end);
        }
        if let Err(error) = self.sync(&file, grows) {
            if let Err(error) = file.set_len(segment.end) {
                tracing::debug!(%error, "an unsynced record stays behind the end of a segment");
            }
            return Err(error);
        }
        self.active = Some(file);
        Ok(segment)
    }

    /// Makes a segment with the record in it.
    fn begin_segment(&mut self, position: u64) -> io::Result<Segment> {
        let disk = &self.shared.disk;
        let name = segment::name(position);
        let mut segment = Segment::new(position);
        let length = self.encoder.len() as u64;
        let file = disk.create(&name)?;
        let written = disk
            .write_at(&file, &segment_header(position), 0)
            .and_then(|()| disk.write_at(&file, self.encoder.finish(position), segment.end))
            .and_then(|()| {
                segment.size = self.lengthen(&file, length, segment.end + length);
                self.sync(&file, true)
            })
            .and_then(|()| self.shared.disk.sync_names());
        if let Err(error) = written {
            if let Err(error) = self.shared.disk.remove(&name) {
                tracing::debug!(%error, file = name, "a half-written segment stays until the next try");
            }
            return Err(error);
        }
        self.active = Some(file);
        self.summary = Some(Summary::default());
        // The disk may have been too full for it at the start.
        if let Err(error) = self.hold_reserve() {
            tracing::debug!(%error, "there is still no room to hold back");
        }
        Ok(segment)
    }

    /// Ends a full segment. Without its footer it is read as a whole at the next start, so failing here costs only time.
    fn seal(&self, file: &File, segment: Segment) {
        let summary = self.summary.as_ref().map(Summary::write);
        let mut closing = summary.unwrap_or_default();
        let offset = segment.end + closing.len() as u64;
        let footer = Footer {
            records: segment.records,
            readings: segment.readings,
            last: segment.last,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            end: u32::try_from(segment.end).unwrap_or(u32::MAX),
            summary: crc32fast::hash(&closing),
        };
        closing.extend_from_slice(&footer.write());
        let ended = file
            .set_len(segment.end)
            .and_then(|()| self.shared.disk.write_at(file, &closing, segment.end));
        if let Err(error) = ended {
            tracing::debug!(%error, segment = segment.first, "a segment stays without its footer");
            return;
        }
        if let Some(last) = self.shared.index().segments.back_mut() {
            last.size = segment.end + closing.len() as u64;
        }
    }

    fn sync(&self, file: &File, grown: bool) -> io::Result<()> {
        let began = Instant::now();
        let result = if grown {
            self.shared.disk.sync(file)
        } else {
            self.shared.disk.sync_in_place(file)
        };
        let metrics = &self.shared.metrics;
        metrics.syncs.inc();
        metrics.sync_seconds.observe(began.elapsed().as_secs_f64());
        result
    }

    fn reserve_bytes(&self) -> u64 {
        self.shared.config.segment_bytes
    }

    /// Makes the reserve if it is not there.
    fn hold_reserve(&self) -> io::Result<()> {
        let there = std::fs::metadata(self.shared.disk.path(RESERVE))
            .is_ok_and(|m| m.len() == self.reserve_bytes());
        if there {
            return Ok(());
        }
        self.shared.disk.allocate(RESERVE, self.reserve_bytes())
    }

    fn release_reserve(&mut self) {
        if self.reserve_released {
            return;
        }
        match self.shared.disk.remove(RESERVE) {
            Ok(()) => self.reserve_released = true,
            Err(error) => tracing::debug!(%error, "there is no reserve to release"),
        }
    }

    fn restore_reserve(&mut self) -> io::Result<()> {
        if self.reserve_released {
            self.shared.disk.allocate(RESERVE, self.reserve_bytes())?;
            self.reserve_released = false;
        }
        Ok(())
    }
}
