//! Captured files, sent again: MQTT captures (`.jsonl` with `topic`, `payload_text` or `payload_hex`, `retain`), CSV series with a
//! column of times, line protocol (`.lp`), and anything else as the raw bytes of a serial line.
//!
//! The files are data from elsewhere: a line that can't be read is an error with its number, never a panic.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    encode::{self, Field, Time},
    scenario::{Qos, TimeForm, Version},
    signal::{Value, chance, draw},
    transport::{
        TransportError,
        http::{self, Answer},
        serial::{Pty, Written},
        session::{self, Events, Heard, Peer, Publisher, SessionError},
    },
};

/// A start bit, eight data bits and a stop bit.
const BITS_A_BYTE: f64 = 10.0;
const MAX_CHUNK: f64 = 64.0;
const LOOK_FOR_READER: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
/// Digits of a number in a CSV file are kept up to this many decimals.
const DECIMALS: u8 = 9;

/// Where to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A broker.
    Mqtt {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
        /// Quality of service.
        qos: Qos,
    },
    /// A pseudo-terminal with this link; the replay begins when somebody opens it.
    Serial {
        /// Where.
        link: PathBuf,
        /// Bits a second, ten to a byte.
        baud: u32,
    },
    /// POST to this address.
    Http {
        /// The whole address.
        url: String,
    },
}

/// What to replay and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The captured file; its ending says what it is.
    pub capture: PathBuf,
    /// Where to.
    pub target: Target,
    /// Faster than 1 or slower.
    pub speed: f64,
    /// Messages a second for captures without times.
    pub rate: f64,
    /// The column with the time of a CSV file; without it the rows follow at `rate`.
    pub csv_time: Option<String>,
    /// The name of the device of a CSV file. Default: the file's name. Its topic is `replay/<device>`.
    pub device: Option<String>,
    /// For the sizes of the chunks on a serial line.
    pub seed: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Messages, or chunks on a serial line.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that the other side acknowledged.
    pub acknowledged: u64,
    /// Messages that it refused.
    pub refused: u64,
}

/// Why a replay ended.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the file makes no sense.
    #[error("{}, line {line}: {message}", path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It was stopped before the end of the file.
    #[error("stopped before the end of the capture")]
    Stopped,
    /// The speed or rate can't be.
    #[error("speed and rate lie above 0 and up to a million, and the baud rate is at least 50")]
    Pace,
    /// The link can't work.
    #[error("can't send")]
    Transport(#[from] TransportError),
    /// The connection to the broker ended.
    #[error("can't send")]
    Session(#[from] SessionError),
    /// The acknowledgements did not come.
    #[error("the broker did not acknowledge in time")]
    NoAnswer,
    /// Nobody reads the serial line any more.
    #[error("the reader left the serial line")]
    ReaderLeft,
}

/// One message of a capture.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    at: Duration,
    topic: String,
    payload: Bytes,
    retain: bool,
    content_type: &'static str,
}

#[derive(Deserialize)]
struct Captured {
    topic: String,
    payload_text: Option<String>,
    payload_hex: Option<String>,
    #[serde(default)]
    retain: bool,
}

/// Replays the file until its end or until `stop`.
///
/// # Errors
///
/// When the file makes no sense, the target can't be reached, or it was stopped.
pub async fn replay(config: &Config, stop: CancellationToken) -> Result<Outcome, ReplayError> {
    let sane = |pace: f64| pace > 0.0 && pace <= 1e6;
    if !sane(config.speed) || !sane(config.rate) {
        return Err(ReplayError::Pace);
    }
    let bytes = tokio::fs::read(&config.capture)
        .await
        .map_err(|source| ReplayError::Read {
            path: config.capture.clone(),
            source,
        })?;
    let outcome = async {
        let items = items(config, &bytes);
        match (&config.target, items) {
            (Target::Serial { link, baud }, None) => {
                raw(&bytes, link, *baud, config.speed, config.seed).await
            }
            (Target::Serial { link, .. }, Some(items)) => lines(&items?, link).await,
            (Target::Mqtt { host, port, qos }, Some(items)) => {
                Box::pin(publish(items?, host, *port, *qos)).await
            }
            (Target::Http { url }, Some(items)) => post(items?, url).await,
            (Target::Mqtt { .. } | Target::Http { .. }, None) => Err(config.line(
                1,
                "raw bytes go to --serial only; .jsonl, .csv and .lp go anywhere",
            )),
        }
    };
    tokio::select! {
        () = stop.cancelled() => Err(ReplayError::Stopped),
        outcome = outcome => outcome,
    }
}

impl Config {
    fn line(&self, line: usize, message: impl Into<String>) -> ReplayError {
        ReplayError::Line {
            path: self.capture.clone(),
            line,
            message: message.into(),
        }
    }

    /// When the message of this number is due, for captures without times.
    fn due(&self, number: usize) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a capture has far fewer than 2^53 lines"
        )]
        let seconds = number as f64 / (self.rate * self.speed);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// The messages of a capture; `None` for raw bytes.
