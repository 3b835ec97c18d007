//! The scoring of the Numenta Anomaly Benchmark, for series of which row numbers alone matter. Pure.
//!
//! A detector gives each row a score from 0 to 1; a row at or above a threshold is a detection. Within a labelled window only the
//! earliest detection counts, and the more the earlier it is; a detection outside costs, a little less shortly after a window; a
//! window without a detection costs too. Rows of the probationary period count nothing. One threshold holds for all files, the
//! one with the best sum. Sums are given on a scale on which 0 is a detector that never says anything and 100 one that is perfect.
//!
//! Source: Lavin and Ahmad, *Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark*, ICMLA 2015
//! (arXiv:1510.03336), and the programme's behaviour since its version 1.0, whose published results the tests below hold this to.

pub mod files;

/// What hits, false alarms and misses are worth to somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// As the benchmark calls it.
    pub name: &'static str,
    /// A window found at its very beginning.
    pub hit: f64,
    /// A detection far from any window.
    pub false_alarm: f64,
    /// A window in which nothing was detected.
    pub miss: f64,
}

/// The benchmark's three.
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "standard",
        hit: 1.0,
        false_alarm: 0.11,
        miss: 1.0,
    },
    Profile {
        name: "reward low FP",
        hit: 1.0,
        false_alarm: 0.22,
        miss: 1.0,
    },
    Profile {
        name: "reward low FN",
        hit: 1.0,
        false_alarm: 0.11,
        miss: 2.0,
    },
];

/// What a detector said about one file, and what is right.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// A score per row.
    pub scores: Vec<f64>,
    /// First and last row of each window, in order, apart.
    pub windows: Vec<(usize, usize)>,
}

/// What came of one file at one threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The sum, not on the scale from 0 to 100.
    pub sum: f64,
    /// Windows with a detection.
    pub found: usize,
    /// Windows without.
    pub missed: usize,
    /// Detections outside of windows.
    pub false_alarms: usize,
}

/// Rows at the beginning of a file that are not judged: 15 %, at most 750.
pub const fn probation(rows: usize) -> usize {
    let share = rows * 15 / 100;
    if share < 750 { share } else { 750 }
}

/// From 1 (long before `position` 0) to -1 (long after it).
fn sigmoid(position: f64) -> f64 {
    if position >= 3.0 {
        return -1.0;
    }
    2.0 / (1.0 + (5.0 * position).exp()) - 1.0
}

/// What a detection in each row is worth, and in which window the row is.
fn worth(judged: &Judged, profile: Profile) -> impl Iterator<Item = (f64, Option<usize>)> {
    let mut next = 0;
    (0..judged.scores.len()).map(move |row| {
        while judged
            .windows
            .get(next)
            .is_some_and(|&(_, last)| last < row)
        {
            next += 1;
        }
        match judged.windows.get(next) {
            Some(&(first, last)) if row >= first => {
                let width = (last - first + 1) as f64;
                let position = -((last - row + 1) as f64) / width;
                (sigmoid(position) * profile.hit / sigmoid(-1.0), Some(next))
            }
            _ => {
                let position = next
                    .checked_sub(1)
                    .and_then(|before| judged.windows.get(before))
                    .map_or(3.0, |&(first, last)| {
                        (row - last) as f64 / (last - first) as f64
                    });
                (sigmoid(position) * profile.false_alarm, None)
            }
        }
    })
}

/// Judges one file at a threshold.
pub fn outcome(judged: &Judged, profile: Profile, threshold: f64) -> Outcome {
    let mut windows: Vec<Option<f64>> = vec![None; judged.windows.len()];
    let mut outcome = Outcome::default();
    let begin = probation(judged.scores.len());
    for (row, (worth, window)) in worth(judged, profile).enumerate().skip(begin) {
        if judged.scores[row] < threshold {
            continue;
        }
        match window {
            Some(window) => {
                let best = &mut windows[window];
                *best = Some(best.map_or(worth, |best| best.max(worth)));
            }
            None => {
                outcome.false_alarms += 1;
                outcome.sum += worth;
            }
        }
    }
    for best in windows {
        match best {
            Some(worth) => {
                outcome.found += 1;
                outcome.sum += worth;
            }
            None => {
                outcome.missed += 1;
                outcome.sum -= profile.miss;
            }
        }
    }
    outcome
}

/// The sum over files at a threshold on the scale on which the silent detector has 0 and the perfect one 100.
pub fn normalised(files: &[&Judged], profile: Profile, threshold: f64) -> f64 {
    let sum = files
        .iter()
        .map(|file| outcome(file, profile, threshold).sum)
        .sum::<f64>();
    let windows = files.iter().map(|file| file.windows.len()).sum();
    scaled(sum, windows, profile)
}

/// A sum over files with so many windows on that scale.
pub fn scaled(sum: f64, windows: usize, profile: Profile) -> f64 {
    let windows = windows as f64;
    let silent = -profile.miss * windows;
    100.0 * (sum - silent) / (profile.hit * windows - silent)
}

