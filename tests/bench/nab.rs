//! How well rules without a threshold find what is wrong in the files of the Numenta Anomaly Benchmark that lie beside the repository,
//! by that benchmark's own scoring (`tests::nab`), and what a reading costs.
//!
//! What is scored are the beginnings of alerts, as people hear of them: a row at which an alert begins has the score of its reading,
//! every other row 0. No file is treated otherwise than another, and nothing is known of a file before it is read row by row.

use std::hint::black_box;

use gateway::alert::anomaly::{Detector, Sensitivity, Tuning};
use rustix::time::{ClockId, clock_gettime};
use tests::nab::{
    Judged, PROFILES, Profile, best_threshold,
    files::{ANY, File, alerts, files, rows},
    normalised, outcome,
};

/// What published detectors have on these seven files, from the result files in the benchmark's repository, normalised the same
/// way; their thresholds are those for all 58 files of the benchmark.
const PUBLISHED: [(&str, f64); 8] = [
    ("CAD OSE", 83.3),
    ("Numenta HTM", 67.1),
    ("earthgecko Skyline", 65.1),
    ("random cut forest", 53.2),
    ("relative entropy", 49.8),
    ("KNN CAD", 42.0),
    ("Bayesian change point", 24.1),
    ("windowed Gaussian", 20.2),
];

pub(crate) fn run() {
    let Some(files) = files() else { return };
    let tuning = Tuning::default();
    println!(
        "\nNumenta Anomaly Benchmark, the {} files that are here, {} windows",
        files.len(),
        windows(&files)
    );
    println!("\n| file | rows | windows | found | false alarms | sum |\n|---|---|---|---|---|---|");
    let shipped = Sensitivity::Medium.limit();
    let judged = alerts(&files, &tuning, shipped);
    let mut groups: Vec<&str> = files.iter().map(|file| file.group.as_str()).collect();
    groups.dedup();
    for group in groups {
        let of_group: Vec<_> = files
            .iter()
            .zip(&judged)
            .filter(|(file, _)| file.group == group)
            .collect();
        for (file, judged) in &of_group {
            let it = outcome(judged, PROFILES[0], ANY);
            println!(
                "| {}/{} | {} | {} | {} | {} | {:.3} |",
                file.group,
                file.name,
                file.readings.len(),
                file.windows.len(),
                it.found,
                it.false_alarms,
                it.sum
            );
        }
        let refs: Vec<&Judged> = of_group.iter().map(|(_, judged)| *judged).collect();
        println!(
            "| **{group}**: {:.1} | | | | | |",
            normalised(&refs, PROFILES[0], ANY)
        );
    }
    println!("\n| | standard | reward low FP | reward low FN |\n|---|---|---|---|");
    for (name, sensitivity) in [
        ("as shipped, `medium`", Sensitivity::Medium),
        ("as shipped, `low`", Sensitivity::Low),
        ("as shipped, `high`", Sensitivity::High),
    ] {
        let judged = alerts(&files, &tuning, sensitivity.limit());
        let totals = PROFILES.map(|profile| format!("{:.1}", total(&judged, profile)));
        println!(
            "| {name} ({}) | {} |",
            sensitivity.limit(),
            totals.join(" | ")
        );
    }
    let best = PROFILES.map(|profile| {
        let (limit, score) = limits()
            .map(|limit| (limit, total(&alerts(&files, &tuning, limit), profile)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or_default();
        format!("{score:.1} (at {limit:.2})")
    });
    println!(
        "| with the best limit for these files, as the benchmark reports | {} |",
        best.join(" | ")
    );
    let judged = rows(&files, &tuning);
    let refs: Vec<&Judged> = judged.iter().collect();
    let each = PROFILES.map(|profile| {
        format!(
            "{:.1}",
            normalised(&refs, profile, best_threshold(&refs, profile))
        )
    });
    println!(
        "| every row over the best limit, not only where an alert begins | {} |",
        each.join(" | ")
    );
    cross_validate(&files);
    println!("\n| published detector | standard, these files |\n|---|---|");
    for (name, score) in PUBLISHED {
        println!("| {name} | {score:.1} |");
    }
    cost(&files);
}

/// Settings and limit from some of the files, the score from the others.
fn cross_validate(files: &[File]) {
    let mut tried = Vec::new();
    for recent in [12, 24, 48] {
        for remembers in [3_000, 5_000, 8_000] {
            for doubt in [150.0, 300.0, 600.0] {
                let mut tuning = Tuning {
                    doubt,
                    ..Tuning::default()
                };
                tuning.recent.readings = recent;
                tuning.remembers.readings = remembers;
                tried.extend(limits().map(|limit| alerts(files, &tuning, limit)));
            }
        }
    }
    let on = |judged: &Vec<Judged>, mask: u32| {
        let refs: Vec<&Judged> = (0..files.len())
            .filter(|file| mask >> file & 1 == 1)
            .map(|file| &judged[file])
            .collect();
        normalised(&refs, PROFILES[0], ANY)
    };
    let all = (1_u32 << files.len()) - 1;
    let held_out = |trained: u32| {
        let best = tried
            .iter()
            .max_by(|a, b| on(a, trained).total_cmp(&on(b, trained)));
        best.map_or(0.0, |best| on(best, all & !trained))
    };
    let half = files.len() as u32 / 2;
    let halves: Vec<f64> = (1..all)
        .filter(|mask| mask.count_ones() == half || mask.count_ones() == files.len() as u32 - half)
        .map(held_out)
        .collect();
    println!(
        "| settings and limit from half of the files, score of the other half: mean of {} ways, worst {:.1} | {:.1} | | |",
        halves.len(),
        halves.iter().copied().fold(f64::INFINITY, f64::min),
        halves.iter().sum::<f64>() / halves.len() as f64,
    );
    let left_out = files
        .iter()
        .enumerate()
        .map(|(file, it)| held_out(all & !(1 << file)) * it.windows.len() as f64);
    println!(
        "| from all files but one, score of that one | {:.1} | | |",
        left_out.sum::<f64>() / windows(files) as f64
    );
}

fn cost(files: &[File]) {
    const ROUNDS: u32 = 10;
    let tuning = Tuning::default();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu();
        for file in files {
            let mut detector = Detector::new();
            for &(time, value) in &file.readings {
                let score = detector.read(&tuning, time, value);
                black_box(detector.mood(&tuning, score, 0.5));
            }
            black_box(detector);
        }
        rounds.push(cpu() - begun);
    }
    rounds.sort_by(f64::total_cmp);
    let readings = files.iter().map(|file| file.readings.len()).sum::<usize>() as f64;
    let nanos = |round: usize| rounds[round] * 1e9 / readings;
    println!(
        "\n{:.0} ns of CPU a reading (median of {ROUNDS} rounds; {:.0} to {:.0}), {} bytes a series in memory, {} written down",
        nanos(rounds.len() / 2),
        nanos(0),
        nanos(rounds.len() - 1),
        size_of::<Detector>(),
        Detector::BYTES,
    );
}

/// Seconds that this process has computed: others on the machine don't count.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn total(judged: &[Judged], profile: Profile) -> f64 {
    normalised(&judged.iter().collect::<Vec<_>>(), profile, ANY)
}

fn windows(files: &[File]) -> usize {
    files.iter().map(|file| file.windows.len()).sum()
}

fn limits() -> impl Iterator<Item = f64> {
    (10..95)
        .step_by(2)
        .map(|percent| f64::from(percent) / 100.0)
}
