//! The page over TLS: with a certificate that the gateway makes, or one that it is given; HTTP/2 and HTTP/1.1; and another certificate
//! while it runs.

use std::{path::Path, process::Stdio, sync::Arc};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, eventually, free_port, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};

const OWN: &str = "[http]\nlogin = \"on\"\ntls = \"self-signed\"\n";

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
}

/// What openssl says of the server: with its certificate in PEM.
async fn s_client(address: std::net::SocketAddr, more: &[&str]) -> String {
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is installed");
    drop(openssl.stdin.take());
    let said = within("openssl ends", openssl.wait_with_output())
        .await
        .unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

/// The SHA-256 of the certificate that a server shows, by openssl.
async fn fingerprint(address: std::net::SocketAddr) -> String {
    let shown = s_client(address, &["-servername", "localhost"]).await;
    let start = shown
        .find("-----BEGIN CERTIFICATE")
        .unwrap_or_else(|| panic!("{shown}"));
    let mut openssl = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = openssl.stdin.take().unwrap();
    input.write_all(&shown.as_bytes()[start..]).await.unwrap();
    drop(input);
    let said = within("openssl ends", openssl.wait_with_output())
        .await
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.trim().split_once('=').unwrap().1.to_owned()
}

/// The newest fingerprint in the log.
fn told(gateway: &Gateway) -> String {
    let log = gateway.log();
    let line = log
        .lines()
        .rfind(|line| line.contains("\"fingerprint\""))
        .unwrap();
    let entry: Value = serde_json::from_str(line).unwrap();
    entry["fingerprint"].as_str().unwrap().to_owned()
}

/// A certificate of `localhost` and its key, by openssl.
async fn make_pair(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .stderr(Stdio::null())
        .status();
    assert!(made.await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_its_own_is_told_kept_over_a_restart_and_good_for_both_protocols() {
    let gateway = Gateway::start(OWN).await;
    let seen = fingerprint(gateway.address).await;
    assert_eq!(seen, told(&gateway));
    let shown = s_client(gateway.address, &["-alpn", "h2,http/1.1", "-tls1_3"]).await;
    assert!(shown.contains("ALPN protocol: h2"), "{shown}");
    let old = s_client(gateway.address, &["-alpn", "http/1.1", "-tls1_2"]).await;
    assert!(
        old.contains("ALPN protocol: http/1.1") && old.contains("TLSv1.2"),
        "{old}"
    );
    let older = s_client(
        gateway.address,
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
    )
    .await;
    assert!(!older.contains("-----BEGIN CERTIFICATE"), "{older}");
    let answer = client().get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, reqwest::Version::HTTP_2)
    );
    let only_first = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .http1_only()
        .build()
        .unwrap();
    let answer = only_first
        .get(gateway.url("/healthz"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, reqwest::Version::HTTP_11)
    );
    let (status, stopped) = gateway.stop().await;
    assert!(status.success());
    let gateway = stopped.start().await;
    assert_eq!(fingerprint(gateway.address).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_secure_and_streams_and_requests_share_a_connection() {
    let gateway = Gateway::start(OWN).await;
    let link = eventually("the log has a link", || async {
        let log = gateway.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("#setup="))?
            .to_owned();
        let entry: Value = serde_json::from_str(&line).ok()?;
        entry["link"].as_str().map(ToOwned::to_owned)
    })
    .await;
    assert!(link.starts_with("https://"), "{link}");
    let client = client();
    let (_, secret) = link.split_once("#setup=").unwrap();
    let asked = json!({"token": secret, "name": "anna", "password": "correct horse battery"});
    let answer = client
        .post(gateway.url("/api/v1/setup"))
        .json(&asked)
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let get = async |path: &str| {
        let request = client.get(gateway.url(path)).header("cookie", cookie);
        request.send().await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..20 {
        let answer = get("/events").await;
        assert_eq!(answer.status(), 200);
        let mut stream = Box::pin(answer.bytes_stream());
        assert!(
            within("the first event", stream.next())
                .await
                .unwrap()
                .is_ok()
        );
        streams.push(stream);
    }
    let metrics = get("/metrics").await.text().await.unwrap();
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gateway_http_connections "));
    assert_eq!(open, Some("1"));
    // A request that changes something knows its own origin by `:authority`.
    let origin = gateway.url("");
    let out = client
        .post(gateway.url("/api/v1/logout"))
        .header("origin", origin)
        .header("cookie", cookie);
    assert_eq!(out.send().await.unwrap().status(), 204);
    for mut stream in streams {
        within("a stream of the session ends", async {
            while stream.next().await.is_some() {}
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_taken_when_it_is_asked_for_and_a_bad_one_is_not() {
    let dir = Arc::new(TempDir::new().unwrap());
    make_pair(dir.path()).await;
    let config = "[http]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let gateway = Gateway::start_in(Arc::clone(&dir), config).await;
    let first = fingerprint(gateway.address).await;
    assert_eq!(told(&gateway), first);
    let mut open = Box::pin(
        client()
            .get(gateway.url("/events"))
            .send()
            .await
            .unwrap()
            .bytes_stream(),
    );
    make_pair(dir.path()).await;
    gateway.signal(rustix::process::Signal::HUP);
    let second = eventually("the new certificate is shown", || async {
        let now = fingerprint(gateway.address).await;
        (now != first).then_some(now)
    })
    .await;
    std::fs::write(dir.path().join("key.pem"), "no key\n").unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    eventually("the log says what is wrong", || async {
        gateway
            .log()
            .contains("there is no private key in it")
            .then_some(())
    })
    .await;
    assert_eq!(fingerprint(gateway.address).await, second);
    assert!(
        within("a stream of before goes on", open.next())
            .await
            .unwrap()
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_agree_on_keys_is_let_go_and_holds_up_nobody() {
    let gateway = Gateway::start_at(Arc::new(TempDir::new().unwrap()), OWN, free_port()).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut plain = TcpStream::connect(gateway.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = client().get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut said = Vec::new();
    // Whether it is closed with a word or cut off is not promised.
    drop(within("who speaks no TLS is let go", plain.read_to_end(&mut said)).await);
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    drop(within("who says nothing is let go", silent.read_to_end(&mut said)).await);
}