/// The threshold with the best sum over all files: one of the scores, or 1.1, at which nothing is a detection.
pub fn best_threshold(files: &[&Judged], profile: Profile) -> f64 {
    // (score, worth, window), from the highest score down; a window is worth its best detection so far.
    let mut rows = Vec::new();
    let mut windows = Vec::new();
    for file in files {
        let base = windows.len();
        windows.resize(base + file.windows.len(), -profile.miss);
        let begin = probation(file.scores.len());
        for (row, (worth, window)) in worth(file, profile).enumerate().skip(begin) {
            rows.push((file.scores[row], worth, window.map(|window| base + window)));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut sum = windows.iter().sum::<f64>();
    let mut best = (sum, 1.1);
    for (at, &(score, worth, window)) in rows.iter().enumerate() {
        match window {
            Some(window) if worth > windows[window] => {
                sum += worth - windows[window];
                windows[window] = worth;
            }
            Some(_) => {}
            None => sum += worth,
        }
        let last_of_its_score = rows.get(at + 1).is_none_or(|next| next.0 < score);
        if last_of_its_score && sum > best.0 {
            best = (sum, score);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in which these rows were detected.
    fn file(rows: usize, windows: &[(usize, usize)], detected: &[usize]) -> Judged {
        let mut scores = vec![0.0; rows];
        for &row in detected {
            scores[row] = 0.9;
        }
        Judged {
            scores,
            windows: windows.to_vec(),
        }
    }

    #[track_caller]
    fn near(found: f64, published: f64) {
        assert!((found - published).abs() < 1e-9, "{found} {published}");
    }

    /// The results that the benchmark's repository holds for these files, with the rows that the detectors named.
    #[test]
    fn published_results_come_out() {
        let rds = [(2980, 3180), (3479, 3679)];
        let speed = [(2261, 2499)];
        for (rows, windows, detected, published) in [
            // randomCutForest, realAWSCloudwatch/rds_cpu_utilization_cc0c53
            (4032, &rds[..], &[3080, 3081, 3579][..], 1.723_101_604_15),
            // windowedGaussian and bayesChangePt, the same: the second window is missed, without and with a false alarm
            (4032, &rds, &[3080, 3100], -0.138_449_197_924_402_25),
            (4032, &rds, &[700, 3080], -0.248_449_197_924_402_23),
            // contextOSE, realTraffic/speed_6005: found at 2015-09-17 00:15, and a false alarm before
            (2500, &speed, &[900, 2318], 0.859_536_608_358),
            // randomCutForest, realTraffic/speed_6005, and windowedGaussian, which was silent
            (2500, &speed, &[2386, 2387, 2389], 0.842_622_001_755_938_3),
            (2500, &speed, &[], -1.0),
            // randomCutForest, realTraffic/occupancy_6005
            (2380, &[(1645, 1883)], &[1764], 0.861_272_490_375),
            // windowedGaussian, realAWSCloudwatch/ec2_network_in_257a54
            (
                4032,
                &[(1437, 1839)],
                &[1638, 1639, 1640, 1643],
                0.860_671_824_269_702_2,
            ),
        ] {
            near(
                outcome(&file(rows, windows, detected), PROFILES[0], 0.5).sum,
                published,
            );
        }
        // contextOSE on all 58 files with their 116 windows: 69.9 and 73.2 to 73.3 in the table.
        near(
            scaled(46.171_468_254_5, 116, PROFILES[0]),
            69.901_494_937_284_48,
        );
        near(
            scaled(23.171_468_254_5, 116, PROFILES[2]),
            73.325_134_555_890_8,
        );
    }

    #[test]
    fn the_probationary_period_is_15_percent_of_5000_rows_at_most() {
        for (rows, expected) in [(100, 15), (4032, 604), (5000, 750), (22_695, 750)] {
            assert_eq!(probation(rows), expected);
        }
        let judged = file(100, &[(40, 50)], &[3, 14]);
        near(outcome(&judged, PROFILES[0], 0.5).sum, -1.0);
    }

    #[test]
    fn the_sigmoid_has_the_values_that_the_paper_gives() {
        for (position, expected) in [
            (-1.0, 0.986_61),
            (-0.5, 0.848_28),
            (0.0, 0.0),
            (1.0, -0.986_61),
            (3.0, -1.0),
        ] {
            assert!((sigmoid(position) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn a_false_alarm_soon_after_a_window_costs_less() {
        let cost = |row| outcome(&file(100, &[(40, 50)], &[40, row]), PROFILES[1], 0.5).sum - 1.0;
        near(cost(90), -0.22);
        assert!(
            (-0.22..0.0).contains(&cost(52)) && cost(52) > cost(55),
            "{} {}",
            cost(52),
            cost(55)
        );
    }

    /// The example of the benchmark's own tests: what each threshold adds, the best one wins.
    #[test]
    fn the_best_threshold_is_found() {
        let mut judged = file(100, &[(30, 39), (75, 95)], &[]);
        for (row, score) in [
            (32, 0.9),
            (80, 0.6),
            (60, 0.6),
            (20, 0.3),
            (21, 0.3),
            (22, 0.3),
        ] {
            judged.scores[row] = score;
        }
        assert_eq!(
            best_threshold(&[&judged], PROFILES[0]).to_bits(),
            0.6_f64.to_bits()
        );
        let silent = file(100, &[], &[]);
        assert_eq!(
            best_threshold(&[&silent], PROFILES[0]).to_bits(),
            1.1_f64.to_bits()
        );
        let all = [0.3, 0.6, 0.9, 1.1].map(|at| normalised(&[&judged], PROFILES[0], at));
        near(all[3], 0.0);
        assert!(all[1] > all[0] && all[1] > all[2], "{all:?}");
    }

    #[test]
    fn perfect_is_100_in_each_profile_and_silent_0() {
        let perfect = file(1000, &[(300, 400), (600, 700)], &[300, 600]);
        let silent = file(1000, &[(300, 400), (600, 700)], &[]);
        for profile in PROFILES {
            near(normalised(&[&perfect, &perfect], profile, 0.5), 100.0);
            near(normalised(&[&silent], profile, 0.5), 0.0);
        }
    }
}
