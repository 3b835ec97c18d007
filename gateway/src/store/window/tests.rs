use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MS: i64 = 1_000_000;

fn spec(every: u64, over: u64) -> WindowSpec {
    WindowSpec {
        every: Duration::from_millis(every),
        over: Duration::from_millis(over),
    }
}

/// Feeds `(time, value)` in milliseconds in this order; the closed windows and how many were too late.
fn run(spec: WindowSpec, lateness: i64, readings: &[(i64, f64)]) -> (Vec<Window>, usize) {
    let mut windows = Windows::new(spec, usize::MAX);
    let mut closed = Vec::new();
    let (mut frontier, mut late) = (i64::MIN, 0);
    for (time, value) in readings {
        late += usize::from(!windows.add(time * MS, *value));
        frontier = frontier.max(time * MS);
        windows.advance(frontier, lateness * MS, &mut |window| {
            closed.push(window.clone());
        });
        let bound = (lateness * MS + windows.over) / windows.every + 2;
        assert!(windows.panes.len() <= usize::try_from(bound).unwrap());
    }
    windows.close_to(i64::MAX, &mut |window| closed.push(window.clone()));
    (closed, late)
}

/// Straight from the definition: every aligned interval that has readings.
fn brute_force(spec: WindowSpec, readings: &[(i64, f64)]) -> Vec<(i64, Vec<(i64, f64)>)> {
    let every = i64::try_from(spec.every.as_millis()).unwrap();
    let over = i64::try_from(spec.over.as_millis()).unwrap();
    let mut starts: Vec<i64> = readings
        .iter()
        .flat_map(|(time, _)| {
            let newest = time.div_euclid(every) * every;
            (0..over / every).map(move |back| newest - back * every)
        })
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts
        .into_iter()
        .map(|start| {
            let inside = readings
                .iter()
                .filter(|(time, _)| (start..start + over).contains(time))
                .copied()
                .collect();
            (start, inside)
        })
        .collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

#[test]
fn a_window_closes_when_the_lateness_is_over_and_takes_late_values_until_then() {
    let mut windows = Windows::new(spec(10, 10), 10);
    let mut closed = Vec::new();
    for (time, frontier) in [(1, 1), (12, 12), (5, 12), (15, 15)] {
        assert!(windows.add(time * MS, 1.0));
        windows.advance(frontier * MS, 5 * MS, &mut |window| {
            closed.push(window.clone());
        });
    }
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (closed[0].start_ms, closed[0].end_ms, closed[0].count),
        (0, 10, 2)
    );
    assert!(!windows.add(9 * MS, 1.0), "its window is closed");
    let all: Vec<_> = windows.all().map(|w| (w.start_ms, w.closed)).collect();
    assert_eq!(all, [(0, true), (10, false)]);
}

#[test]
fn windows_before_the_epoch_are_aligned_to_it_too() {
    let (closed, _) = run(spec(10, 10), 0, &[(-15, 1.0), (-1, 2.0), (3, 3.0)]);
    let starts: Vec<_> = closed.iter().map(|window| window.start_ms).collect();
    assert_eq!(starts, [-20, -10, 0]);
}

#[test]
fn a_century_ahead_costs_no_more_than_a_step() {
    let century = 100 * 365 * 86_400_000;
    let (closed, late) = run(
        spec(1_000, 60_000),
        30_000,
        &[(0, 1.0), (century, 2.0), (century + 1, 3.0)],
    );
    assert_eq!(late, 0);
    assert_eq!(closed.len(), 60 + 60);
}

#[test]
fn a_closed_window_costs_what_the_page_says() {
    assert_eq!(super::WINDOW_BYTES, 88);
    assert!(size_of::<super::Pane>() <= 136);
}

#[test]
fn the_room_for_kept_windows_does_not_grow_beyond_them() {
    let mut windows = Windows::new(spec(1, 1), 60);
    for second in 0..1_000 {
        windows.add(second * MS, 1.0);
        windows.advance(second * MS, 0, &mut |_| ());
        assert!(windows.closed.capacity() <= 60);
    }
    assert_eq!(windows.closed.len(), 60);
}

