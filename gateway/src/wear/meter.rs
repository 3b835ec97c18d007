//! All parts together, what the kernel says, and what a day comes to.
//!
//! The truth is `write_bytes` of `/proc/self/io`: pages of files on disks that this process made dirty, counted when it wrote
//! them (`man 5 proc_pid_io`); a file system in memory counts as nothing. Where the kernel does not say (it was built without
//! task accounting, or `/proc` is hidden), the parts' own figures stand in, and [`DiskStatus::by_kernel`] says so.
//!
//! A day is projected from what was written since the oldest kept sample, at most [`KEPT_SAMPLES`] minutes ago, on a
//! monotonic clock: setting the machine's clock changes nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Writes,
    card::{self, CardStatus},
};

/// How often a sample is taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// Samples that are kept: six hours of them. The oldest goes.
const KEPT_SAMPLES: usize = 360;
/// Less than this is too little to say anything of a day.
const LEAST: Duration = Duration::from_secs(60);
const DAY_S: f64 = 86_400.0;

/// For the status page.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DiskStatus {
    /// Bytes written to disk since the start of the process.
    pub written_bytes: u64,
    /// Whether the kernel counted them; else they are the sum of the parts.
    pub by_kernel: bool,
    /// Calls of fsync(2) and fdatasync(2) since the start.
    pub syncs: u64,
    /// What each part counted itself.
    pub by_part: BTreeMap<&'static str, PartStatus>,
    /// What a day comes to; `None` in the first minute.
    pub per_day_bytes: Option<u64>,
    /// As [`DiskStatus::per_day_bytes`].
    pub per_day_syncs: Option<u64>,
    /// The time that the projection rests on, in seconds.
    pub over_s: u64,
    /// The card.
    #[serde(flatten)]
    pub card: CardStatus,
}

/// One part's own count since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartStatus {
    /// In whole pages.
    pub written_bytes: u64,
    /// Calls of fsync(2) and fdatasync(2).
    pub syncs: u64,
}

/// Measures what all parts write. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: card::Config,
    /// Where data is: its device is the card.
    dir: PathBuf,
    parts: Vec<(&'static str, Writes)>,
    // std: held for a look.
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    bytes: u64,
    syncs: u64,
    noted: u64,
}

impl Meter {
    /// Measures `parts`, which write below `dir`. Registered as `gateway_disk_written_bytes_total{part}`,
    /// `gateway_disk_syncs_total{part}`, `gateway_disk_process_written_bytes_total`, `gateway_disk_per_day_bytes` and
    /// `gateway_disk_card_life_years`.
    #[must_use]
    pub fn new(
        config: card::Config,
        dir: &Path,
        parts: Vec<(&'static str, Writes)>,
        registry: &mut Registry,
    ) -> Self {
        let meter = Self {
            shared: Arc::new(Shared {
                config,
                dir: dir.to_owned(),
                parts,
                samples: Mutex::default(),
            }),
        };
        meter.sample();
        registry.register_collector(Box::new(meter.clone()));
        meter
    }

    /// Takes samples until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let sampling = async {
            loop {
                tokio::time::sleep(SAMPLE_EVERY).await;
                self.sample();
            }
        };
        stop.run_until_cancelled(sampling).await;
    }

    /// As of now.
    #[must_use]
    pub fn status(&self) -> DiskStatus {
        let by_part: BTreeMap<_, _> = self
            .shared
            .parts
            .iter()
            .map(|(name, writes)| {
                let status = PartStatus {
                    written_bytes: writes.bytes(),
                    syncs: writes.syncs(),
                };
                (*name, status)
            })
            .collect();
        let (now, by_kernel) = self.now();
        let oldest = self.samples().front().copied().unwrap_or(now);
        let over = now.at - oldest.at;
        let per_day = |written: u64| (over >= LEAST).then(|| projected(written, over));
        let per_day_bytes = per_day(now.bytes.saturating_sub(oldest.bytes));
        let per_day_syncs = per_day(now.syncs.saturating_sub(oldest.syncs));
        let per_day_noted = per_day(now.noted.saturating_sub(oldest.noted));
        DiskStatus {
            written_bytes: now.bytes,
            by_kernel,
            syncs: now.syncs,
            by_part,
            per_day_bytes,
            per_day_syncs,
            over_s: over.as_secs(),
            card: self
                .shared
                .config
                .status(&self.shared.dir, per_day_bytes.zip(per_day_noted)),
        }
    }

    fn now(&self) -> (Sample, bool) {
        let sum = |of: fn(&Writes) -> u64| self.shared.parts.iter().map(|(_, w)| of(w)).sum();
        let kernel = written_in(Path::new("/proc/self/io"));
        let sample = Sample {
            at: Instant::now(),
            bytes: kernel.unwrap_or_else(|| sum(Writes::bytes)),
            syncs: sum(Writes::syncs),
            noted: sum(Writes::noted_syncs),
        };
        (sample, kernel.is_some())
    }

    fn sample(&self) {
        let (now, _) = self.now();
        let mut samples = self.samples();
        if samples.len() == KEPT_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(now);
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, VecDeque<Sample>> {
        self.shared
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a projection: six digits are more than it is worth; the cast saturates"
)]
fn projected(written: u64, over: Duration) -> u64 {
    (written as f64 / over.as_secs_f64() * DAY_S).round() as u64
}

