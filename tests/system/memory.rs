//! Whatever senders and readers do, memory stays below the one number that docs/bounds.md gives for the defaults, and
//! what is refused is refused with a reason that can be seen.

use tests::{
    Gateway, HangingSink, eventually,
    onslaught::{self, Scale},
};

/// A figure of `/metrics`, once there is room for the question.
async fn metrics(gateway: &Gateway) -> String {
    eventually("the gateway has room for a question", || async {
        let answer = reqwest::get(gateway.url("/metrics")).await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        answer.text().await.ok()
    })
    .await
}

fn figure(metrics: &str, name: &str) -> f64 {
    let found = metrics
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    found.and_then(|n| n.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_below_the_documented_number_with_everything_thrown_at_it_at_once() {
    let bound = onslaught::documented_bytes();
    let files = onslaught::raise_own_limit();
    let webhook = HangingSink::start().await;
    let gateway = Gateway::start(&onslaught::config(3, &webhook)).await;
    let scale = Scale {
        series: 40_000,
        points: 5,
        topics: 12_000,
        connections: 10_000.min(usize::try_from(files).unwrap().saturating_sub(2_000)),
        browsers: 200,
        readers: 100,
        publishers: 200,
    };
    onslaught::fill(&gateway, scale).await;
    let held = onslaught::unleash(&gateway, scale).await;
    println!(
        "{} connections held; resident {} MB, at most {} MB, documented {} MB",
        held.len(),
        gateway.memory("VmRSS") / 1_000_000,
        gateway.memory("VmHWM") / 1_000_000,
        bound / 1_000_000,
    );
    assert!(gateway.memory("VmHWM") <= bound);

    // While all of it lasts: refused, counted, and there is room again for who asks something.
    let seen = metrics(&gateway).await;
    for refused in [
        "gateway_http_refused_total",
        "gateway_listener_refused_total{reason=\"quota_exceeded\"}",
        "gateway_listener_retained_refused_total",
        "gateway_alerts_refused_total",
        "gateway_rejected_total{source=\"push\",reason=\"too_many_series\"}",
        "gateway_rejected_total{source=\"push\",reason=\"wrong_type\"}",
    ] {
        assert!(
            figure(&seen, refused) > 0.0,
            "{refused} is not there:\n{seen}"
        );
    }
    assert!(figure(&seen, "gateway_series") <= 10_000.0);
    let log = gateway.log();
    assert!(log.lines().count() < 200, "the log is flooded:\n{log}");
    drop(held);
    let row = gateway
        .account("push", |row| row["accepted"].as_u64() > Some(50_000))
        .await;
    assert!(
        row["rejected"]["too_many_series"].as_u64() > Some(20_000),
        "{row}"
    );
    gateway
        .account("l", |row| row["received"].as_u64() >= Some(12_000))
        .await;
    assert!(gateway.memory("VmHWM") <= bound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_idle_connections_keeps_nobody_out_for_long_and_takes_no_file_from_the_journal()
{
    let files = onslaught::raise_own_limit();
    let config = "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\n\
                  topic = \"t/{device}\"\nformat = \"number\"\nmetric = \"v\"\n";
    // A system that allows few files.
    let gateway = Gateway::start_limited(config, 600).await;
    let log = gateway.log();
    assert!(log.contains("the system allows few open files"), "{log}");
    let scale = Scale {
        connections: 2_000.min(usize::try_from(files).unwrap() / 2),
        ..Scale::default()
    };
    let held = onslaught::unleash(&gateway, scale).await;
    let seen = metrics(&gateway).await;
    assert!(figure(&seen, "gateway_http_refused_total") > 0.0, "{seen}");
    assert!(figure(&seen, "process_open_fds") < 600.0 - 100.0, "{seen}");
    assert!(!held.is_empty());
    // What is taken is durable all the same.
    eventually("a reading is taken", || async {
        let client = reqwest::Client::new();
        let push = client
            .post(gateway.url("/api/v2/write"))
            .body("m,device=d v=1");
        (push.send().await.ok()?.status() == 204).then_some(())
    })
    .await;
    drop(held);
    gateway.account("push", |row| row["accepted"] == 1).await;
}
