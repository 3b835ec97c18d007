//! The loss account up to each archive, over restarts and at the journal's limit; and what is written to disk.

use serde_json::Value;
use tests::{Gateway, InfluxSink, Line, eventually, sinks::Refusal};

fn config(sink: &InfluxSink, more: &str) -> String {
    format!(
        "{more}\n[history]\nflush_every = \"1s\"\n[influxdb]\nurl = \"{}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\n",
        sink.url()
    )
}

async fn push(gateway: &Gateway, range: std::ops::Range<i64>) {
    let lines: String = range
        .map(|i| format!("m,device=d v={i} {}\n", 1_763_640_000_000 + i))
        .collect();
    let (status, body) = gateway
        .post("/api/v2/write?precision=ms", "text/plain", lines)
        .await;
    assert_eq!(status, 204, "{body}");
}

fn archive<'a>(row: &'a Value, name: &str) -> &'a Value {
    let archives = row["archives"].as_array().expect("archives");
    archives
        .iter()
        .find(|archive| archive["archive"] == name)
        .unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_balances_up_to_every_archive_and_over_a_kill() {
    let sink = InfluxSink::start().await;
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("port");
    let mut line = Line::plug_in(&link);
    let serial = format!(
        "[[source]]\nname = \"s\"\ntype = \"serial\"\ndevice = \"{}\"\n[[source.mapping]]\ndevice = \"line\"\n",
        link.display()
    );
    let config = config(&sink, "") + &serial;
    let gateway = Gateway::start(&config).await;
    gateway.source_is("s", "up").await;
    push(&gateway, 0..50).await;
    push(&gateway, 49..50).await;
    for i in 0..20 {
        line.send(format!("{{\"a\": {i}, \"b\": {i}}}\n"));
    }
    line.send("}no JSON{\n");
    let row = gateway
        .account_archived("push", |row| {
            row["accepted"] == 50 && row["duplicates"] == 1
        })
        .await;
    assert_eq!(row["received"], 51);
    for name in ["history", "influxdb"] {
        assert_eq!(archive(&row, name)["archived"], 50, "{row}");
    }
    let row = gateway
        .account_archived("s", |row| {
            row["accepted"] == 40 && row["rejected"]["malformed"] == 1
        })
        .await;
    assert_eq!(row["received"], 41);
    assert_eq!(archive(&row, "influxdb")["archived"], 40, "{row}");

    // What a killed gateway had not archived, as far as is known, is carried over and archived by the next.
    push(&gateway, 50..60).await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, 60..70).await;
    let row = gateway
        .account_archived("push", |row| row["accepted"] == 10)
        .await;
    for name in ["history", "influxdb"] {
        let archive = archive(&row, name);
        let figure = |key: &str| archive[key].as_u64().unwrap();
        assert_eq!(figure("archived"), figure("carried_over") + 10, "{row}");
    }
    let metrics = reqwest::get(gateway.url("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "gateway_readings_difference{source=\"push\"} 0",
        "gateway_archive_readings_total{archive=\"history\",source=\"push\",outcome=\"archived\"}",
    ] {
        assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_after_a_reload_in_the_middle_of_a_batch_is_counted_once() {
    let sink = InfluxSink::start().await;
    // Too large; the one half is taken; the other may come much later.
    let later = Refusal {
        retry_after: Some(3_600),
        ..Refusal::status(503)
    };
    sink.refuse([Refusal::status(413), Refusal::status(204), later]);
    let mut gateway = Gateway::start(&config(&sink, "")).await;
    push(&gateway, 0..100).await;
    eventually("half of the batch is stored", || async {
        let status = gateway.get("/api/v1/status").await;
        let archive = &status["archive"];
        (archive["state"] == "failing" && archive["written"] == 50).then_some(())
    })
    .await;
    let row = gateway.account("push", |row| row["accepted"] == 100).await;
    assert_eq!(archive(&row, "influxdb")["waiting"], 100, "{row}");
    let other = config(&sink, "") + "measurement = \"other\"\n";
    assert_eq!(gateway.reload(&other).await, "applied");
    let row = gateway
        .account_archived("push", |row| archive(row, "influxdb")["archived"] == 100)
        .await;
    assert_eq!(archive(&row, "influxdb")["difference"], 0, "{row}");
    assert_eq!(sink.lines().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journals_limit_takes_is_in_the_account_of_its_source() {
    let sink = InfluxSink::start().await;
    // InfluxDB is away, and the journal is small.
    let config = "[journal]\nmax_size = \"1 MiB\"\nsegment_size = \"64 KiB\"\nkeep = \"64 KiB\"\n[history]\nflush_every = \"1s\"\n[influxdb]\nurl = \"http://127.0.0.1:1\"\norg = \"o\"\nbucket = \"b\"\n";
    let gateway = Gateway::start(config).await;
    let mut sent = 0;
    eventually("the limit took something", || {
        let (gateway, from) = (&gateway, sent);
        sent += 5_000;
        async move {
            push(gateway, from..from + 5_000).await;
            let row = gateway.account("push", |_| true).await;
            (archive(&row, "influxdb")["dropped"].as_u64()? > 0).then_some(())
        }
    })
    .await;
    // Whatever is left is archived once it is back; then nothing is missing.
    let (_, stopped) = gateway.stop().await;
    let back = config.replace("http://127.0.0.1:1", &sink.url());
    let gateway = stopped.start_with(&back).await;
    push(&gateway, sent..sent + 1).await;
    let row = gateway
        .account_archived("push", |row| row["accepted"] == 1)
        .await;
    let carried = archive(&row, "influxdb")["carried_over"].as_u64().unwrap();
    assert!(carried > 0 && carried < sent.unsigned_abs(), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_disk_is_counted_by_part_and_held_to_the_kernels_count() {
    let config = "[disk]\nendurance = \"30 TB\"\n[history]\nflush_every = \"1s\"\n";
    let gateway = Gateway::start(config).await;
    for i in 0..20 {
        push(&gateway, i..i + 1).await;
    }
    let archived = |row: &Value| archive(row, "history")["archived"] == 20;
    gateway.account_archived("push", archived).await;
    let disk = gateway.get("/api/v1/status").await["disk"].clone();
    let part = |name: &str, figure: &str| disk["by_part"][name][figure].as_u64().unwrap();
    assert!(part("journal", "syncs") >= 20, "{disk:#}");
    assert!(part("journal", "written_bytes") >= 20 * 4096, "{disk:#}");
    assert!(part("history", "syncs") >= 1, "{disk:#}");
    assert_eq!(disk["endurance_bytes"], 30_000_000_000_000_u64);
    if disk["by_kernel"] == true && disk["written_bytes"] != 0 {
        let truth = disk["written_bytes"].as_u64().unwrap();
        let own: u64 = ["journal", "cursors", "state", "history"]
            .iter()
            .map(|name| part(name, "written_bytes"))
            .sum();
        // The kernel counts directories and the opening of files too; the parts must not be far below, nor above.
        assert!(
            own <= truth && truth < 4 * own,
            "{own} of {truth}: {disk:#}"
        );
    } else {
        eprintln!("skipped: the kernel does not count writes here");
    }
}