fn items(config: &Config, bytes: &[u8]) -> Option<Result<Vec<Item>, ReplayError>> {
    let ending = config.capture.extension().and_then(|e| e.to_str());
    match ending {
        Some("jsonl") => Some(captured(config, bytes)),
        Some("csv") => Some(rows(config, bytes)),
        Some("lp") => Some(Ok(line_protocol(config, bytes))),
        _ => None,
    }
}

fn captured(config: &Config, bytes: &[u8]) -> Result<Vec<Item>, ReplayError> {
    let mut items = Vec::new();
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |message: String| config.line(number + 1, message);
        let captured: Captured =
            serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let payload = match (captured.payload_text, captured.payload_hex) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(hex)) => {
                from_hex(&hex).ok_or_else(|| wrong(String::from("payload_hex is no hex")))?
            }
            _ => {
                return Err(wrong(String::from(
                    "exactly one of payload_text and payload_hex is needed",
                )));
            }
        };
        items.push(Item {
            at: config.due(items.len()),
            topic: captured.topic,
            payload: payload.into(),
            retain: captured.retain,
            content_type: "application/json",
        });
    }
    Ok(items)
}

fn line_protocol(config: &Config, bytes: &[u8]) -> Vec<Item> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#"))
        .enumerate()
        .map(|(number, line)| Item {
            at: config.due(number),
            topic: format!("replay/{}", device_of(config)),
            payload: Bytes::copy_from_slice(line),
            retain: false,
            content_type: "text/plain; charset=utf-8",
        })
        .collect()
}

fn rows(config: &Config, bytes: &[u8]) -> Result<Vec<Item>, ReplayError> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|error| config.line(1, error.to_string()))?
        .clone();
    let time_column = match &config.csv_time {
        Some(name) => Some(
            header
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| config.line(1, format!("there is no column `{name}`")))?,
        ),
        None => None,
    };
    let device = device_of(config);
    let over_http = matches!(config.target, Target::Http { .. });
    let mut first = None;
    let mut items = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            config.line(usize::try_from(line).unwrap_or(0), error.to_string())
        })?;
        let line = row
            .position()
            .map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
        let ns = match time_column {
            Some(column) => {
                let text = row.get(column).unwrap_or_default();
                let ns = parse_time(text)
                    .ok_or_else(|| config.line(line, format!("`{text}` is no time")))?;
                Some(ns)
            }
            None => None,
        };
        let at = match ns {
            Some(ns) => {
                let since = ns.saturating_sub(*first.get_or_insert(ns)).max(0);
                let since = Duration::from_nanos(since.unsigned_abs());
                since.div_f64(config.speed.max(f64::MIN_POSITIVE))
            }
            None => config.due(items.len()),
        };
        let values: Vec<(&str, Value)> = header
            .iter()
            .zip(row.iter())
            .enumerate()
            .filter(|(column, (name, cell))| {
                Some(*column) != time_column && !name.is_empty() && !cell.is_empty()
            })
            .map(|(_, (name, cell))| (name, cell_value(cell)))
            .collect();
        let fields: Vec<Field<'_>> = values
            .iter()
            .map(|(name, value)| Field {
                name,
                value,
                decimals: DECIMALS,
            })
            .collect();
        let time = Time {
            key: "time",
            ns: ns.unwrap_or(0),
            form: ns.map_or(TimeForm::None, |_| TimeForm::Rfc3339),
        };
        let mut payload = String::new();
        if over_http {
            encode::readings_json(&mut payload, &device, time, &fields);
        } else {
            encode::json(&mut payload, time, &fields);
        }
        items.push(Item {
            at,
            topic: format!("replay/{device}"),
            payload: payload.into_bytes().into(),
            retain: false,
            content_type: "application/json",
        });
    }
    Ok(items)
}

fn device_of(config: &Config) -> String {
    config.device.clone().unwrap_or_else(|| {
        config.capture.file_stem().map_or_else(
            || String::from("replay"),
            |s| s.to_string_lossy().into_owned(),
        )
    })
}

fn cell_value(cell: &str) -> Value {
    if let Ok(int) = cell.parse::<i64>() {
        return Value::Int(int);
    }
    match cell.parse::<f64>() {
        Ok(float) if float.is_finite() => Value::Float(float),
        _ => Value::Text(cell.to_owned()),
    }
}

/// RFC 3339, or `2015-02-04 17:51:00` taken for UTC, or seconds since the epoch.
fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).ok();
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1_000_000_000);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let time = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    i64::try_from(time.as_nanosecond()).ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
}

async fn reader_came(pty: &Pty) {
    // A pseudo-terminal has no event for its first opening, so it is looked at now and then.
    while !pty.has_reader() {
        sleep(LOOK_FOR_READER).await;
    }
}

