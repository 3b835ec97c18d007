//! To InfluxDB: a cursor over the journal. InfluxDB being away for a week is a cursor that stands still.
//!
//! Lines go out gzipped, in batches; the cursor moves on when the server has stored them, or has refused single points for good
//! and these are written down as [dead letters](letters). Points are idempotent: after a crash what each lane sent since its
//! place was last noted ([`note_every`](crate::journal::Config::note_every)) is sent again, and is the same points. Nothing is held in memory but one batch a lane.
//!
//! There are three lanes, and one request at a time:
//!
//! 1. **Fresh** readings, in journal order.
//! 2. **Replay**: dead letters that somebody has marked.
//! 3. **Back-fill**. When the archive comes back, or the gateway starts, and more than one batch waits, that backlog is left
//!    behind: fresh readings go on at the newest record at once, and the backlog is written in journal order at
//!    [`Config::backfill_rate`], whenever nothing of the other lanes is due. Both places are one durable note of the cursor, and the
//!    journal keeps what is left behind. Several outages leave several stretches, the oldest is written first; at
//!    [`MAX_STRETCHES`](crate::journal::MAX_STRETCHES) no more are left behind, and the backlog is written before what is fresh.
//!
//! While fresh readings do not get through the other lanes pause; a back-fill that fails keeps only itself waiting.
//!
//! | file | job |
//! |---|---|
//! | `line.rs` | readings as lines; pure |
//! | `parsed.rs` | reading lines again; pure |
//! | `influx.rs` | the client |
//! | `refusal.rs` | what the server says of points that it refuses; pure |
//! | `settle.rs` | which lines are stored, which refused, what is sent next; pure |
//! | `lane.rs` | a batch on its way |
//! | `letters.rs` | the dead letters |
//! | `status.rs` | how it stands |

pub mod influx;
mod lane;
pub mod letters;
pub mod line;
mod parsed;
pub mod refusal;
pub mod settle;
mod status;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use smol_str::SmolStr;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    influx::{Answer, ClientError, Influx},
    lane::{Lane, Which},
    letters::LettersError,
    line::{Encoder, Origin},
    settle::{Settled, settle},
};
pub use self::{
    letters::DeadLetters,
    status::{ArchiveStatus, BackfillStatus, FreshStatus, Metrics},
};
use crate::{
    cause,
    journal::{Cursor, Entry, Journal},
    model::{DeviceId, Secret, SeriesKey, SourceName},
    store::DeviceConfig,
};

/// Where the archive is and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Base address, a path prefix included: `https://influx.example.org:8086`.
    pub url: String,
    /// Organisation.
    pub org: String,
    /// Bucket; made at start if it is missing and the token may.
    pub bucket: String,
    /// The token itself, already read from its file or environment variable. Never printed.
    pub token: Option<Secret>,
    /// A PEM file with the CA, if it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// The measurement of readings whose source has none of its own. Default `sensor`.
    pub measurement: String,
    /// Per source another measurement.
    pub measurements: BTreeMap<String, String>,
    /// Lines in one request at most. Default 5 000.
    pub batch_lines: usize,
    /// How long a request may take. Default 30 s.
    pub timeout: Duration,
    /// How long a batch may wait to fill. Default 1 s.
    pub linger: Duration,
    /// Readings a second that the back-fill writes at most. Default 20 000.
    pub backfill_rate: usize,
    /// The waits after failures; a `Retry-After` is honoured instead where it is longer.
    pub backoff: crate::backoff::Config,
}

/// The name of the archive's cursor in the journal.
pub const CURSOR: &str = "influxdb";
/// How often the lag is told when nothing else is.
const TELL_LAG_EVERY: Duration = Duration::from_secs(5);

/// The archiver, ready to run.
#[derive(Debug)]
pub struct Archiver {
    config: Config,
    influx: Influx,
    encoder: Encoder,
    cursor: Cursor,
    journal: Journal,
    letters: DeadLetters,
    fresh: Lane,
    replay: Lane,
    backfill: Lane,
    /// Letters are marked to be sent again.
    marked: bool,
    /// The archive was away: what waits may be a backlog.
    was_away: bool,
    /// The journal is closed and read to its end.
    ended: bool,
    status: watch::Sender<ArchiveStatus>,
    metrics: Metrics,
}

