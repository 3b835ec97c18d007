use gateway::clock::Clock;
use serde_json::{Value, json};
use tests::{Gateway, Mosquitto, WebhookSink, eventually};

const RULES: &str = r#"
site = "lab"
[[rule]]
name = "range"
series = "*/temperature"
outside = [2, 8]
[[rule]]
name = "door"
match = { site = "la?", device = "m*" }
series = "*/open"
equals = true
[[rule]]
name = "elsewhere"
match = { site = "attic" }
equals = true
[[rule]]
name = "state"
series = "*/state"
equals = ["error", "fault"]
[[rule]]
name = "starts"
series = "*/on"
equals = true
more_than = 2
over = "1h"
counted = "beginnings"
[[rule]]
name = "setpoint"
series = "*/temperature"
above_metric = "setpoint"
by = 2
[[rule]]
name = "stuck"
series = "*/humidity"
stuck_for = "10s"
[[rule]]
name = "dry"
series = "*/current"
when = "value < 0.4 and metric('on') and mean('1m') < 5"
[[rule]]
name = "never"
series = "*/current"
when = "value < metric('no such metric')"
"#;

/// Which rules told what, in the order of their names.
fn told(webhook: &WebhookSink) -> Vec<String> {
    let accepted = webhook.accepted();
    let mut told: Vec<_> = accepted
        .iter()
        .map(|body| {
            let text = |key: &str| body[key].as_str().unwrap_or_default();
            format!("{} {}", text("rule"), text("event"))
        })
        .collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn each_condition_fires_once_and_resolves_over_a_kill_in_the_middle() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&format!(
        "{RULES}\n[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[source.mapping]]\ntopic = \"plant/{{device}}\"\ntime = \"at\"\ntext = true\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        broker.port,
        webhook.url()
    ))
    .await;
    gateway.source_is("plant", "up").await;
    let began = Clock::system().now().as_millis() - 60_000;
    let send = |second: i64, fields: Value| {
        let mut fields = fields;
        fields["at"] = json!(began + 1_000 * second);
        let (broker, text) = (&broker, fields.to_string());
        async move {
            let message = ["-q", "1", "-t", "plant/m1", "-m", &text];
            broker.publish(&message).await;
        }
    };
    let first = json!({
        "temperature": 5, "setpoint": 4, "open": false, "state": "ok", "on": false, "humidity": 40, "current": 1
    });
    send(0, first).await;
    send(5, json!({"on": true, "humidity": 41})).await;
    send(6, json!({"on": false})).await;
    send(7, json!({"on": true, "humidity": 42})).await;
    gateway.account("plant", |row| row["accepted"] == 12).await;
    gateway.value("m1/humidity", |value| value == 42).await;
    assert_eq!(told(&webhook), [""; 0]);

    // What a count and a stuck value need is remembered, though nothing of it was written down.
    let gateway = gateway.kill().await.start().await;
    gateway.source_is("plant", "up").await;
    send(8, json!({"on": false, "humidity": 42})).await;
    send(9, json!({"on": true})).await;
    send(17, json!({"humidity": 42})).await;
    send(18, json!({"setpoint": 1})).await;
    send(19, json!({"temperature": 3.5})).await;
    send(20, json!({"temperature": 8.5})).await;
    send(21, json!({"open": true, "state": "fault", "current": 0.3})).await;
    let all = [
        "door", "dry", "range", "setpoint", "starts", "state", "stuck",
    ];
    let firing: Vec<_> = all.iter().map(|rule| format!("{rule} firing")).collect();
    eventually("each rule has fired", || async {
        (told(&webhook).len() >= all.len()).then_some(())
    })
    .await;
    assert_eq!(told(&webhook), firing);

    let calm = json!({
        "temperature": 2.5, "open": false, "state": "ok", "humidity": 50, "current": 1
    });
    send(30, calm).await;
    let mut expected: Vec<_> = all
        .iter()
        .filter(|rule| **rule != "starts")
        .map(|rule| format!("{rule} resolved"))
        .chain(firing)
        .collect();
    expected.sort();
    eventually("all but the count are over", || async {
        (told(&webhook).len() >= expected.len()).then_some(())
    })
    .await;
    assert_eq!(told(&webhook), expected);
    let engine = &gateway.get("/api/v1/status").await["engine"];
    assert_eq!(engine["undecided_rules"][0]["rule"], "never", "{engine:#}");
    let alerts = gateway.get("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["rule"], "starts");
    assert_eq!(
        alerts["alerts"][0]["summary"],
        "m1/on is true: became equal to true more than 2 times in 1 h"
    );
    gateway.account("plant", |row| row["waiting"] == 0).await;
}