/// `write_bytes` of one of the kernel's files about a process or a thread.
pub(super) fn written_in(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

impl Collector for Meter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.status();
        type Figure = fn(&PartStatus) -> u64;
        let of_parts: [(&str, &str, Figure); 2] = [
            (
                "gateway_disk_written_bytes",
                "Bytes written to disk, in whole pages, as each part counts them",
                |part| part.written_bytes,
            ),
            (
                "gateway_disk_syncs",
                "Calls of fsync and fdatasync",
                |part| part.syncs,
            ),
        ];
        for (name, help, figure) in of_parts {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (part, counts) in &status.by_part {
                ConstCounter::new(figure(counts))
                    .encode(family.encode_family(&[("part", *part)])?)?;
            }
        }
        if status.by_kernel {
            let help = "Bytes that this process made the kernel write to disk";
            let name = "gateway_disk_process_written_bytes";
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(status.written_bytes).encode(metric)?;
        }
        if let Some(bytes) = status.per_day_bytes {
            let help = "Bytes written in a day, at the rate of the last hours";
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(
                "gateway_disk_per_day_bytes",
                help,
                None,
                kind,
            )?)?;
        }
        if let Some(years) = status.card.card_life_years {
            let help = "How long the configured endurance lasts at that rate";
            let gauge = ConstGauge::new(years);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(
                "gateway_disk_card_life_years",
                help,
                None,
                kind,
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(parts: Vec<(&'static str, Writes)>) -> Meter {
        let dir = std::env::temp_dir();
        Meter::new(
            card::Config::default(),
            &dir,
            parts,
            &mut Registry::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_is_projected_from_the_last_hours_on_a_monotonic_clock() {
        let writes = Writes::default();
        let meter = meter(vec![("journal", writes.clone())]);
        writes.synced(10);
        assert_eq!(meter.status().per_day_syncs, None, "too early to say");
        tokio::time::advance(Duration::from_secs(600)).await;
        let status = meter.status();
        assert_eq!((status.per_day_syncs, status.over_s), (Some(1_440), 600));
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_bounded_and_the_start_is_forgotten_in_time() {
        let writes = Writes::default();
        let meter = meter(vec![("journal", writes.clone())]);
        let stop = CancellationToken::new();
        let sampling = tokio::spawn(meter.clone().run(stop.clone()));
        writes.synced(1_000_000);
        tokio::time::sleep(SAMPLE_EVERY * 1_000).await;
        assert_eq!(meter.samples().len(), KEPT_SAMPLES);
        let status = meter.status();
        assert_eq!(status.per_day_syncs, Some(0));
        assert!(status.over_s <= 6 * 3_600, "{}", status.over_s);
        stop.cancel();
        sampling.await.unwrap();
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("io");
        std::fs::write(
            &file,
            "wchar: 9\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n",
        )
        .unwrap();
        assert_eq!(written_in(&file), Some(4096));
        assert_eq!(written_in(&dir.path().join("none")), None);
    }
}
