use std::collections::BTreeMap;

use serde_json::Value;
use tests::{Gateway, capture};

/// `2013-12-02 21:15:00` without a zone, taken as UTC, or RFC 3339, as epoch milliseconds.
fn epoch_ms(text: &str) -> i64 {
    let text = if text.contains('T') {
        text.to_owned()
    } else {
        format!("{}Z", text.replace(' ', "T"))
    };
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap();
    let numbers: Vec<i64> = date
        .split('-')
        .chain(time.split(':'))
        .map(|n| n.parse().unwrap())
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        panic!("{text}")
    };
    // Days from the civil calendar (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000
}

/// Turns each run of readings that fits within the lateness of two hours around: the newest comes first.
fn turn_around(readings: &mut [(i64, String)]) {
    let mut start = 0;
    for at in 1..=readings.len() {
        let fits = readings
            .get(at)
            .is_some_and(|(time, _)| (0..110 * 60_000).contains(&(time - readings[start].0)));
        if !fits {
            readings[start..at].reverse();
            start = at;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hourly_windows_of_a_real_machine_come_out_exactly() {
    replay(|_| ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_come_out_the_same_when_the_readings_come_late_and_out_of_order() {
    replay(turn_around).await;
}

async fn replay(disorder: fn(&mut [(i64, String)])) {
    let Some(file) =
        capture("timeseries/nab/realKnownCause__machine_temperature_system_failure.csv")
    else {
        return;
    };
    let Some(expected) = capture(
        "timeseries/nab/realKnownCause__machine_temperature_system_failure.expected_windows_1h.csv",
    ) else {
        return;
    };
    let gateway = Gateway::start(
        "[store]\nlateness = \"2h\"\nkept_windows = 5000\ndrop_repeats = false\n[[window]]\nevery = \"1h\"\n",
    )
    .await;
    let mut readings: Vec<(i64, String)> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .skip(1)
        .map(|row| {
            row.split_once(',')
                .map(|(time, value)| (epoch_ms(time), value.to_owned()))
                .unwrap()
        })
        .collect();
    disorder(&mut readings);
    let rows: Vec<String> = readings
        .iter()
        .map(|(time, value)| format!("nab,device=machine temperature={value} {time}\n"))
        .collect();
    for chunk in rows.chunks(2_000) {
        let (status, body) = gateway
            .post("/api/v2/write?precision=ms", "text/plain", chunk.concat())
            .await;
        assert_eq!(status, 204, "{body}");
    }
    gateway
        .account("push", |row| row["accepted"] == rows.len())
        .await;
    let path = "/api/v1/series/machine/temperature/windows?every=1h&over=1h";
    let gateway = &gateway;
    let windows = tests::eventually("all readings are in windows", || async move {
        let answer = gateway.get(path).await;
        let windows = answer["windows"].as_array()?.clone();
        let counted: u64 = windows.iter().filter_map(|w| w["count"].as_u64()).sum();
        (counted == 22_695).then_some(windows)
    })
    .await;
    let found: BTreeMap<i64, Value> = windows
        .into_iter()
        .map(|w| (w["start_ms"].as_i64().unwrap(), w))
        .collect();
    let expected = std::fs::read_to_string(expected).unwrap();
    let mut checked = 0;
    for row in expected.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let window = &found[&epoch_ms(cells[0])];
        let number = |key: &str| window[key].as_f64().unwrap();
        let cell = |i: usize| cells[i].parse::<f64>().unwrap();
        assert_eq!(window["count"].as_u64(), cells[1].parse().ok(), "{row}");
        assert_eq!((number("min"), number("max")), (cell(2), cell(3)), "{row}");
        assert!((number("mean") - cell(4)).abs() < 1e-8, "{row}: {window}");
        checked += 1;
    }
    assert_eq!(checked, found.len());
}
