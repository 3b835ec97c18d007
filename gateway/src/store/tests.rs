use super::*;

const MACHINE_TEMPERATURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/data/timeseries/nab/realKnownCause__machine_temperature_system_failure"
);

const SECOND: i64 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn reading(series: &str, seconds: i64, value: impl Into<f64>) -> Reading {
    Reading {
        series: SeriesKey::parse(series).unwrap(),
        value: Value::Float(value.into()),
        unit: None,
        quality: Quality::Good,
        time: Timestamp(seconds * SECOND),
        received: Timestamp(seconds * SECOND),
        retained: false,
    }
}

fn source() -> SourceName {
    SourceName("test".into())
}

fn apply(store: &mut Store, reading: &Reading) -> Option<Applied> {
    store.apply(&source(), None, reading, Arrival::Now, |_, _| ())
}

fn rows(path: &str) -> Option<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(path).ok()?;
    let rows = text.lines().skip(1);
    Some(
        rows.map(|line| line.split(',').map(String::from).collect())
            .collect(),
    )
}

/// A replay of the file in the given order; every window that it makes.
fn windows_of(readings: &[Reading]) -> (Vec<Window>, Counts) {
    let config = Config {
        windows: vec![WindowSpec::tumbling(HOUR)],
        lateness: HOUR,
        ..Config::default()
    };
    let mut store = Store::new(config, Vec::new());
    let mut windows = Vec::new();
    for reading in readings {
        store
            .apply(&source(), None, reading, Arrival::Now, |_, window| {
                windows.push(window.clone());
            })
            .unwrap();
    }
    let series = store.find(&readings[0].series).unwrap();
    windows.extend(
        store
            .windows(series, None)
            .into_iter()
            .map(|(_, window)| window)
            .filter(|window| !window.closed),
    );
    (windows, store.counts())
}

#[test]
fn the_hours_of_the_machine_temperature_come_out_exactly_also_when_shuffled() {
    let (Some(data), Some(expected)) = (
        rows(&format!("{MACHINE_TEMPERATURE}.csv")),
        rows(&format!("{MACHINE_TEMPERATURE}.expected_windows_1h.csv")),
    ) else {
        println!("skipped: {MACHINE_TEMPERATURE}.csv is not here");
        return;
    };
    let readings: Vec<_> = data
        .iter()
        .map(|row| {
            let time: jiff::Timestamp = format!("{}Z", row[0].replace(' ', "T")).parse().unwrap();
            Reading {
                // A replay long after: the arrival agrees with every measured time.
                received: Timestamp(i64::MAX / 2),
                ..reading(
                    "machine/temperature",
                    time.as_second(),
                    row[1].parse::<f64>().unwrap(),
                )
            }
        })
        .collect();
    let seconds = |reading: &Reading| reading.time.0 / SECOND;

    let check = |order: &[Reading], last_in_file_order: bool| {
        let (windows, counts) = windows_of(order);
        assert_eq!(counts.too_late, 0);
        assert_eq!(windows.len(), expected.len());
        for (window, row) in windows.iter().zip(&expected) {
            let number = |at: usize| row[at].parse::<f64>().unwrap();
            let start: jiff::Timestamp = row[0].parse().unwrap();
            assert_eq!(window.start_ms, start.as_millisecond(), "{row:?}");
            assert_eq!(window.count.to_string(), row[1], "{row:?}");
            assert_eq!((window.min, window.max), (number(2), number(3)), "{row:?}");
            assert!((window.mean - number(4)).abs() <= 1e-9, "{row:?}");
            if last_in_file_order {
                // By measured time, ties to the last to arrive: the step back of one hour ends in a tie at 02:55, so that
                // this is the last row of the file in every window.
                assert_eq!(window.last, number(5), "{row:?}");
            } else {
                let inside = |reading: &&Reading| {
                    (window.start_ms..window.end_ms).contains(&reading.time.as_millis())
                };
                let newest = readings.iter().filter(inside).map(seconds).max();
                assert!(
                    readings
                        .iter()
                        .filter(inside)
                        .any(|reading| Some(seconds(reading)) == newest
                            && reading.value == Value::Float(window.last)),
                    "{row:?}"
                );
            }
        }
    };
    check(&readings, true);

    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5 {
        let mut shuffled: Vec<_> = readings
            .iter()
            .map(|reading| (seconds(reading) + random.i64(0..=3600), reading.clone()))
            .collect();
        shuffled.sort_by_key(|(arrival, _)| *arrival);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(_, reading)| reading).collect();
        check(&shuffled, false);
    }
}