#[test]
fn the_kept_windows_are_bounded_and_the_oldest_go() {
    let mut windows = Windows::new(spec(1, 1), 3);
    for time in 0..10 {
        windows.add(time * MS, 1.0);
        windows.advance(time * MS, 0, &mut |_| ());
    }
    let starts: Vec<_> = windows.closed.iter().map(|w| w.start_ms).collect();
    assert_eq!(starts, [6, 7, 8]);
}

#[test]
fn after_the_time_went_back_an_interval_is_there_only_once() {
    let mut windows = Windows::new(spec(10, 10), 100);
    let mut closed = Vec::new();
    let mut step = |windows: &mut Windows, time: i64| {
        windows.add(time * MS, 1.0);
        windows.advance(time * MS, 0, &mut |window| closed.push(window.start_ms));
    };
    for time in [0, 10, 500, 510] {
        step(&mut windows, time);
    }
    let mut open = Vec::new();
    windows.rewind(12 * MS, 0, &mut |window| open.push(window.start_ms));
    assert_eq!(open, [510]);
    for time in [12, 20, 30] {
        step(&mut windows, time);
    }
    assert_eq!(closed, [0, 10, 500, 10, 20]);
    let kept: Vec<_> = windows.all().map(|w| w.start_ms).collect();
    assert_eq!(kept, [0, 10, 20, 30]);
}

fn readings() -> impl Strategy<Value = Vec<(i64, f64)>> {
    prop::collection::vec((-500_i64..2_000, -1e4..1e4), 1..200)
}

proptest! {
    #[test]
    fn sliding_windows_equal_brute_force(
        mut readings in readings(),
        every in 1_u64..60,
        panes in 1_u64..8,
    ) {
        readings.sort_by_key(|(time, _)| *time);
        let spec = spec(every, every * panes);
        let (closed, late) = run(spec, 0, &readings);
        prop_assert_eq!(late, 0);
        let expected = brute_force(spec, &readings);
        prop_assert_eq!(closed.len(), expected.len());
        for (window, (start, inside)) in closed.iter().zip(&expected) {
            prop_assert_eq!(window.start_ms, *start);
            prop_assert_eq!(window.count, inside.len() as u64);
            let values = || inside.iter().map(|(_, value)| *value);
            prop_assert_eq!(window.min, values().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(window.max, values().fold(f64::NEG_INFINITY, f64::max));
            prop_assert_eq!(window.first, inside[0].1);
            prop_assert_eq!(window.last, inside[inside.len() - 1].1);
            let mean = values().sum::<f64>() / inside.len() as f64;
            let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / inside.len() as f64;
            prop_assert!((window.mean - mean).abs() < 1e-7, "{} {mean}", window.mean);
            prop_assert!((window.stddev - variance.sqrt()).abs() < 1e-6);
            let mut sorted: Vec<_> = values().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let exact = sorted[(0.95 * (sorted.len() - 1) as f64) as usize];
            prop_assert!((window.p95 - exact).abs() <= 0.010_001 * exact.abs() + 1e-9);
        }
    }

    #[test]
    fn a_shuffle_within_the_lateness_changes_no_window(
        readings in readings(),
        jitter in prop::collection::vec(0_i64..=50, 200),
        every in 1_u64..60,
        panes in 1_u64..5,
    ) {
        let mut sorted: Vec<_> = readings;
        sorted.sort_by_key(|(time, _)| *time);
        // Which of two equal times comes last is an order of arrival, which a shuffle changes rightly.
        sorted.dedup_by_key(|(time, _)| *time);
        let mut shuffled: Vec<_> = sorted.iter().zip(&jitter).collect();
        shuffled.sort_by_key(|((time, _), jitter)| time + **jitter);
        let shuffled: Vec<_> = shuffled.into_iter().map(|(reading, _)| *reading).collect();
        let spec = spec(every, every * panes);
        let (expected, _) = run(spec, 50, &sorted);
        let (closed, late) = run(spec, 50, &shuffled);
        prop_assert_eq!(late, 0);
        prop_assert_eq!(closed.len(), expected.len());
        for (a, b) in closed.iter().zip(&expected) {
            prop_assert_eq!(
                (a.start_ms, a.count, a.min, a.max, a.first, a.last, a.p50, a.p95, a.p99),
                (b.start_ms, b.count, b.min, b.max, b.first, b.last, b.p50, b.p95, b.p99)
            );
            prop_assert!(near(a.mean, b.mean) && (a.stddev - b.stddev).abs() < 1e-6);
        }
    }
}
