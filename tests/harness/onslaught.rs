//! Everything that senders and readers can do to the gateway's memory, at once.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use rumqttc::{
    QoS,
    mqttbytes::v4::{Connect, Publish},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{Gateway, eventually, sinks::HangingSink};

/// How much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// Distinct series, each of a device of its own, pushed over HTTP.
    pub series: usize,
    /// Points that each of the first 10 000 of them gets.
    pub points: usize,
    /// Distinct topics published (and to be retained) at the listener.
    pub topics: usize,
    /// Idle connections, half to HTTP and half to the listener.
    pub connections: usize,
    /// Browsers that open the live stream and never read.
    pub browsers: usize,
    /// Clients that ask for large answers and never read them.
    pub readers: usize,
    /// Clients of the listener that send as much as it takes and half a packet more.
    pub publishers: usize,
}

/// 2025-11-20T12:00:00Z
const FIRST_MS: i64 = 1_763_640_000_000;
/// As many as there is room for by default.
const MAX_SERIES: usize = 10_000;
/// Lines in one request.
const LINES: usize = 20_000;

/// The config that it is thrown at: the defaults, with a listener, `rules` rules over every series, and a webhook that hangs.
#[must_use]
pub fn config(rules: usize, webhook: &HangingSink) -> String {
    let mut config = format!(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\ntopic = \"t/{{device}}\"\n\
         format = \"number\"\nmetric = \"v\"\n[[webhook]]\nname = \"hung\"\nurl = \"{}\"\n",
        webhook.url()
    );
    for rule in 0..rules {
        writeln!(
            config,
            "[[rule]]\nname = \"rule {rule}\"\nseries = \"*/*\"\nabove = 0.5\nclear = {}\n",
            f64::from(u32::try_from(rule).unwrap_or(0)) / 1e6
        )
        .expect("a string takes it");
    }
    config
}

/// Throws all of it at the gateway. Everything that is held open is in what is returned: memory is to be looked at before that is
/// dropped.
///
/// # Panics
///
/// When the gateway stops answering.
pub async fn unleash(gateway: &Gateway, scale: Scale) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let listener = gateway.listeners.first().copied();
    let mut waves = JoinSet::new();
    // Browsers that see a full snapshot and stop; more come while things change, so that none is the same.
    for browser in 0..scale.browsers {
        if browser % 10 == 0 {
            push(gateway, 0..100.min(scale.series), scale.points + browser).await;
        }
        held.extend(ask(gateway, "/events").await);
    }
    for _ in 0..scale.readers {
        held.extend(ask(gateway, "/api/v1/series").await);
    }
    for i in 0..scale.publishers {
        waves.spawn(async move {
            let mut stream = TcpStream::connect(listener?).await.ok()?;
            let mut out = bytes::BytesMut::new();
            Connect::new(format!("heavy-{i}")).write(&mut out).ok()?;
            let mut publish = Publish::new("t/heavy", QoS::AtLeastOnce, vec![b'1'; 200_000]);
            publish.pkid = 1;
            publish.write(&mut out).ok()?;
            // Half of another one.
            let whole = out.len();
            publish.write(&mut out).ok()?;
            out.truncate(whole + 190_000);
            // What it does not take in time waits in the network.
            drop(timeout(Duration::from_secs(5), stream.write_all(&out)).await);
            Some(stream)
        });
    }
    for address in std::iter::once(gateway.address).chain(listener) {
        for _ in 0..20 {
            waves_of(scale.connections / 40, address, &mut held).await;
        }
    }
    while let Some(stream) = waves.join_next().await {
        held.extend(stream.expect("a wave broke"));
    }
    held
}

/// So many connections at once; those that the system itself turns away are none.
async fn waves_of(connections: usize, address: SocketAddr, held: &mut Vec<TcpStream>) {
    let mut connecting = JoinSet::new();
    for _ in 0..connections {
        connecting.spawn(timeout(Duration::from_secs(3), TcpStream::connect(address)));
    }
    while let Some(connected) = connecting.join_next().await {
        held.extend(connected.ok().and_then(Result::ok).and_then(Result::ok));
    }
}