#[test]
fn the_reading_over_the_cap_is_counted_and_nothing_else() {
    let mut store = Store::new(
        Config {
            max_series: 1,
            ..Config::default()
        },
        Vec::new(),
    );
    assert!(apply(&mut store, &reading("a/x", 1, 1.0)).is_some_and(|applied| applied.new_series));
    assert!(apply(&mut store, &reading("b/x", 1, 1.0)).is_none());
    assert!(apply(&mut store, &reading("a/x", 2, 1.0)).is_some());
    assert_eq!((store.counts().refused, store.counts().applied), (1, 2));
    assert_eq!((store.series_known(), store.devices_known()), (1, 1));
}

#[test]
fn only_numbers_that_are_not_bad_and_not_retained_count_in_windows() {
    let mut store = Store::new(Config::default(), Vec::new());
    let good = reading("a/x", 1, 1.0);
    let others = [
        Reading {
            quality: Quality::Bad,
            ..reading("a/x", 2, 99.0)
        },
        Reading {
            retained: true,
            ..reading("a/x", 3, 98.0)
        },
        Reading {
            value: Value::Text("hot".into()),
            ..reading("a/x", 4, 0.0)
        },
        Reading {
            value: Value::Bool(true),
            quality: Quality::Uncertain,
            ..reading("a/x", 5, 0.0)
        },
    ];
    for reading in std::iter::once(&good).chain(&others) {
        apply(&mut store, reading).unwrap();
    }
    let series = store.find(&good.series).unwrap();
    for (_, window) in store.windows(series, None) {
        assert_eq!((window.count, window.max), (2, 1.0));
    }
    assert_eq!(store.info(series).points, 4);
}

#[test]
fn a_retained_value_is_shown_until_something_is_measured() {
    let mut store = Store::new(Config::default(), Vec::new());
    let retained = Reading {
        retained: true,
        ..reading("a/x", 50, 1.0)
    };
    assert!(apply(&mut store, &retained).is_some_and(|a| a.series_changed && !a.stored));
    let series = store.find(&retained.series).unwrap();
    assert!(store.info(series).retained);
    assert_eq!(store.info(series).points, 0);

    apply(&mut store, &reading("a/x", 10, 2.0)).unwrap();
    apply(&mut store, &retained).unwrap();
    let info = store.info(series);
    assert!(!info.retained);
    assert_eq!(info.latest.unwrap().value, Value::Float(2.0));
}

#[test]
fn a_late_reading_is_in_the_ring_but_is_not_the_latest() {
    let mut store = Store::new(Config::default(), Vec::new());
    apply(&mut store, &reading("a/x", 100, 1.0)).unwrap();
    let late = apply(&mut store, &reading("a/x", 10, 2.0)).unwrap();
    assert_eq!(late.order, Order::Late);
    assert!(late.stored);
    let info = store.info(late.series);
    assert_eq!(
        (info.points, info.latest.unwrap().time.0),
        (2, 100 * SECOND)
    );
    assert_eq!(store.counts().too_late, 1, "its minute is closed");
}

