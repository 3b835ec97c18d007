use proptest::prelude::*;

use super::{bytes::Input, map::Map, *};

const MINUTE: i64 = 60_000_000_000;

/// Learns soon, so that tests are short.
fn tuning() -> Tuning {
    let span = |readings| Span {
        readings,
        time: Duration::ZERO,
    };
    Tuning {
        learns: span(50),
        recent: span(5),
        remembers: span(400),
        calm: span(12),
        ..Tuning::default()
    }
}

/// A daily wave between 10 and 30 with a little noise, a reading each five minutes.
fn wave(reading: i64) -> f64 {
    let phase = reading as f64 / 288.0 * std::f64::consts::TAU;
    20.0 + 10.0 * phase.sin() + ((reading * 7919) % 13) as f64 / 26.0
}

fn at(reading: i64) -> Timestamp {
    Timestamp(reading * 5 * MINUTE)
}

/// What five days of the wave teach.
fn taught() -> (Detector, i64) {
    let mut detector = Detector::new();
    for reading in 0..1440 {
        detector.read(&Tuning::default(), at(reading), wave(reading));
    }
    (detector, 1440)
}

#[test]
fn what_was_seen_before_scores_nothing_and_what_was_not_scores_by_its_distance() {
    let (detector, next) = taught();
    let score = |value| {
        detector
            .clone()
            .read(&Tuning::default(), at(next), value)
            .score
    };
    assert!(score(wave(next)) < 0.1, "{}", score(wave(next)));
    let scores = [18.0, 16.0, 14.0, 11.0, 40.0, 90.0].map(score);
    assert!(scores[0] < 0.5, "{scores:?}");
    assert!(scores.is_sorted(), "{scores:?}");
    assert!(
        scores[3] > 0.7 && scores[5] > 0.9 && scores[5] < 1.0,
        "{scores:?}"
    );
}

#[test]
fn a_value_within_the_range_is_unusual_where_it_never_followed() {
    let (detector, next) = taught();
    // 28 comes each day, but never five minutes after 20.
    let jump = detector.clone().read(&Tuning::default(), at(next), 28.0);
    assert!(jump.score > 0.5, "{jump:?}");
    let (low, high) = jump.expected.expect("something to expect");
    assert!(low < 20.0 && high > 20.0 && high < 24.0, "{jump:?}");
    // After ten hours without a reading it follows nothing.
    let later = detector
        .clone()
        .read(&Tuning::default(), at(next + 120), 28.0);
    assert!(later.score < 0.1, "{later:?}");
}

#[test]
fn nothing_is_scored_before_both_readings_and_time_are_enough() {
    for (step, learned) in [(5 * MINUTE, 300), (MINUTE, 1440), (60 * MINUTE, 300)] {
        let mut detector = Detector::new();
        let first = (0..3_000)
            .find(|&reading| {
                let value = f64::from(u8::from(reading % 2 == 0));
                let time = Timestamp(reading * step);
                !detector.read(&Tuning::default(), time, value).learning
            })
            .expect("it learns");
        assert!((learned - 1..=learned).contains(&first), "{step} {first}");
    }
}

#[test]
fn what_lasts_becomes_usual_and_what_never_came_again_is_forgotten() {
    let tuning = tuning();
    let mut detector = Detector::new();
    let mut read = |from: i64, to: i64, value: f64| {
        let mut last = 0.0;
        for reading in from..to {
            let value = value + (reading % 5) as f64;
            last = detector.read(&tuning, at(reading), value).score;
        }
        last
    };
    read(0, 200, 10.0);
    assert!(read(200, 201, 20.0) > 0.5, "new");
    assert!(read(201, 210, 20.0) > 0.5, "still new");
    assert!(read(210, 230, 20.0) < 0.01, "it lasts");
    assert!(read(230, 240, 10.0) < 0.7);
    assert!(read(240, 250, 20.0) < 0.01, "it came again");
    read(250, 1_300, 10.0);
    assert!(read(1_300, 1_301, 20.0) > 0.5, "forgotten");
}

#[test]
fn an_outlier_does_not_blind_it() {
    let (mut detector, next) = taught();
    let tuning = Tuning::default();
    assert!(detector.read(&tuning, at(next), 1e9).score > 0.99);
    detector.read(&tuning, at(next + 1), wave(next + 1));
    let jump = detector.clone().read(&tuning, at(next + 2), 28.0).score;
    assert!(jump > 0.5, "{jump}");
    for reading in next + 2..next + 12_000 {
        detector.read(&tuning, at(reading), wave(reading));
    }
    let jump = detector.read(&tuning, at(next + 12_000), wave(next + 12_000) + 20.0);
    assert!(jump.score > 0.5, "{jump:?}");
}

#[test]
fn a_series_that_never_moved_forgives_a_hundredth_of_its_size() {
    let tuning = tuning();
    let mut detector = Detector::new();
    for reading in 0..5_000 {
        assert!(detector.read(&tuning, at(reading), 1013.0).score < 1e-9);
    }
    let score = |value| detector.clone().read(&tuning, at(5_000), value).score;
    assert!(score(1013.2) < 0.3, "{}", score(1013.2));
    assert!(score(1100.0) > 0.9, "{}", score(1100.0));
}