impl Archiver {
    /// Prepares the archive; nothing is sent yet. `status` and `metrics` may be those of an archiver before this one, which
    /// must have ended: what it wrote stays counted.
    ///
    /// # Errors
    ///
    /// [`ClientError`]
    pub fn new(
        config: Config,
        devices: &[DeviceConfig],
        site: Option<String>,
        journal: Journal,
        letters: DeadLetters,
        status: watch::Sender<ArchiveStatus>,
        metrics: Metrics,
    ) -> Result<Self, ClientError> {
        let influx = Influx::new(config.clone())?;
        let encoder = Encoder::new(&config, devices, site);
        let lane = || Lane::new(config.backoff);
        Ok(Self {
            fresh: lane(),
            replay: lane(),
            backfill: lane(),
            config,
            influx,
            encoder,
            cursor: journal.cursor(CURSOR),
            journal,
            letters,
            marked: true,
            was_away: false,
            ended: false,
            status,
            metrics,
        })
    }

    /// Writes until the journal is closed and what is fresh of it is written, or until `stop`. What was not written then is
    /// written after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let (journal, status) = (self.journal.clone(), self.status.clone());
        let letters = self.letters.clone();
        status.send_modify(|status| {
            (status.state, status.detail) = ("connecting", String::new());
            status.backfill.state = "idle";
            status.dead_letters = self.letters.count();
            status.look(&journal);
        });
        // Ends between two awaits: the cursor moves only after a success, so nothing is skipped.
        let archiving = async {
            tokio::select! {
                () = self.archive_all() => {}
                () = tell_lag(journal, letters, status) => {}
            }
        };
        stop.run_until_cancelled(archiving).await;
        warn_if_unwritten(self.cursor.note_down().await);
    }

    async fn archive_all(&mut self) {
        if let Err(error) = self.influx.ensure_bucket().await {
            tracing::info!(
                bucket = self.config.bucket,
                error,
                "could not look the bucket up; writing will tell"
            );
        }
        self.leave_backlog().await;
        let mut marked = self.letters.marked();
        loop {
            if self.cursor.newest() > self.fresh_reached() && self.fresh_room() > 0 {
                let entries = self.cursor.read(self.fresh_reached(), self.fresh_room());
                let entries = entries.await;
                self.add_fresh(&entries);
            }
            if let Some(which) = self.due() {
                self.step(which).await;
                continue;
            }
            if self.ended && self.fresh.reached.is_none() {
                return;
            }
            let (wake, reached, room) = (self.wakes_at(), self.fresh_reached(), self.fresh_room());
            tokio::select! {
                entries = self.cursor.read(reached, room), if room > 0 && !self.ended => {
                    self.ended = entries.is_empty();
                    self.add_fresh(&entries);
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                changed = marked.changed() => self.marked = changed.is_ok(),
            }
        }
    }

    fn fresh_reached(&self) -> crate::journal::Position {
        self.fresh.reached.unwrap_or_else(|| self.cursor.position())
    }

    /// How much may be added to the batch of fresh readings.
    fn fresh_room(&self) -> usize {
        if self.fresh.is_open() {
            self.config
                .batch_lines
                .saturating_sub(self.fresh.lines.len())
        } else {
            0
        }
    }

    fn add_fresh(&mut self, entries: &[Entry]) {
        let Some(newest) = entries.last() else { return };
        let close_at = Instant::now() + self.config.linger;
        self.fresh.close_at.get_or_insert(close_at);
        self.fresh.reached = Some(newest.position);
        for entry in entries {
            self.encoder.encode(entry, &mut self.fresh.lines);
        }
    }

    /// The lane whose turn it is now.
    fn due(&self) -> Option<Which> {
        let now = Instant::now();
        let fresh = &self.fresh;
        let is_whole = !fresh.is_open()
            || self.ended
            || self.fresh_room() == 0
            || fresh.close_at.is_some_and(|at| at <= now);
        if fresh.reached.is_some() && is_whole && fresh.not_before <= now {
            return Some(Which::Fresh);
        }
        if fresh.is_failing() {
            return None;
        }
        let ready = |lane: &Lane, has_work| lane.turn(has_work).is_some_and(|at| at <= now);
        if ready(&self.replay, self.marked) {
            return Some(Which::Replay);
        }
        ready(&self.backfill, self.cursor.behind().is_some()).then_some(Which::Backfill)
    }

    /// When a lane's turn comes if nothing else happens.
    fn wakes_at(&self) -> Option<Instant> {
        let fresh = self.fresh.reached.map(|_| {
            let close_at = self.fresh.close_at.filter(|_| self.fresh.is_open());
            close_at.map_or(self.fresh.not_before, |at| at.max(self.fresh.not_before))
        });
        if self.fresh.is_failing() {
            return fresh;
        }
        [
            fresh,
            self.replay.turn(self.marked),
            self.backfill.turn(self.cursor.behind().is_some()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    const fn lane(&mut self, which: Which) -> &mut Lane {
        match which {
            Which::Fresh => &mut self.fresh,
            Which::Replay => &mut self.replay,
            Which::Backfill => &mut self.backfill,
        }
    }

    /// One request of a lane, or what goes before and after it.
    async fn step(&mut self, which: Which) {
        if self.lane(which).is_open() {
            let taken = match which {
                Which::Fresh => Ok(()),
                Which::Replay => self.take_letters().await,
                Which::Backfill => {
                    self.take_behind().await;
                    Ok(())
                }
            };
            if let Err(error) = taken {
                return self.fail(which, cause::chain(&error), None);
            }
            let lane = self.lane(which);
            if lane.reached.is_none() && lane.lines.is_empty() {
                // Nothing was sent: that says nothing of the server.
                if lane.is_failing() {
                    self.succeed(which);
                }
                return;
            }
            lane.close();
        }
        if let Some(item) = self.lane(which).next() {
            let body = self.lane(which).lines.body(item.lines());
            match self.influx.write(&body).await {
                Answer::Final(verdict) => {
                    let settled = settle(item, verdict, &self.lane(which).lines);
                    self.take(which, settled);
                }
                Answer::Later { error, after } => {
                    self.lane(which).put_back(item);
                    return self.fail(which, error, after);
                }
                Answer::Misconfigured(error) => {
                    self.lane(which).put_back(item);
                    return self.fail(which, error, None);
                }
            }
        }
        if !self.lane(which).is_written_down() {
            let lane = self.lane(which);
            let (refused, stored) = (lane.refused.clone(), lane.letters.clone());
            if let Err(error) = self.letters.settle(refused, stored).await {
                return self.fail(which, cause::chain(&error), None);
            }
            let lane = self.lane(which);
            lane.refused.clear();
            lane.letters.clear();
        }
        if self.lane(which).is_done() {
            self.finish(which).await;
        }
        self.succeed(which);
    }

    /// Fills the batch with letters that are to be sent again.
    async fn take_letters(&mut self) -> Result<(), LettersError> {
        let letters = self.letters.waiting(self.config.batch_lines).await?;
        self.marked = !letters.is_empty();
        for letter in letters {
            let device = letter.series.first().and_then(|s| SeriesKey::parse(s));
            let origin = Origin {
                source: SourceName(letter.source.into()),
                device: device.map_or_else(|| DeviceId(SmolStr::default()), |key| key.device),
                letter: Some(letter.id),
            };
            self.replay.lines.push(&letter.line, origin);
        }
        Ok(())
    }

    /// Fills the batch with what was left behind.
    async fn take_behind(&mut self) {
        let Some(stretch) = self.cursor.behind() else {
            return;
        };
        let rate = self.config.backfill_rate.max(1);
        let most = self.config.batch_lines.min(rate);
        let entries = self.cursor.read_behind(stretch.after, most).await;
        let Some(newest) = entries.last() else {
            // The rest of the stretch is damaged, or went at the byte limit.
            let filled = self.cursor.fill(stretch.until).await;
            return warn_if_unwritten(filled);
        };
        let lane = &mut self.backfill;
        lane.reached = Some(newest.position);
        for entry in &entries {
            self.encoder.encode(entry, &mut lane.lines);
        }
        let readings: u64 = (0..lane.lines.len()).map(|l| lane.lines.readings(l)).sum();
        lane.pace(Duration::from_secs_f64(readings as f64 / rate as f64));
    }

    fn take(&mut self, which: Which, settled: Settled) {
        let counted = self.lane(which).take(settled);
        self.metrics.written.inc_by(counted.stored);
        self.metrics.refused.inc_by(counted.refused);
        let rate = (which == Which::Backfill).then(|| {
            self.metrics.backfilled.inc_by(counted.stored);
            self.backfill.measure(counted.stored)
        });
        self.status.send_modify(|status| {
            status.written += counted.stored;
            status.refused += counted.refused;
            if let Some(rate) = rate {
                status.backfill.written += counted.stored;
                status.backfill.rate = rate.unwrap_or(status.backfill.rate);
            }
        });
        if counted.refused > 0 {
            tracing::warn!(
                readings = counted.refused,
                "InfluxDB refused points for good; they are kept as dead letters"
            );
        }
    }

    /// The batch is stored, or refused and written down.
    async fn finish(&mut self, which: Which) {
        let lane = self.lane(which);
        let (reached, fared) = (lane.reached, std::mem::take(&mut lane.fared));
        lane.clear();
        // A dead letter was counted when it was refused, perhaps by an earlier process.
        if which != Which::Replay {
            // Nothing comes between this and the move of the cursor: a reload stops before both or after both.
            for (source, (stored, refused)) in fared {
                self.journal.tallies().archived(CURSOR, &source, stored);
                self.journal.tallies().refused(CURSOR, &source, refused);
            }
        }
        let Some(reached) = reached else { return };
        if which == Which::Backfill {
            return warn_if_unwritten(self.cursor.fill(reached).await);
        }
        warn_if_unwritten(self.cursor.advance(reached).await);
        if std::mem::take(&mut self.was_away) {
            self.leave_backlog().await;
        }
    }

    /// Leaves what waits behind if it is more than one batch.
    async fn leave_backlog(&mut self) {
        let waiting = self.journal.backlog(CURSOR).fresh;
        if waiting.readings <= self.config.batch_lines as u64 {
            return;
        }
        match self.cursor.leave_backlog().await {
            Ok(true) => tracing::info!(
                records = waiting.records,
                "a backlog is archived behind fresh readings"
            ),
            Ok(false) => tracing::info!(
                records = waiting.records,
                "there are backlogs enough: this one is archived before fresh readings"
            ),
            Err(error) => warn_if_unwritten(Err(error)),
        }
    }

    fn fail(&mut self, which: Which, error: String, after: Option<Duration>) {
        self.metrics.failures.inc();
        self.was_away = true;
        let lane = self.lane(which);
        if !lane.is_failing() {
            tracing::warn!(
                error,
                ?which,
                "readings cannot be archived; they wait in the journal"
            );
        }
        let wait = lane.backoff.next_wait().max(after.unwrap_or_default());
        lane.not_before = Instant::now() + wait;
        lane.error = error;
        lane.measure_anew();
        self.report();
    }

    fn succeed(&mut self, which: Which) {
        let lane = self.lane(which);
        if lane.is_failing() {
            tracing::info!(?which, "readings are archived again");
        }
        lane.backoff.reset();
        lane.error.clear();
        self.report();
    }

    fn report(&mut self) {
        let failing = [&self.fresh, &self.backfill, &self.replay]
            .into_iter()
            .find(|lane| lane.is_failing());
        let (state, detail) = failing.map_or(("writing", String::new()), |lane| {
            ("failing", lane.error.clone())
        });
        let backfill = if self.cursor.behind().is_none() {
            "idle"
        } else if self.backfill.is_failing() {
            "failing"
        } else if self.fresh.is_failing() {
            "paused"
        } else {
            "writing"
        };
        if backfill != "writing" {
            self.backfill.measure_anew();
        }
        let (journal, letters) = (&self.journal, self.letters.count());
        self.status.send_if_modified(|status| {
            let before = status.clone();
            (status.state, status.detail) = (state, detail);
            status.backfill.state = backfill;
            if backfill != "writing" {
                status.backfill.rate = 0;
            }
            status.dead_letters = letters;
            status.look(journal);
            *status != before
        });
    }
}

/// What the note says is at worst sent again after a restart, and is the same points.
fn warn_if_unwritten(noted: std::io::Result<()>) {
    if let Err(error) = noted {
        tracing::warn!(%error, "cannot write down how far the archive is");
    }
}

/// The lag grows while a request hangs and between two tries, and letters are discarded, when the archiver itself says nothing.
async fn tell_lag(journal: Journal, letters: DeadLetters, status: watch::Sender<ArchiveStatus>) {
    loop {
        tokio::time::sleep(TELL_LAG_EVERY).await;
        status.send_if_modified(|status| {
            let before = status.clone();
            status.look(&journal);
            status.dead_letters = letters.count();
            *status != before
        });
    }
}

#[cfg(test)]
mod tests;
