use std::collections::BTreeSet;

use serde_json::Value;
use tests::{
    Gateway, InfluxSink, eventually,
    sinks::{Manner, Refusal},
};

fn config(url: &str) -> String {
    format!(
        "[influxdb]\nurl = \"{url}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\ntimeout = \"5s\"\n"
    )
}

async fn push(gateway: &Gateway, lines: String) {
    let (status, body) = gateway
        .post("/api/v2/write?precision=ms", "text/plain", lines)
        .await;
    assert_eq!(status, 204, "{body}");
}

fn time(i: i64) -> i64 {
    1_763_640_000_000 + i
}

async fn letters(gateway: &Gateway, count: u64) -> Vec<Value> {
    eventually(&format!("there are {count} dead letters"), || async {
        let answer = gateway.get("/api/v1/dead-letters").await;
        (answer["total"] == count).then(|| answer["dead_letters"].as_array().cloned())?
    })
    .await
}

async fn send(gateway: &Gateway, method: &str, path: &str) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = reqwest::Client::new().request(method, gateway.url(path));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn caught_up(gateway: &Gateway) -> Value {
    eventually("everything is archived or refused", || async {
        let archive = gateway.get("/api/v1/status").await["archive"].clone();
        (archive["lag_records"] == 0 && archive["state"] == "writing").then_some(archive)
    })
    .await
}

/// Three lines of a hundred are bad; one of them has a good reading beside the bad one.
async fn poison(manner: Manner) -> (InfluxSink, Gateway) {
    let sink = InfluxSink::start().await;
    sink.refuse_texts(Some(manner));
    let gateway = Gateway::start(&config(&sink.url())).await;
    let lines = (0..100).map(|i| match i {
        7 | 70 => format!("m,device=d v=\"high\" {}\n", time(i)),
        50 => format!("m,device=d v=\"higher\",w=5 {}\n", time(i)),
        _ => format!("m,device=d v={i},w={i} {}\n", time(i)),
    });
    push(&gateway, lines.collect()).await;
    (sink, gateway)
}