/// The part that the gateway is to take: before its connections are taken up. Every rule comes true for every series that
/// it has room for.
///
/// # Panics
///
/// When the gateway does not answer.
pub async fn fill(gateway: &Gateway, scale: Scale) {
    for point in 0..scale.points {
        push(gateway, 0..MAX_SERIES.min(scale.series), point).await;
    }
    let mut from = MAX_SERIES;
    while from < scale.series {
        let to = scale.series.min(from + LINES);
        push(gateway, from..to, 0).await;
        from = to;
    }
    let mut stream = TcpStream::connect(gateway.listeners[0])
        .await
        .expect("the listener");
    let mut out = bytes::BytesMut::new();
    Connect::new("topics").write(&mut out).expect("a CONNECT");
    for topic in 0..scale.topics {
        let mut publish = Publish::new(format!("t/topic-{topic}"), QoS::AtLeastOnce, "1");
        publish.pkid = u16::try_from(topic % 60_000 + 1).unwrap_or(1);
        publish.retain = true;
        publish.write(&mut out).expect("a PUBLISH");
    }
    let (mut reader, mut writer) = stream.split();
    let mut answers = vec![0; 4 + 4 * scale.topics];
    let (wrote, read) = tokio::join!(writer.write_all(&out), reader.read_exact(&mut answers));
    wrote.expect("the listener reads");
    read.expect("the listener answers each");
    // A megabyte in one text, and in very many fields.
    let text = format!(
        "{{\"device\":\"big\",\"metric\":\"m\",\"value\":\"{}\"}}",
        "x".repeat(1 << 20)
    );
    gateway
        .post("/api/v1/readings", "application/json", text)
        .await;
    let mut fields = String::from("big,device=big ");
    for field in 0..80_000 {
        write!(fields, "{}f{field}=1", if field > 0 { "," } else { "" }).expect("a string");
    }
    gateway.post("/api/v2/write", "text/plain", fields).await;
}

async fn push(gateway: &Gateway, series: std::ops::Range<usize>, point: usize) {
    let time = FIRST_MS + i64::try_from(point).unwrap_or(0) * 1_000;
    for start in series.clone().step_by(LINES) {
        let mut lines = String::new();
        for i in start..series.end.min(start + LINES) {
            writeln!(lines, "m,device=device-{i},label=value-{i} v={i}.5 {time}")
                .expect("a string");
        }
        // 503: the gateway is busy, and says so; what was sent is sent again, as every sender does.
        eventually("the gateway takes the lines", || async {
            let (status, answer) = gateway
                .post("/api/v2/write?precision=ms", "text/plain", lines.clone())
                .await;
            assert!([204, 422, 503].contains(&status), "{status} {answer}");
            (status != 503).then_some(())
        })
        .await;
    }
}

/// Asks and reads nothing.
async fn ask(gateway: &Gateway, path: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(gateway.address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}

/// The number that docs/bounds.md gives: "at most **N MB**".
///
/// # Panics
///
/// When it gives none.
#[must_use]
pub fn documented_bytes() -> u64 {
    let page = std::fs::read_to_string(crate::repository().join("docs/bounds.md"))
        .expect("docs/bounds.md");
    let number = page
        .split("at most **")
        .nth(1)
        .and_then(|rest| rest.split(" MB**").next());
    number
        .and_then(|n| n.parse::<u64>().ok())
        .expect("at most **N MB** in docs/bounds.md")
        * 1_000_000
}

/// Lets this process have as many connections as the system allows; how many that is.
#[must_use]
pub fn raise_own_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum.unwrap_or(u64::MAX)
    } else {
        limit.current.unwrap_or(u64::MAX)
    }
}
