//! The benchmark's files that lie beside the repository, and what rules without a threshold say about them.

use gateway::{
    alert::anomaly::{Detector, Mood, Tuning},
    model::Timestamp,
};

use super::{Judged, probation};

/// Of the files of `alerts`: every row that begins an alert counts.
pub const ANY: f64 = f64::MIN_POSITIVE;

/// A file with its labels.
#[derive(Debug)]
pub struct File {
    /// The folder.
    pub group: String,
    /// Without the folder and `.csv`.
    pub name: String,
    /// In the order of the file; times are taken for UTC.
    pub readings: Vec<(Timestamp, f64)>,
    /// First and last row of each.
    pub windows: Vec<(usize, usize)>,
}

/// As people hear of them: the score of each reading that begins an alert at this limit, 0 for all others.
#[must_use]
pub fn alerts(files: &[File], tuning: &Tuning, limit: f64) -> Vec<Judged> {
    each(files, |file| {
        let mut detector = Detector::new();
        let mut firing = false;
        let score = |&(time, value): &(Timestamp, f64)| {
            let score = detector.read(tuning, time, value);
            let was = firing;
            match detector.mood(tuning, score, limit) {
                Mood::Strange => firing = true,
                Mood::Calm | Mood::Learning => firing = false,
                Mood::Uneasy => {}
            }
            if firing && !was { score.score } else { 0.0 }
        };
        file.readings.iter().map(score).collect()
    })
}

/// The score of each reading.
#[must_use]
pub fn rows(files: &[File], tuning: &Tuning) -> Vec<Judged> {
    each(files, |file| {
        let mut detector = Detector::new();
        let score = |&(time, value): &(Timestamp, f64)| detector.read(tuning, time, value).score;
        file.readings.iter().map(score).collect()
    })
}

fn each(files: &[File], scores: impl Fn(&File) -> Vec<f64>) -> Vec<Judged> {
    files
        .iter()
        .map(|file| Judged {
            scores: scores(file),
            windows: file.windows.clone(),
        })
        .collect()
}

/// All of them, in the order of their names; `None` (and a line that says so) where they are not there.
///
/// # Panics
/// If they are not what they were.
#[must_use]
pub fn files() -> Option<Vec<File>> {
    let labels = crate::capture("timeseries/nab/labels.json")?;
    let labels: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(labels).expect("labels")).expect("labels are JSON");
    labels
        .iter()
        .map(|(path, label)| {
            let csv = crate::capture(&format!("timeseries/nab/{}", path.replace('/', "__")))?;
            let csv = std::fs::read_to_string(csv).expect("a file that is there");
            let rows: Vec<(&str, &str)> = csv
                .lines()
                .skip(1)
                .filter_map(|row| row.split_once(','))
                .collect();
            let row_of = |time: &serde_json::Value| {
                let time = time.as_str().and_then(|time| time.split('.').next());
                rows.iter()
                    .position(|row| Some(row.0) == time)
                    .expect("a window of the file")
            };
            let windows: Vec<_> = label["anomaly_windows"]
                .as_array()
                .expect("windows")
                .iter()
                .map(|window| (row_of(&window[0]), row_of(&window[1])))
                .collect();
            let readings: Vec<_> = rows
                .iter()
                .map(|(time, value)| {
                    let time: jiff::Timestamp = format!("{time}Z").parse().expect("a time");
                    (
                        Timestamp::from_millis(time.as_millisecond()),
                        value.parse().expect("a value"),
                    )
                })
                .collect();
            let (group, name) = path.split_once('/').unwrap_or(("", path));
            assert!(
                windows
                    .iter()
                    .all(|window| window.0 >= probation(readings.len()))
            );
            Some(File {
                group: group.into(),
                name: name.trim_end_matches(".csv").into(),
                readings,
                windows,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nab::{PROFILES, normalised};
    use gateway::alert::anomaly::Sensitivity;

    /// As shipped: one limit for all, nothing tuned to a file.
    #[test]
    fn the_files_of_the_benchmark_are_judged_better_than_65_of_100() {
        let Some(files) = files() else { return };
        assert_eq!(files.len(), 7);
        let judged = alerts(&files, &Tuning::default(), Sensitivity::Medium.limit());
        let score = normalised(&judged.iter().collect::<Vec<_>>(), PROFILES[0], ANY);
        assert!(score > 65.0, "{score}");
    }
}
