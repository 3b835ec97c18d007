//! One event to many listeners: the live stream beside nginx with nchan (Debian's), in the same run and with the same
//! payload, ten events a second with ten readings each.
//!
//! The delay is from before the publishing request to the bytes in a listener's hands. For the gateway it has in it that the
//! readings were made durable; the spread, from the first listener to each other one, is the fan-out alone.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    path::Path,
    process::Stdio,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;
use tests::{Gateway, free_port, installed, onslaught::raise_own_limit};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::{Child, Command},
    task::LocalSet,
};

const CLIENTS: [usize; 3] = [100, 1_000, 5_000];
/// Between two events.
const EVERY: Duration = Duration::from_millis(100);
/// Readings in one event.
const READINGS: usize = 10;
/// What stands before the time of sending in an event, but for a time in milliseconds.
const MARKER: &[u8] = b"\"sent/us\":{\"t\":[";
const BETWEEN: &[u8] = b"],\"v\":[";
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Of `/proc/PID/stat`; Linux has no other on any platform that this runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// What one run showed.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Deliveries a second, and what share of those that there should be came.
    rate: f64,
    share: f64,
    p50_ms: f64,
    p99_ms: f64,
    spread_p99_ms: f64,
    /// Of one core.
    cpu_percent: f64,
    deliveries_per_core_second: f64,
    bytes_per_client: f64,
}

pub(crate) async fn run(time: Duration, rounds: usize) {
    let files = usize::try_from(raise_own_limit()).unwrap_or(usize::MAX);
    let nchan = installed("nginx").is_some() && Path::new(NCHAN).exists();
    if !nchan {
        println!("nginx with nchan is not installed: the gateway alone");
    }
    println!(
        "\nfanout: {READINGS} readings in an event, 10 events/s for {} s, {rounds} rounds; median of the rounds (least)",
        time.as_secs()
    );
    println!(
        "{:>7} {:<8} {:>18} {:>7} {:>18} {:>20} {:>18} {:>8} {:>22} {:>16}",
        "clients",
        "",
        "delivered/s",
        "came",
        "p50 ms",
        "p99 ms",
        "spread p99 ms",
        "CPU",
        "per core and second",
        "bytes/client"
    );
    for clients in CLIENTS {
        // The gateway gives a quarter of them to HTTP.
        if files / 4 < clients + 1_000 {
            println!("{clients:>7} skipped: the system allows only {files} open files");
            continue;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(gateway(clients, time).await);
            if nchan {
                theirs.push(peer(clients, time).await);
            }
        }
        print(clients, "gateway", &ours);
        if nchan {
            print(clients, "nchan", &theirs);
        }
    }
}

fn print(clients: usize, name: &str, rounds: &[Figures]) {
    let of = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        (crate::quantile(&all, 0.5), crate::quantile(&all, 0.0))
    };
    let shown = |(median, least): (f64, f64), digits: usize| {
        format!("{median:.digits$} ({least:.digits$})")
    };
    println!(
        "{clients:>7} {name:<8} {:>18} {:>6.1}% {:>18} {:>20} {:>18} {:>7.1}% {:>22} {:>16}",
        shown(of(|f| f.rate), 0),
        of(|f| f.share).0 * 100.0,
        shown(of(|f| f.p50_ms), 2),
        shown(of(|f| f.p99_ms), 2),
        shown(of(|f| f.spread_p99_ms), 2),
        of(|f| f.cpu_percent).0,
        shown(of(|f| f.deliveries_per_core_second), 0),
        shown(of(|f| f.bytes_per_client), 0),
    );
}

async fn gateway(clients: usize, time: Duration) -> Figures {
    let gateway = Gateway::start("[live]\nmax_clients = 6000\n").await;
    let address = gateway.url("").trim_start_matches("http://").to_owned();
    let publish = |sent_us: u64| {
        let reading = |device: &str, metric: &str, value: u64| {
            format!("{{\"device\":\"{device}\",\"metric\":\"{metric}\",\"value\":{value}}}")
        };
        let mut readings: Vec<_> = (1..READINGS)
            .map(|n| reading(&format!("device-{n}"), "temperature", 20 + n as u64))
            .collect();
        readings.push(reading("sent", "us", sent_us));
        (
            gateway.url("/api/v1/readings"),
            format!("[{}]", readings.join(",")),
        )
    };
    // All series are known before anybody listens.
    send(publish(now_us())).await;
    measure(
        &[gateway.pid()],
        &address,
        "/events",
        publish,
        clients,
        time,
    )
    .await
}

