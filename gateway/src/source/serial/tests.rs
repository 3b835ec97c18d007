use std::{
    fs::File,
    io::Write,
    os::{fd::OwnedFd, unix::fs::symlink},
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::registry::Registry;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::ControlModes,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    clock::Clock,
    model::SourceName,
    source::{Delivery, LinkState, Receipt, SourceStatus, intake::Door, status::SourceMetrics},
};

const DEADLINE: Duration = Duration::from_secs(10);

/// The device's end of a pseudo-terminal.
struct Device {
    master: File,
    path: PathBuf,
}

impl Device {
    fn plug_in() -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().to_str().unwrap());
        Self {
            master: File::from(master),
            path,
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }
}

/// A running source with the test in the place of the ingest task.
struct Bench {
    out: mpsc::Receiver<Delivery>,
    lines: Vec<String>,
    stamps: Vec<Timestamp>,
    status: watch::Receiver<SourceStatus>,
    reporter: StatusReporter,
    rejects: Rejects,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _door: Door,
}

impl Bench {
    fn start(config: Config) -> Self {
        let mut registry = Registry::default();
        let rejects = Rejects::new(&mut registry);
        let name = SourceName("port".into());
        let (reporter, status) =
            SourceMetrics::new(&mut registry).reporter(name.clone(), "serial", Clock::system());
        let (door, out) = Door::new();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(
            config,
            door.intake(0, name),
            rejects.clone(),
            reporter.clone(),
            stop.clone(),
        ));
        Self {
            out,
            lines: Vec::new(),
            stamps: Vec::new(),
            status,
            reporter,
            rejects,
            stop,
            running,
            _door: door,
        }
    }

    async fn becomes(&mut self, state: LinkState) -> SourceStatus {
        timeout(DEADLINE, self.status.wait_for(|s| s.state == state))
            .await
            .unwrap_or_else(|_| panic!("never became {state:?}"))
            .unwrap()
            .clone()
    }

    /// Takes deliveries until `n` lines came, all told.
    async fn lines(&mut self, n: usize) -> &[String] {
        while self.lines.len() < n {
            let delivery = timeout(DEADLINE, self.out.recv())
                .await
                .expect("lines did not come")
                .unwrap();
            for frame in delivery.frames {
                self.stamps.push(frame.arrived);
                self.lines
                    .push(String::from_utf8(frame.payload.to_vec()).unwrap());
            }
            delivery.done.send(Receipt::default()).unwrap();
        }
        &self.lines
    }

    async fn rejected(&self, reason: Reason, n: u64) {
        timeout(DEADLINE, async {
            while self.rejects.count(&SourceName("port".into()), reason) < n {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the reject was not counted");
    }
}

fn config(device: PathBuf) -> Config {
    Config {
        max_line_bytes: 32,
        backoff: crate::backoff::Config {
            initial: Duration::from_millis(5),
            max: Duration::from_millis(20),
        },
        ..Config::new(device)
    }
}

/// Counts WARN events of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Warnings {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let warnings = Self::default();
        let writer = warnings.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        (warnings, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap())
            .lines()
            .count()
    }
}

