use std::io::Read as _;

use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn config(capture: PathBuf, target: Target) -> Config {
    Config {
        capture,
        target,
        speed: 1.0,
        rate: 10.0,
        csv_time: None,
        device: None,
        seed: 1,
    }
}

fn nowhere() -> Target {
    Target::Http {
        url: String::from("http://127.0.0.1:9/"),
    }
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

#[test]
fn every_mqtt_capture_is_read() {
    for name in [
        "zigbee2mqtt_luligu",
        "tasmota_iobroker",
        "sparkplug_b",
        "shelly_status",
    ] {
        let Some(path) = shared(&format!("mqtt/{name}.jsonl")) else {
            return;
        };
        let bytes = std::fs::read(&path).unwrap();
        let lines = bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .count();
        let items = captured(&config(path, nowhere()), &bytes).unwrap();
        assert_eq!(items.len(), lines, "{name}");
        assert!(items.iter().all(|item| !item.topic.is_empty()));
    }
}

#[test]
fn a_csv_series_keeps_its_times_at_the_speed_that_was_asked_for() {
    let mut config = config(PathBuf::from("office.csv"), nowhere());
    config.csv_time = Some(String::from("date"));
    config.speed = 60.0;
    let text = "\"id\",\"date\",\"t\",\"note\"\n\"1\",\"2015-02-04 17:51:00\",23.18,\"a, b\"\n\"2\",\"2015-02-04 17:52:00\",21,\n";
    let items = rows(&config, text.as_bytes()).unwrap();
    assert_eq!(items[0].at, Duration::ZERO);
    assert_eq!(items[1].at, Duration::from_secs(1));
    let json: serde_json::Value = serde_json::from_slice(&items[0].payload).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"device": "office", "time": "2015-02-04T17:51:00Z", "values": {"id": 1, "t": 23.18, "note": "a, b"}})
    );
    config.target = Target::Mqtt {
        host: String::new(),
        port: 1,
        qos: Qos::AtMostOnce,
    };
    let items = rows(&config, text.as_bytes()).unwrap();
    assert_eq!(items[1].topic, "replay/office");
    let json: serde_json::Value = serde_json::from_slice(&items[1].payload).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"time": "2015-02-04T17:52:00Z", "id": 2, "t": 21})
    );
}

#[test]
fn a_line_that_makes_no_sense_is_named() {
    let config = config(PathBuf::from("x.jsonl"), nowhere());
    let text =
        "{\"topic\":\"a\",\"payload_text\":\"1\"}\n{\"topic\":\"a\",\"payload_hex\":\"0g\"}\n";
    assert!(matches!(
        captured(&config, text.as_bytes()),
        Err(ReplayError::Line { line: 2, .. })
    ));
}

#[tokio::test]
async fn a_raw_capture_comes_out_of_the_serial_line_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture.bin");
    // All bytes there are, with those that a terminal in another mode would eat or change.
    let bytes: Vec<u8> = (0..20_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    std::fs::write(&capture, &bytes).unwrap();
    let link = folder.path().join("port");
    let config = config(
        capture,
        Target::Serial {
            link: link.clone(),
            baud: 2_000_000,
        },
    );
    let running = tokio::spawn(async move { replay(&config, CancellationToken::new()).await });
    let reader = tokio::task::spawn_blocking(move || {
        let mut port = loop {
            match std::fs::File::open(&link) {
                Ok(port) => break port,
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut read = Vec::new();
        let mut chunk = [0; 1_000];
        while let Ok(count @ 1..) = port.read(&mut chunk) {
            read.extend_from_slice(&chunk[..count]);
        }
        read
    });
    let outcome = timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.bytes, 20_000);
    assert!(outcome.messages > 400, "in chunks of 1 to 64: {outcome:?}");
    assert_eq!(timeout(DEADLINE, reader).await.unwrap().unwrap(), bytes);
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_the_tail_of_a_raw_capture_too() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture.bin");
    let bytes: Vec<u8> = (0..12_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    std::fs::write(&capture, &bytes).unwrap();
    let link = folder.path().join("port");
    let target = Target::Serial {
        link: link.clone(),
        baud: 20_000_000,
    };
    let config = config(capture, target);
    let running = tokio::spawn(async move { replay(&config, CancellationToken::new()).await });
    let reader = tokio::task::spawn_blocking(move || {
        let mut port = loop {
            match std::fs::File::open(&link) {
                Ok(port) => break port,
                Err(_) => std::thread::yield_now(),
            }
        };
        let (mut read, mut chunk) = (Vec::new(), [0; 4_000]);
        // Long after all of it was written.
        std::thread::sleep(Duration::from_millis(900));
        while let Ok(count @ 1..) = port.read(&mut chunk) {
            read.extend_from_slice(&chunk[..count]);
            std::thread::sleep(Duration::from_millis(200));
        }
        read
    });
    let outcome = timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.bytes, 12_000);
    let read = timeout(DEADLINE, reader).await.unwrap().unwrap();
    assert!(read == bytes, "{} of {} bytes", read.len(), bytes.len());
}

#[test]
fn hex_is_read_or_refused() {
    assert_eq!(from_hex("00fFa0"), Some(vec![0, 255, 160]));
    for wrong in ["0", "0x", "zz", "é0"] {
        assert_eq!(from_hex(wrong), None);
    }
}

#[tokio::test]
async fn a_capture_is_published_and_acknowledged_to_the_last_message() {
    let Some(broker) = crate::peers::Broker::start().await else {
        return;
    };
    let Some(capture) = shared("mqtt/tasmota_iobroker.jsonl") else {
        return;
    };
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let target = Target::Mqtt {
            host: String::from("127.0.0.1"),
            port: broker.port,
            qos,
        };
        let mut config = config(capture.clone(), target);
        config.rate = 1_000.0;
        let outcome = timeout(DEADLINE, replay(&config, CancellationToken::new()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(outcome.messages, 28);
        let expected = if qos == Qos::AtMostOnce { 0 } else { 28 };
        assert_eq!(outcome.acknowledged, expected, "{qos:?}");
    }
}
