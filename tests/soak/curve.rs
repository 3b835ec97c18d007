//! What the gateway took of the machine over time.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use crate::plant::Plant;

/// Growth of memory between the second and the last third that is still taken for noise: a share, and so many bytes.
const NOISE_SHARE: f64 = 0.05;
const NOISE_BYTES: f64 = 2e6;
/// Descriptors come and go with browsers; so many more in the last third than ever before are a leak.
const NOISE_DESCRIPTORS: u64 = 16;
/// Below this many samples there are no thirds to compare.
const ENOUGH: usize = 30;
/// Lines of the printed table.
const PRINTED: usize = 40;

/// One look at the process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    /// Resident memory in bytes, all and without mapped files.
    resident: u64,
    anonymous: u64,
    descriptors: u64,
    threads: u64,
    /// Its data folder.
    disk_bytes: u64,
    files: u64,
    log_lines: u64,
    /// Journal records not yet archived; unknown while the gateway is held.
    lag: Option<u64>,
}

/// All looks.
#[derive(Debug, Default)]
pub(crate) struct Curve {
    began: Option<Instant>,
    samples: Vec<Sample>,
}

impl Curve {
    /// Looks at the gateway now.
    pub(crate) async fn take(&mut self, plant: &Plant) {
        let began = *self.began.get_or_insert_with(Instant::now);
        let pid = plant.gateway.pid();
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the gateway runs");
        let number = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or_default()
        };
        let descriptors =
            std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |fds| fds.count() as u64);
        let (files, disk_bytes) = size(&plant.gateway.dir.path().join("data"));
        self.samples.push(Sample {
            at: began.elapsed(),
            resident: number("VmRSS:") * 1024,
            anonymous: number("RssAnon:") * 1024,
            descriptors,
            threads: number("Threads:"),
            disk_bytes,
            files,
            log_lines: plant.gateway.log_lines() as u64,
            lag: plant.lag().await,
        });
    }

    /// Some forty lines over the whole time.
    pub(crate) fn print(&self) {
        println!(
            "\n   min   RSS MB  anon MB   fds  threads  data MB  files  log lines  archive lag"
        );
        let step = self.samples.len().div_ceil(PRINTED).max(1);
        for sample in self.samples.iter().step_by(step).chain(self.samples.last()) {
            println!(
                "{:>6.1} {:>8.1} {:>8.1} {:>5} {:>8} {:>8.1} {:>6} {:>10} {:>12}",
                sample.at.as_secs_f64() / 60.0,
                megabytes(sample.resident),
                megabytes(sample.anonymous),
                sample.descriptors,
                sample.threads,
                megabytes(sample.disk_bytes),
                sample.files,
                sample.log_lines,
                sample
                    .lag
                    .map_or_else(|| String::from("-"), |lag| lag.to_string())
            );
        }
    }

    /// What grew from the second third to the last; the first is for filling up.
    pub(crate) fn growth(&self) -> Vec<String> {
        if self.samples.len() < ENOUGH {
            println!(
                "\n{} samples are too few to tell growth from noise",
                self.samples.len()
            );
            return Vec::new();
        }
        let third = self.samples.len() / 3;
        let (middle, last) = (&self.samples[third..2 * third], &self.samples[2 * third..]);
        let mut wrong = Vec::new();
        let anonymous = |part: &[Sample]| median(part.iter().map(|s| s.anonymous));
        let (before, after) = (anonymous(middle), anonymous(last));
        println!(
            "\nanonymous memory, medians: second third {:.2} MB, last third {:.2} MB",
            before / 1e6,
            after / 1e6
        );
        if after > before * (1.0 + NOISE_SHARE) + NOISE_BYTES {
            wrong.push(format!(
                "memory grew from {:.1} to {:.1} MB",
                before / 1e6,
                after / 1e6
            ));
        }
        type Figure = fn(&Sample) -> u64;
        let figures: [(&str, Figure, u64); 2] = [
            ("descriptors", |s| s.descriptors, NOISE_DESCRIPTORS),
            ("threads", |s| s.threads, 4),
        ];
        for (what, figure, noise) in figures {
            let most = |part: &[Sample]| part.iter().map(figure).max().unwrap_or_default();
            let (before, after) = (most(&self.samples[..2 * third]), most(last));
            if after > before + noise {
                wrong.push(format!("{what} grew from {before} to {after}"));
            }
        }
        wrong
    }
}

/// Files and bytes under a folder.
fn size(folder: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return (0, 0);
    };
    entries.flatten().fold((0, 0), |(files, bytes), entry| {
        let (more_files, more_bytes) = match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => (1, meta.len()),
            // Gone between the two looks.
            Err(_) => (0, 0),
        };
        (files + more_files, bytes + more_bytes)
    })
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
fn median(values: impl Iterator<Item = u64>) -> f64 {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted
        .get(sorted.len() / 2)
        .map_or(0.0, |middle| *middle as f64)
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