#[tokio::test]
async fn lines_arrive_in_order_and_what_was_read_is_delivered_before_it_ends() {
    let mut device = Device::plug_in();
    let mut bench = Bench::start(config(device.path.clone()));
    assert_eq!(
        bench.becomes(LinkState::Up).await.detail,
        device.path.display().to_string()
    );
    device.say(b"t=1\r\nt=2\n\r\nt");
    device.say(b"=3\n");
    assert_eq!(bench.lines(3).await, ["t=1", "t=2", "t=3"]);
    device.say(b"t=4\nhal");
    timeout(DEADLINE, async {
        while bench.reporter.messages.get() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    bench.stop.cancel();
    assert_eq!(bench.lines(4).await[3], "t=4");
    timeout(DEADLINE, bench.running).await.unwrap().unwrap();
    assert_eq!(bench.status.borrow().state, LinkState::Stopped);
}

#[tokio::test]
async fn an_unplugged_port_is_reported_once_and_resumes_under_the_same_link_to_another_tty() {
    let (warnings, _guard) = Warnings::listen();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("usb-sensor");
    let mut first = Device::plug_in();
    symlink(&first.path, &link).unwrap();
    let mut bench = Bench::start(config(link.clone()));
    bench.becomes(LinkState::Up).await;
    first.say(b"one\nhalf a li");
    bench.lines(1).await;

    std::fs::remove_file(&link).unwrap();
    // Some other port holds the old number meanwhile, so that the device comes back as another tty.
    let second = Device::plug_in();
    assert_ne!(first.path, second.path);
    let seen = bench.reporter.bytes.get();
    drop(first);
    let down = bench.becomes(LinkState::Down).await;
    bench.rejected(Reason::Malformed, 1).await;
    assert_eq!(bench.reporter.bytes.get(), seen + 9, "the half line counts");
    assert!(down.detail.contains("unplugged") || down.detail.contains("plug it in"));
    // It goes on trying, says what to do, and stays silent in the log.
    timeout(
        DEADLINE,
        bench
            .status
            .wait_for(|s| s.detail.contains("gateway ports")),
    )
    .await
    .expect("no remedy was given")
    .unwrap();
    assert_eq!(warnings.count(), 1);

    let mut second = second;
    symlink(&second.path, &link).unwrap();
    let up = bench.becomes(LinkState::Up).await;
    assert!(up.detail.contains(second.path.to_str().unwrap()));
    second.say(b"two\n");
    assert_eq!(bench.lines(2).await, ["one", "two"]);
    assert_eq!(bench.status.borrow().connects, 2);
    assert_eq!(warnings.count(), 1);
    bench.stop.cancel();
    timeout(DEADLINE, bench.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn garbage_and_over_long_lines_are_rejected_and_their_neighbours_survive() {
    let mut device = Device::plug_in();
    let mut bench = Bench::start(config(device.path.clone()));
    bench.becomes(LinkState::Up).await;
    device.say(b"before\n");
    device.say(&[b'x'; 500]);
    device.say(b"\nafter\n");
    assert_eq!(bench.lines(2).await, ["before", "after"]);
    bench.rejected(Reason::TooLong, 1).await;
    assert_eq!(
        bench
            .rejects
            .count(&SourceName("port".into()), Reason::TooLong),
        1
    );
    let sample = bench.rejects.samples().remove(0);
    assert_eq!(sample.payload, "x".repeat(32));
}

#[tokio::test]
async fn a_gateway_that_is_behind_costs_the_oldest_lines_and_counts_them() {
    let mut device = Device::plug_in();
    let mut settings = config(device.path.clone());
    settings.queue.max_frames = 10;
    let mut bench = Bench::start(settings);
    bench.becomes(LinkState::Up).await;
    // Nobody answers: a few deliveries are under way, the queue fills, the oldest go.
    let mut held = Vec::new();
    for n in 0..4 {
        device.say(format!("held {n}\n").as_bytes());
        held.push(timeout(DEADLINE, bench.out.recv()).await.unwrap().unwrap());
    }
    for n in 0..50 {
        device.say(format!("{n}\n").as_bytes());
    }
    timeout(DEADLINE, async {
        while bench.reporter.messages.get() < 54 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(bench.reporter.dropped_queue_full.get(), 40);
    for delivery in held {
        delivery.done.send(Receipt::default()).unwrap();
    }
    let lines = bench.lines(10).await;
    assert_eq!(lines[0], "40");
    assert_eq!(lines[9], "49");
}

#[tokio::test]
async fn the_settings_reach_the_port() {
    let device = Device::plug_in();
    let mut bench = Bench::start(Config {
        baud_rate: 57_600,
        data_bits: 7,
        parity: Parity::Odd,
        stop_bits: 2,
        ..config(device.path.clone())
    });
    bench.becomes(LinkState::Up).await;
    // Linux keeps pseudo-terminals at eight bits without parity; rate, stop bits and the kind of parity can be seen.
    let settings = rustix::termios::tcgetattr(&device.master).unwrap();
    assert_eq!(settings.output_speed(), 57_600);
    assert!(
        settings
            .control_modes
            .contains(ControlModes::CSTOPB | ControlModes::PARODD)
    );
}

#[tokio::test]
async fn what_can_not_be_opened_is_explained() {
    let mut missing = Bench::start(config("/dev/serial/by-id/not-there".into()));
    assert!(
        missing
            .becomes(LinkState::Down)
            .await
            .detail
            .contains("gateway ports")
    );
    let mut file = Bench::start(config("/dev/null".into()));
    assert!(
        file.becomes(LinkState::Down)
            .await
            .detail
            .contains("not a serial port")
    );
    let device = Device::plug_in();
    let mut holder = Bench::start(config(device.path.clone()));
    holder.becomes(LinkState::Up).await;
    let mut second = Bench::start(config(device.path.clone()));
    let busy = second.becomes(LinkState::Down).await;
    assert!(busy.detail.contains("another program"), "{}", busy.detail);
    let denied = tokio_serial::Error::new(ErrorKind::Io(io::ErrorKind::PermissionDenied), "denied");
    assert!(explain(&denied, Path::new("/dev/not-there")).contains("dialout"));
}

#[test]
fn links_lead_to_their_devices_and_broken_ones_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/dev/null", folder.path().join("usb-a")).unwrap();
    symlink("/dev/gone", folder.path().join("usb-b")).unwrap();
    assert_eq!(
        links_by_id(folder.path()),
        [(folder.path().join("usb-a"), PathBuf::from("/dev/null"))]
    );
    assert!(links_by_id(Path::new("/not/there")).is_empty());
    for port in ports() {
        assert!(port.device.starts_with("/dev"));
    }
}

#[test]
fn lines_read_at_once_are_stamped_as_far_apart_as_they_were_on_the_wire() {
    // 9600 bits a second, ten bits a byte.
    let mut wire = Wire::new(&Config::new(PathBuf::from("/dev/null")));
    let now = Timestamp(10_000_000_000);
    let stamps: Vec<i64> = [20, 10, 0]
        .map(|after| wire.stamp(now, after).0)
        .into_iter()
        .collect();
    assert_eq!(
        stamps,
        [9_979_166_680, 9_989_583_340, 10_000_000_000],
        "ten bytes take 10.4 ms"
    );
    // The next read brings what a USB adapter had held back: not before the line that is stamped already.
    assert_eq!(wire.stamp(Timestamp(10_000_000_500), 96).0, 10_000_000_001);
    assert_eq!(wire.stamp(Timestamp(10_000_000_500), 0).0, 10_000_000_500);
    // A clock that was put back is followed.
    assert_eq!(wire.stamp(Timestamp(5_000_000_000), 0).0, 5_000_000_000);
}

#[tokio::test]
async fn lines_that_arrive_in_one_burst_have_times_of_their_own_in_their_order() {
    let mut device = Device::plug_in();
    let mut bench = Bench::start(config(device.path.clone()));
    bench.becomes(LinkState::Up).await;
    device.say(b"1\n2\n3\n4\n5\n6\n7\n8\n");
    bench.lines(8).await;
    let stamps = &bench.stamps;
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
}