#[test]
fn one_wrong_clock_neither_freezes_the_series_nor_closes_its_windows() {
    let mut store = Store::new(Config::default(), Vec::new());
    apply(&mut store, &reading("a/x", 100, 1.0)).unwrap();
    let tomorrow = Reading {
        received: Timestamp(101 * SECOND),
        ..reading("a/x", 86_000, 50.0)
    };
    let leap = apply(&mut store, &tomorrow).unwrap();
    assert_eq!(leap.order, Order::Unconfirmed);
    let next = apply(&mut store, &reading("a/x", 102, 2.0)).unwrap();
    assert_eq!(next.order, Order::InOrder);
    assert_eq!(
        store.info(next.series).latest.unwrap().value,
        Value::Float(2.0)
    );
    assert_eq!((store.counts().left_out, store.counts().too_late), (1, 0));
}

#[test]
fn a_clock_put_right_is_followed_back_and_frees_the_ring() {
    let mut store = Store::new(
        Config {
            bytes_per_series: 10 * POINT_BYTES,
            ..Config::default()
        },
        Vec::new(),
    );
    for n in 0..20 {
        let ahead = Reading {
            received: Timestamp((100 + n) * SECOND),
            ..reading("a/x", 50_000 + n, 1.0)
        };
        apply(&mut store, &ahead).unwrap();
    }
    let mut last = None;
    for n in 0..5 {
        last = apply(&mut store, &reading("a/x", 120 + n, 2.0));
    }
    let series = last.unwrap().series;
    assert_eq!(store.newest(series), Some(Timestamp(124 * SECOND)));
    let info = store.info(series);
    assert_eq!(info.latest.unwrap().value, Value::Float(2.0));
    assert_eq!(info.points, 3, "the points from the false future are gone");
    assert_eq!(store.ring_bytes(), store.points_held() * POINT_BYTES);
}

#[test]
fn a_configured_device_has_its_name_and_labels_before_it_speaks() {
    let store = Store::new(
        Config::default(),
        vec![DeviceConfig {
            id: "pump".into(),
            name: Some("Pump 1".into()),
            site: Some("north".into()),
            ..DeviceConfig::default()
        }],
    );
    let devices = store.devices();
    assert_eq!(devices[0].name, "Pump 1");
    assert_eq!(devices[0].last_seen_ms, None);
}

fn samples_of(store: &Store, from: i64, to: i64) -> Vec<(i64, f64, u64)> {
    let mut found = Vec::new();
    let series = store.find(&SeriesKey::parse("a/b").unwrap()).unwrap();
    let second = |seconds| Timestamp(seconds * SECOND);
    store.samples(series, second(from), second(to), |sample| {
        found.push(match sample {
            Sample::Point { time, number } => (time.0 / SECOND, number, 1),
            Sample::Window(window) => (window.start_ms / 1_000, window.mean, window.count),
        });
    });
    found
}

#[test]
fn what_a_full_ring_let_go_is_sampled_from_closed_windows_the_finest_first() {
    let config = Config {
        bytes_per_series: 10 * POINT_BYTES,
        windows: vec![
            WindowSpec::tumbling(Duration::from_secs(100)),
            WindowSpec::tumbling(Duration::from_secs(10)),
            WindowSpec {
                every: Duration::from_secs(10),
                over: Duration::from_secs(20),
            },
        ],
        lateness: Duration::ZERO,
        kept_windows: 3,
        ..Config::default()
    };
    let mut store = Store::new(config, Vec::new());
    for second in 0..=205 {
        apply(&mut store, &reading("a/b", second, second as f64)).unwrap();
    }
    let points = (196..=205).rev().map(|second| (second, second as f64, 1));
    // Of those that end by 196, the three finest reach back to 170; the window of 100 s before them lies whole in the span too.
    let tens = [(180, 184.5, 10), (170, 174.5, 10)];
    let all: Vec<_> = points.clone().chain(tens).chain([(0, 49.5, 100)]).collect();
    assert_eq!(samples_of(&store, 0, 205), all);
    // A window that begins before the span is left out.
    let some: Vec<_> = points.clone().chain([tens[0]]).collect();
    assert_eq!(samples_of(&store, 171, 205), some);
    // What the ring still holds needs no windows.
    assert_eq!(samples_of(&store, 197, 200).len(), 4);
    assert_eq!(samples_of(&store, 300, 400), []);
}