async fn raw(
    bytes: &[u8],
    link: &Path,
    baud: u32,
    speed: f64,
    seed: u64,
) -> Result<Outcome, ReplayError> {
    if baud < 50 {
        return Err(ReplayError::Pace);
    }
    let pty = Pty::open(Some(link))?;
    reader_came(&pty).await;
    let mut rng = chance(seed, &["chunks"]);
    let mut outcome = Outcome::default();
    let a_byte = BITS_A_BYTE / f64::from(baud) / speed;
    let mut due = Instant::now();
    let mut rest = bytes;
    while !rest.is_empty() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 64"
        )]
        let size = (1.0 + draw(&mut rng) * MAX_CHUNK) as usize;
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        written(pty.write(chunk).await?)?;
        outcome.messages += 1;
        outcome.bytes += chunk.len() as u64;
        rest = after;
        due += Duration::from_secs_f64(a_byte).mul_f64(chunk.len() as f64);
        sleep_until(due).await;
    }
    pty.drained(PATIENCE).await;
    Ok(outcome)
}

async fn lines(items: &[Item], link: &Path) -> Result<Outcome, ReplayError> {
    let pty = Pty::open(Some(link))?;
    reader_came(&pty).await;
    let start = Instant::now();
    let mut outcome = Outcome::default();
    for item in items {
        sleep_until(start + item.at).await;
        let mut line = item.payload.to_vec();
        line.push(b'\n');
        written(pty.write(&line).await?)?;
        outcome.messages += 1;
        outcome.bytes += line.len() as u64;
    }
    pty.drained(PATIENCE).await;
    Ok(outcome)
}

fn written(written: Written) -> Result<(), ReplayError> {
    match written {
        Written::All => Ok(()),
        Written::NobodyListens | Written::NotFetched => Err(ReplayError::ReaderLeft),
    }
}

async fn publish(
    items: Vec<Item>,
    host: &str,
    port: u16,
    qos: Qos,
) -> Result<Outcome, ReplayError> {
    let (publisher, mut events) = session::open(&Peer {
        host: host.to_owned(),
        port,
        client_id: format!("replay-{}", std::process::id()),
        login: None,
        version: Version::V3,
        in_flight: session::window(qos, 100),
    });
    events.next().await?;
    let total = items.len() as u64;
    let bytes = items.iter().map(|item| item.payload.len() as u64).sum();
    let feed = async {
        let start = Instant::now();
        for item in items {
            sleep_until(start + item.at).await;
            let Item {
                topic,
                payload,
                retain,
                ..
            } = item;
            publisher.publish(&topic, qos, retain, payload).await?;
        }
        Ok::<(), ReplayError>(())
    };
    let mut outcome = Outcome {
        messages: total,
        bytes,
        ..Outcome::default()
    };
    settle(&publisher, &mut events, feed, qos, total, &mut outcome).await?;
    Ok(outcome)
}

/// Feeds and listens until everything is settled, then says goodbye.
async fn settle(
    publisher: &Publisher,
    events: &mut Events,
    feed: impl Future<Output = Result<(), ReplayError>>,
    qos: Qos,
    total: u64,
    outcome: &mut Outcome,
) -> Result<(), ReplayError> {
    let (fed, is_fed) = tokio::sync::oneshot::channel();
    let feed = async {
        let ended = feed.await;
        // The listener is part of the same future, so it is still there to hear it.
        let _ = fed.send(());
        match ended {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let listen = async {
        let mut settled = 0;
        while settled < total {
            match events.next().await? {
                Heard::WentOut(_) if qos == Qos::AtMostOnce => settled += 1,
                Heard::Acknowledged(_) => {
                    settled += 1;
                    outcome.acknowledged += 1;
                }
                Heard::Refused(..) => {
                    settled += 1;
                    outcome.refused += 1;
                }
                _ => {}
            }
        }
        publisher.goodbye().await?;
        while events.next().await? != Heard::SaidGoodbye {}
        Ok::<(), ReplayError>(())
    };
    let late = async {
        // Never sent when the feeding failed, which ends everything by itself.
        let _ = is_fed.await;
        sleep(PATIENCE).await;
    };
    tokio::select! {
        error = feed => Err(error),
        ended = listen => ended,
        () = late => Err(ReplayError::NoAnswer),
    }
}

async fn post(items: Vec<Item>, url: &str) -> Result<Outcome, ReplayError> {
    let client = http::client()?;
    let start = Instant::now();
    let mut outcome = Outcome::default();
    for item in items {
        sleep_until(start + item.at).await;
        outcome.messages += 1;
        outcome.bytes += item.payload.len() as u64;
        let mut backoff = crate::backoff::Backoff::default();
        loop {
            match http::post(&client, url, item.content_type, item.payload.clone()).await {
                Answer::Acknowledged => outcome.acknowledged += 1,
                Answer::Refused(answer) => {
                    tracing::warn!(answer, "a message was refused");
                    outcome.refused += 1;
                }
                Answer::Later(wait, error) => {
                    tracing::warn!(error, "can't deliver, trying again");
                    sleep(wait.unwrap_or_else(|| backoff.next_wait())).await;
                    continue;
                }
            }
            break;
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests;