async fn peer(clients: usize, time: Duration) -> Figures {
    let dir = TempDir::new().expect("a temporary folder");
    let port = free_port();
    let nginx = start_nginx(dir.path(), port).await;
    let parent = nginx.id().expect("it runs");
    let mut pids = vec![parent];
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    pids.extend(
        children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse::<u32>().ok()),
    );
    // What the gateway says of the same readings.
    let publish = |sent_us: u64| {
        let ms = sent_us / 1000;
        let mut columns: Vec<_> = (1..READINGS)
            .map(|n| {
                format!(
                    "\"device-{n}/temperature\":{{\"t\":[{ms}],\"v\":[{}]}}",
                    20 + n
                )
            })
            .collect();
        columns.push(format!("\"sent/us\":{{\"t\":[{ms}],\"v\":[{sent_us}]}}"));
        (
            format!("http://127.0.0.1:{port}/pub"),
            format!("{{\"series\":{{{}}}}}", columns.join(",")),
        )
    };
    send(publish(now_us())).await;
    let address = format!("127.0.0.1:{port}");
    measure(&pids, &address, "/sub", publish, clients, time).await
}

async fn start_nginx(dir: &Path, port: u16) -> Child {
    let here = dir.display();
    let config = format!(
        "load_module {NCHAN};\nuser root;\nworker_processes 1;\nworker_rlimit_nofile 20000;\ndaemon off;\npid {here}/pid;\nerror_log {here}/log warn;\n\
         events {{ worker_connections 16384; }}\nhttp {{\naccess_log off;\nclient_body_temp_path {here}/body;\nproxy_temp_path {here}/proxy;\n\
         fastcgi_temp_path {here}/fastcgi;\nuwsgi_temp_path {here}/uwsgi;\nscgi_temp_path {here}/scgi;\nnchan_shared_memory_size 128M;\n\
         server {{\nlisten 127.0.0.1:{port} backlog=8192;\n\
         location = /pub {{ nchan_publisher; nchan_channel_id c; nchan_message_buffer_length 100; nchan_message_timeout 1m; }}\n\
         location = /sub {{ nchan_subscriber eventsource; nchan_channel_id c; nchan_subscriber_first_message newest; }}\n}}\n}}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).expect("the config can be written");
    let program = installed("nginx").expect("it was there before");
    let child = Command::new(program)
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx can be started");
    tests::eventually("nginx listens", || async {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    child
}

async fn send((url, body): (String, String)) {
    let request = reqwest::Client::new().post(url).body(body);
    let answer = request
        .header("content-type", "application/json")
        .send()
        .await;
    let status = answer.expect("an answer").status();
    assert!(status.is_success(), "publishing: {status}");
}

/// Has so many listen at `path`, publishes what `publish` makes of the time, and looks at the processes meanwhile.
async fn measure(
    pids: &[u32],
    address: &str,
    path: &str,
    publish: impl Fn(u64) -> (String, String),
    clients: usize,
    time: Duration,
) -> Figures {
    // What the first of all connections costs once is nobody's.
    drop(Listeners::start(address, path, 20).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = memory(pids);
    let listeners = Listeners::start(address, path, clients).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let bytes = memory(pids) - before;
    let (cpu, begun) = (cpu_seconds(pids), tokio::time::Instant::now());
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(EVERY);
    let mut sent = 0_usize;
    while begun.elapsed() < time {
        ticks.tick().await;
        let (url, body) = publish(now_us());
        let request = client.post(url).header("content-type", "application/json");
        let answer = request.body(body).send().await.expect("an answer");
        assert!(
            answer.status().is_success(),
            "publishing: {}",
            answer.status()
        );
        sent += 1;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cpu = cpu_seconds(pids) - cpu;
    let tally = listeners.stop();
    let figure = |delays: &[f64], share| crate::quantile(delays, share) / 1_000.0;
    let came = count(tally.delays_us.len());
    Figures {
        rate: came / time.as_secs_f64(),
        share: came / count(sent * clients),
        p50_ms: figure(&tally.delays_us, 0.5),
        p99_ms: figure(&tally.delays_us, 0.99),
        spread_p99_ms: figure(&tally.spreads_us, 0.99),
        cpu_percent: 100.0 * cpu / (time.as_secs_f64() + 1.0),
        deliveries_per_core_second: came / cpu,
        bytes_per_client: bytes / count(clients),
    }
}

/// Many listeners in one thread of their own.
struct Listeners {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Tally>,
}

/// What they heard; sorted in the end.
#[derive(Debug, Default)]
struct Tally {
    delays_us: Vec<f64>,
    spreads_us: Vec<f64>,
    /// When each event was first heard.
    first_us: HashMap<u64, u64>,
}

impl Listeners {
    /// Returns when all of them are connected and hear.
    async fn start(address: &str, path: &str, clients: usize) -> Self {
        let (stop, ready) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stopping, answered) = (Arc::clone(&stop), Arc::clone(&ready));
        let address = address.to_owned();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let tally = Rc::new(RefCell::new(Tally::default()));
            let buffer = Rc::new(RefCell::new(vec![0_u8; 256 << 10]));
            LocalSet::new().block_on(&runtime, async {
                for n in 0..clients {
                    let listener = Listener {
                        tally: Rc::clone(&tally),
                        buffer: Rc::clone(&buffer),
                        ready: Arc::clone(&answered),
                    };
                    let (address, request) = (address.clone(), request.clone());
                    tokio::task::spawn_local(
                        async move { listener.listen(&address, &request).await },
                    );
                    // In small groups, so that no backlog overflows.
                    while n + 1 - answered.load(Ordering::Acquire).min(n + 1) > 50 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                while !stopping.load(Ordering::Acquire) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let mut tally = tally.take();
            tally.delays_us.sort_by(f64::total_cmp);
            tally.spreads_us.sort_by(f64::total_cmp);
            tally
        });
        tests::eventually("all listeners are answered", || async {
            (ready.load(Ordering::Acquire) == clients).then_some(())
        })
        .await;
        Self { stop, thread }
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the listeners end")
    }
}

struct Listener {
    tally: Rc<RefCell<Tally>>,
    /// One for all of them: there is one thread.
    buffer: Rc<RefCell<Vec<u8>>>,
    ready: Arc<AtomicUsize>,
}

impl Listener {
    async fn listen(self, address: &str, request: &str) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is taken");
        let (mut heard, mut tail) = (false, Vec::new());
        while stream.readable().await.is_ok() {
            let mut buffer = self.buffer.borrow_mut();
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if !std::mem::replace(&mut heard, true) {
                        self.ready.fetch_add(1, Ordering::AcqRel);
                    }
                    let new = &buffer[..read];
                    if tail.is_empty() {
                        tail = self.hear(new).to_vec();
                    } else {
                        tail.extend_from_slice(new);
                        let left = self.hear(&tail).len();
                        tail.drain(..tail.len() - left);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Notes each event in the text; gives back what may belong to one that is not all there.
    fn hear<'a>(&self, mut text: &'a [u8]) -> &'a [u8] {
        let now_us = now_us();
        while let Some(at) = find(text, MARKER) {
            let event = &text[at..];
            let Some(end) = event
                .iter()
                .skip(MARKER.len() + 20)
                .position(|b| *b == b'}')
            else {
                return event;
            };
            let end = MARKER.len() + 20 + end;
            let sent = find(&event[..end], BETWEEN).and_then(|at| {
                let digits = event[at + BETWEEN.len()..end]
                    .split(|b| *b == b']')
                    .next()?;
                std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
            });
            if let Some(sent) = sent {
                let mut tally = self.tally.borrow_mut();
                let first = *tally.first_us.entry(sent).or_insert(now_us);
                tally.delays_us.push(micros(now_us.saturating_sub(sent)));
                tally.spreads_us.push(micros(now_us.saturating_sub(first)));
            }
            text = &event[end..];
        }
        &text[text.len().saturating_sub(MARKER.len())..]
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|b| *b == what[0]) {
        if text[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The memory of these processes; what they share counts once (proportional set size).
fn memory(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    };
    pids.iter().map(of).sum()
}

/// The time that these processes had a core.
fn cpu_seconds(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS_A_SECOND
    };
    pids.iter().map(of).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a count for people")]
fn count(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a delay for people")]
fn micros(micros: u64) -> f64 {
    micros as f64
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is no part of the gateway"
)]
fn now_us() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros(),
    )
    .unwrap_or(0)
}
