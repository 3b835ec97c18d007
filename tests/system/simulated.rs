use std::process::Stdio;

use tests::{Gateway, eventually, workspace_binary};
use tokio::process::Command;

/// What `sensor-sim` sent and what the gateway holds are the same, although the devices repeat, reorder and send garbage.
#[tokio::test(flavor = "multi_thread")]
async fn what_simulated_sensors_sent_is_there_by_their_own_ledger() {
    let gateway = Gateway::start(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\ntopic = \"sim/{device}\"\ntime = \"time\"\n",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.toml");
    let ledger = folder.path().join("ledger.jsonl");
    let mut text = String::from("seed = 7\nduration = \"5s\"\n");
    let mqtt = format!(
        "mqtt = {{ port = {}, topic = \"sim/{{device}}\", qos = 1 }}",
        gateway.listeners[0].port()
    );
    let http = format!("http = {{ url = \"{}\" }}", gateway.url("/api/v1/readings"));
    for (device, transport) in [("by-mqtt", mqtt), ("by-http", http)] {
        text += &format!(
            "[[device]]\nid = \"{device}\"\n{transport}\nformat = \"json\"\ntime = \"epoch_ms\"\nsequence = true\ninterval = \"20ms\"\n\
             signal = [{{ metric = \"temperature\", shape = \"sine\", offset = 20, amplitude = 5, period = \"10s\", noise = 0.1, decimals = 2 }}]\n\
             fault = [{{ kind = \"duplicate\", probability = 0.05 }}, {{ kind = \"reorder\", probability = 0.05, depth = 3 }}, {{ kind = \"garbage\", probability = 0.05 }}]\n",
        );
    }
    std::fs::write(&scenario, text).unwrap();
    let simulator = || {
        let mut command = Command::new(workspace_binary("sensor-sim"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let ran = simulator()
        .arg("run")
        .arg(&scenario)
        .arg("--ledger")
        .arg(&ledger)
        .output()
        .await
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    gateway
        .account("push", |row| row["accepted"].as_u64() > Some(100))
        .await;
    let row = gateway
        .account("l", |row| row["accepted"].as_u64() > Some(100))
        .await;
    assert!(
        row["rejected"]
            .as_object()
            .is_some_and(|reasons| !reasons.is_empty()),
        "garbage was sent: {row}"
    );
    let verified = eventually("everything is found again", || async {
        let verified = simulator()
            .arg("verify")
            .arg(&ledger)
            .arg("--gateway")
            .arg(gateway.url(""))
            .output()
            .await
            .unwrap();
        verified.status.success().then_some(verified)
    })
    .await;
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    for device in ["by-mqtt", "by-http"] {
        let verdict = &report["devices"][device];
        assert!(verdict["acknowledged"].as_u64() > Some(300), "{report}");
        assert_eq!(verdict["found"], verdict["sent"], "{report}");
    }
}