async fn costs_only_the_bad_readings(manner: Manner, once: bool) {
    let (sink, gateway) = poison(manner).await;
    let letters = letters(&gateway, 3).await;
    let archive = caught_up(&gateway).await;
    assert_eq!(
        (
            &archive["written"],
            &archive["refused"],
            &archive["dead_letters"]
        ),
        (&Value::from(195), &Value::from(3), &Value::from(3)),
        "{archive}"
    );
    let mut found: Vec<&str> = letters.iter().filter_map(|l| l["line"].as_str()).collect();
    found.sort_unstable();
    let wanted = |i, v: &str| format!("sensor,device=d v=\"{v}\" {}", time(i) * 1_000_000);
    assert_eq!(
        found,
        [wanted(7, "high"), wanted(70, "high"), wanted(50, "higher")]
    );
    for letter in &letters {
        assert_eq!(letter["source"], "push");
        assert_eq!(letter["series"], serde_json::json!(["d/v"]));
        assert_eq!(letter["refusals"], 1);
        assert!(letter["at_ms"].as_i64() > Some(time(0)), "{letter}");
        let words = letter["words"].as_str().unwrap();
        assert!(
            words.contains("type") || words.contains("retention"),
            "{words}"
        );
    }
    assert_eq!(sink.faults(), Vec::<String>::new());
    let stored = sink.lines();
    let all: BTreeSet<&str> = stored.iter().map(String::as_str).collect();
    assert_eq!(all.len(), 98, "{stored:?}");
    assert!(all.contains(format!("sensor,device=d w=5.0 {}", time(50) * 1_000_000).as_str()));
    if once {
        assert_eq!(
            stored.len(),
            98,
            "good points were written again: {stored:?}"
        );
    }
    gateway.account("push", |row| row["accepted"] == 198).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_2_refuses_a_type_and_good_points_are_written_once() {
    costs_only_the_bad_readings(Manner::Oss2, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_3_numbers_bad_lines_and_good_points_are_written_once() {
    costs_only_the_bad_readings(Manner::V3, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_3_stores_nothing_of_a_bad_body_and_good_points_are_written_once() {
    costs_only_the_bad_readings(Manner::V3Atomic, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_cloud_names_one_bad_line_and_only_bad_points_are_missing() {
    costs_only_the_bad_readings(Manner::Cloud, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_1_says_how_many_and_only_bad_points_are_missing() {
    let (sink, gateway) = poison(Manner::V1).await;
    // It does not say that a type is the matter: the whole line is a dead letter.
    let letters = letters(&gateway, 3).await;
    let archive = caught_up(&gateway).await;
    assert_eq!(
        (&archive["written"], &archive["refused"]),
        (&Value::from(194), &Value::from(4))
    );
    let both = letters
        .iter()
        .find(|l| l["series"].as_array().is_some_and(|s| s.len() == 2));
    assert_eq!(both.unwrap()["series"], serde_json::json!(["d/v", "d/w"]));
    let stored = sink.lines();
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), 97);
    gateway.account("push", |row| row["accepted"] == 198).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_outlives_a_kill_and_is_sent_again_refused_again_and_discarded() {
    let (sink, gateway) = poison(Manner::V3).await;
    letters(&gateway, 3).await;
    let gateway = gateway.kill().await.start().await;
    let list = letters(&gateway, 3).await;
    let id = |at: usize| list[at]["id"].as_i64().unwrap();
    let paged = gateway
        .get(&format!("/api/v1/dead-letters?limit=1&before={}", id(1)))
        .await;
    assert_eq!(paged["dead_letters"], serde_json::json!([list[2]]));

    // Still refused: it stays, with the new words.
    sink.refuse_texts(Some(Manner::Oss2));
    let path = format!("/api/v1/dead-letters/{}/replay", id(0));
    assert_eq!(
        send(&gateway, "POST", &path).await,
        (202, serde_json::json!({"replaying": 1}))
    );
    let again = eventually("it is refused again", || async {
        let letter = letters(&gateway, 3).await.swap_remove(0);
        (letter["refusals"] == 2 && letter["replaying"] == false).then_some(letter)
    })
    .await;
    assert_eq!(again["id"], list[0]["id"]);
    assert!(
        again["words"]
            .as_str()
            .unwrap()
            .contains("field type conflict"),
        "{again}"
    );

    // Taken now; while the archive is away it waits, over a restart too.
    sink.refuse_texts(None);
    sink.be_away(Some(Refusal::status(503)));
    assert_eq!(send(&gateway, "POST", &path).await.0, 202);
    let waiting = letters(&gateway, 3).await;
    assert_eq!(waiting[0]["replaying"], true);
    let gateway = gateway.kill().await.start().await;
    sink.be_away(None);
    let left = letters(&gateway, 2).await;
    let line = again["line"].as_str().unwrap();
    assert!(sink.lines().iter().any(|l| l == line), "it is not stored");

    let path = format!("/api/v1/dead-letters/{}", left[0]["id"]);
    assert_eq!(
        send(&gateway, "DELETE", &path).await,
        (200, serde_json::json!({"discarded": 1}))
    );
    assert_eq!(send(&gateway, "DELETE", &path).await.0, 404);
    assert_eq!(
        send(&gateway, "POST", &format!("{path}/replay")).await.0,
        404
    );
    assert_eq!(
        send(&gateway, "POST", "/api/v1/dead-letters/replay")
            .await
            .0,
        202
    );
    letters(&gateway, 0).await;
    let last = left[1]["line"].as_str().unwrap();
    assert!(sink.lines().iter().any(|l| l == last), "it is not stored");
    let discarded = left[0]["line"].as_str().unwrap();
    assert!(
        sink.lines().iter().all(|l| l != discarded),
        "it was discarded"
    );
    assert_eq!(
        send(&gateway, "DELETE", "/api/v1/dead-letters").await.1["discarded"],
        0
    );
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_cannot_be_written_down_make_the_archive_wait_and_not_forget() {
    let sink = InfluxSink::start().await;
    sink.refuse_texts(Some(Manner::Oss2));
    let gateway = Gateway::start(&config(&sink.url())).await;
    push(&gateway, format!("m,device=d v=1 {}\n", time(0))).await;
    caught_up(&gateway).await;
    // The file goes, and a folder stands where it was: a file that cannot be opened.
    let (_, gateway) = gateway.stop().await;
    let data = gateway.dir.path().join("data");
    for file in [
        "dead-letters.sqlite",
        "dead-letters.sqlite-wal",
        "dead-letters.sqlite-shm",
    ] {
        drop(std::fs::remove_file(data.join(file)));
    }
    let blocked = data.join("dead-letters.sqlite");
    std::fs::create_dir(&blocked).unwrap();
    let gateway = gateway.start().await;
    push(&gateway, format!("m,device=d v=\"bad\" {}\n", time(1))).await;
    eventually("the status tells it", || async {
        let archive = gateway.get("/api/v1/status").await["archive"].clone();
        let is_it = archive["detail"].as_str()?.contains("dead letters");
        (is_it && archive["lag_records"] == 1).then_some(())
    })
    .await;
    std::fs::remove_dir(&blocked).unwrap();
    letters(&gateway, 1).await;
    caught_up(&gateway).await;
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_influxdb_there_are_no_dead_letters_and_nowhere_to_send_them() {
    let gateway = Gateway::start("").await;
    letters(&gateway, 0).await;
    assert_eq!(
        send(&gateway, "POST", "/api/v1/dead-letters/replay")
            .await
            .0,
        409
    );
    assert_eq!(
        send(&gateway, "POST", "/api/v1/dead-letters/1/replay")
            .await
            .0,
        409
    );
    for path in ["/api/v1/dead-letters/1", "/api/v1/dead-letters/x"] {
        assert_eq!(send(&gateway, "DELETE", path).await.0, 404);
    }
    for query in ["limit=0", "limit=1001", "before=x"] {
        let path = format!("/api/v1/dead-letters?{query}");
        assert_eq!(send(&gateway, "GET", &path).await.0, 400, "{query}");
    }
}