#[test]
fn an_alert_is_over_when_it_was_calm_for_long_enough() {
    let (mut detector, next) = taught();
    let tuning = Tuning::default();
    let mut mood = |reading, value| {
        let score = detector.read(&tuning, at(reading), value);
        detector.mood(&tuning, score, 0.5)
    };
    assert_eq!(mood(next, wave(next)), Mood::Calm);
    assert_eq!(mood(next + 1, 90.0), Mood::Strange);
    // Coming back is strange too.
    assert_eq!(mood(next + 2, wave(next + 2)), Mood::Strange);
    for reading in next + 3..next + 26 {
        assert_eq!(mood(reading, wave(reading)), Mood::Uneasy, "{reading}");
    }
    assert_eq!(mood(next + 26, wave(next + 26)), Mood::Calm);
    assert_eq!(
        Detector::new().mood(
            &tuning,
            Score {
                score: 0.0,
                expected: None,
                learning: true
            },
            0.5
        ),
        Mood::Learning
    );
}

#[test]
fn it_is_small() {
    const { assert!(size_of::<Detector>() < 4096 && Detector::BYTES < 4096) };
    assert_eq!(Detector::new().to_bytes().len(), Detector::BYTES);
}

#[test]
fn bytes_that_are_no_detector_are_none() {
    let bytes = taught().0.to_bytes();
    assert!(Detector::from_bytes(&bytes).is_some());
    for length in 0..bytes.len() {
        assert!(Detector::from_bytes(&bytes[..length]).is_none());
    }
    let mut long = bytes.clone();
    long.push(0);
    assert!(Detector::from_bytes(&long).is_none());
    let mut other = bytes;
    other[0] = 2;
    assert!(Detector::from_bytes(&other).is_none());
    assert!(Input(&[]).byte().is_none());
}

/// Readings that wander, jump, repeat and are absurd, with gaps, equal times and times that go back.
fn readings() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let value = prop_oneof![
        20 => -5.0..5.0_f64,
        3 => prop::num::f64::ANY,
        3 => Just(0.0),
        1 => Just(f64::MAX),
        1 => Just(1e300),
    ];
    let step =
        prop_oneof![20 => Just(MINUTE), 1 => Just(0), 1 => -MINUTE..0, 1 => 0..1_000 * MINUTE];
    prop::collection::vec((step, value), 0..400)
}

proptest! {
    #[test]
    fn any_readings_give_a_score_from_0_to_1_and_the_same_after_a_restart_at_any_time(
        readings in readings(), restart in 0..400_usize
    ) {
        let tuning = tuning();
        let (mut one, mut other) = (Detector::new(), Detector::new());
        let mut time = 0_i64;
        for (reading, (step, value)) in readings.into_iter().enumerate() {
            time += step;
            if reading == restart {
                other = Detector::from_bytes(&other.to_bytes()).expect("its own bytes");
            }
            let (a, b) = (one.read(&tuning, Timestamp(time), value), other.read(&tuning, Timestamp(time), value));
            prop_assert!((0.0..=1.0).contains(&a.score), "{a:?}");
            prop_assert_eq!(a, b);
            prop_assert_eq!(one.mood(&tuning, a, 0.5), other.mood(&tuning, b, 0.5));
        }
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_pair_that_became_known_stays_known_while_the_grid_grows(
        pairs in prop::collection::vec((-1e3..1e3_f64, -1e6..1e6_f64), 1..60)
    ) {
        let mut map = Map::new();
        for &(before, value) in &pairs {
            map.see(before, value);
            (0..4).for_each(|_| map.turn());
        }
        for (before, value) in pairs {
            prop_assert!(map.distance(before, value) < 1e-9, "{before} {value}");
        }
    }

    #[test]
    fn the_distance_is_that_to_the_nearest_known_cell(
        known in prop::collection::vec((0..32_u8, 0..32_u8), 1..80), to in (-20.0..60.0_f64, -20.0..60.0_f64)
    ) {
        // Two opposite corners fix the grid at cells of side 1 from 0 to 32.
        let mut map = Map::with_grid(0.0, 1.0);
        let all: Vec<_> = known.into_iter().chain([(0, 0), (31, 31)]).collect();
        for &(before, value) in &all {
            map.see(f64::from(before) + 0.5, f64::from(value) + 0.5);
        }
        (0..4).for_each(|_| map.turn());
        let beside = |place: f64, cell: u8| (f64::from(cell) - place).max(place - f64::from(cell) - 1.0).max(0.0);
        let nearest = all
            .iter()
            .map(|&(before, value)| beside(to.0, before).hypot(beside(to.1, value)))
            .fold(f64::INFINITY, f64::min);
        prop_assert!((map.distance(to.0, to.1) - nearest / 32.0).abs() < 1e-9);
    }
}
