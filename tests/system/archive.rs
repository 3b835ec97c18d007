use std::time::Duration;

use tokio::time::Instant;

use tests::{Gateway, InfluxSink, Victoria, eventually, sinks::Refusal};

fn config(url: &str) -> String {
    format!("[influxdb]\nurl = \"{url}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\n")
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

async fn values(sink: &InfluxSink, count: usize) -> Vec<f64> {
    eventually(&format!("{count} lines are stored"), || async {
        (sink.lines().len() >= count).then_some(())
    })
    .await;
    assert_eq!(sink.faults(), Vec::<String>::new());
    sink.lines()
        .iter()
        .map(|l| {
            l.split("v=")
                .nth(1)
                .and_then(|v| v.split(' ').next())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_archive_is_only_a_delay_and_order_is_kept() {
    let sink = InfluxSink::start().await;
    sink.refuse([
        Refusal::status(503),
        Refusal::status(500),
        Refusal {
            status: 429,
            retry_after: Some(1),
            body: "",
        },
    ]);
    let gateway = Gateway::start(&config(&sink.url())).await;
    let began = Instant::now();
    for i in 0..20 {
        push(&gateway, i * 10..i * 10 + 10).await;
    }
    assert_eq!(
        values(&sink, 200).await,
        (0..200).map(f64::from).collect::<Vec<_>>()
    );
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "Retry-After was not honoured"
    );
    let status = eventually("the archive says that it writes", || async {
        let status = gateway.get("/api/v1/status").await;
        (status["archive"]["state"] == "writing" && status["archive"]["written"] == 200)
            .then_some(status)
    })
    .await;
    assert_eq!(status["archive"]["refused"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_is_halved() {
    let sink = InfluxSink::start().await;
    sink.refuse([Refusal::status(413), Refusal::status(413)]);
    let gateway = Gateway::start(&config(&sink.url())).await;
    push(&gateway, 0..100).await;
    assert_eq!(
        values(&sink, 100).await,
        (0..100).map(f64::from).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_keeps_the_data_and_says_what_to_do() {
    let sink = InfluxSink::start().await;
    sink.refuse((0..2).map(|_| Refusal {
        status: 401,
        retry_after: None,
        body: "{\"code\":\"unauthorized\"}",
    }));
    let gateway = Gateway::start(&config(&sink.url())).await;
    push(&gateway, 0..5).await;
    eventually("the status names the token", || async {
        let status = gateway.get("/api/v1/status").await;
        status["archive"]["detail"]
            .as_str()?
            .contains("check the token")
            .then_some(())
    })
    .await;
    assert_eq!(values(&sink, 5).await, [0.0, 1.0, 2.0, 3.0, 4.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_goes_away_and_comes_back_misses_nothing() {
    let Some(mut victoria) = Victoria::start().await else {
        return;
    };
    let gateway = Gateway::start(&config(&victoria.url())).await;
    push(&gateway, 0..50).await;
    eventually("the first points are stored", || async {
        (victoria.points("d", "v").await.len() == 50).then_some(())
    })
    .await;
    victoria.stop().await;
    push(&gateway, 50..150).await;
    // The gateway is killed meanwhile: the cursor must find its place again.
    let gateway = gateway.kill().await.start().await;
    push(&gateway, 150..200).await;
    victoria.start_again().await;
    let points = eventually("all points are stored", || async {
        let points = victoria.points("d", "v").await;
        (points.len() >= 200).then_some(points)
    })
    .await;
    let values: Vec<f64> = points.iter().map(|p| p.1).collect();
    assert_eq!(values, (0..200).map(f64::from).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_influxdb_the_charts_reach_back_into_the_embedded_archive() {
    let gateway = Gateway::start("[store]\nmemory_per_series = \"1 KiB\"\n[history]\nflush_every = \"1s\"\n[journal]\nkeep = \"0 B\"\n").await;
    push(&gateway, 0..5_000).await;
    let path = "/api/v1/series/d/v/points?from=1763640000000&to=1763640005000&points=5000";
    let gateway = &gateway;
    gateway.value("d/v", |v| v == 4_999.0).await;
    eventually("all points are there", || async move {
        (gateway.get(path).await["t"].as_array()?.len() == 5_000).then_some(())
    })
    .await;
    let few = gateway
        .get("/api/v1/series/d/v/points?from=1763640000000&to=1763640005000&points=10")
        .await;
    assert_eq!(
        few["count"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(serde_json::Value::as_u64)
            .sum::<u64>(),
        5_000
    );
    assert_eq!(
        (
            few["min"][0].as_f64(),
            few["max"].as_array().unwrap().last().unwrap().as_f64()
        ),
        (Some(0.0), Some(4_999.0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_made_at_the_start() {
    let sink = InfluxSink::start().await;
    let gateway = Gateway::start(&config(&sink.url())).await;
    eventually("the bucket is made", || async {
        (sink.made_buckets() == ["b"]).then_some(())
    })
    .await;
    push(&gateway, 0..5).await;
    values(&sink, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_while_the_bucket_is_looked_up_stops_nothing() {
    let sink = InfluxSink::start().await;
    sink.cut_answers();
    let gateway = Gateway::start(&config(&sink.url())).await;
    push(&gateway, 0..5).await;
    values(&sink, 5).await;
}
