//! Readings pushed in over HTTP: the gateway's own JSON, and InfluxDB line protocol, so that whoever writes to InfluxDB
//! can write to the gateway instead.
//!
//! A sender that can wait: it hears 2xx only when what it sent is durable. What it is not told within
//! [`Config::durable_within`] it must send again; a reading sent twice is the same reading. Bodies on their way in
//! are bounded together by [`MAX_BODY_BYTES_IN_FLIGHT`]; a request that finds no room waits, then hears 503.
//!
//! Not here: who may send (`http`), and formats: a body is one frame, its topic says which mapping it is for.

use std::{io::Read, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Serialize;
use smol_str::SmolStr;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Frame, Intake, Receipt, StatusReporter, intake::Held};
use crate::{
    decode::{Format, Mapping, mapping::TimeFormat},
    model::Urgency,
    rejects::{Reason, Reject, Rejects},
};

/// Bytes of bodies, as sent and unpacked, that may be held over all requests.
pub const MAX_BODY_BYTES_IN_FLIGHT: usize = 32 << 20;
/// Of a body that is refused as too large, so much is still read and thrown away, so that a sender that writes all of it
/// before it reads hears why.
const MAX_DISCARDED_BYTES: usize = 64 << 20;
/// And for so long.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);
/// The buffer of a body begins with no more than this, whatever was announced.
const FIRST_BUFFER_BYTES: usize = 64 << 10;
/// Above this a body is unpacked away from the network's threads.
const UNPACK_INLINE_BYTES: usize = 16 << 10;
const READINGS: &str = "/api/v1/readings";
/// Precision as the topic says it, and what it means.
const PRECISIONS: [(&str, TimeFormat); 4] = [
    ("/api/v2/write/ns", TimeFormat::EpochNanos),
    ("/api/v2/write/us", TimeFormat::EpochMicros),
    ("/api/v2/write/ms", TimeFormat::EpochMillis),
    ("/api/v2/write/s", TimeFormat::EpochSeconds),
];

/// Bounds of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a body, as sent and unpacked. More is answered 413. Default 4 MiB; 1 KiB to 16 MiB.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive. Default 30 s.
    pub body_within: Duration,
    /// How long a sender waits for the disk before it hears 503. Default 10 s.
    pub durable_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 << 20,
            body_within: Duration::from_secs(30),
            durable_within: Duration::from_secs(10),
        }
    }
}

/// How the frames of this source are read: the gateway's own JSON, and line protocol at each precision. The device of
/// a line is its tag `device`, else its tag `host`, else its measurement; the metric is the field, after measurement
/// and further tags where these tell it from others (`cpu.cpu0.usage_idle`).
#[must_use]
pub fn mappings() -> Vec<Mapping> {
    let readings = Mapping {
        topic: SmolStr::new_static(READINGS),
        format: Format::Readings,
        text: true,
        ..Mapping::default()
    };
    let lines = PRECISIONS.map(|(topic, precision)| Mapping {
        topic: SmolStr::new_static(topic),
        format: Format::LineProtocol { precision },
        device: SmolStr::new_static("{field:tag.device|field:tag.host|field:measurement}"),
        metric: SmolStr::new_static("{series}"),
        text: true,
        ..Mapping::default()
    });
    std::iter::once(readings).chain(lines).collect()
}

/// The fragment with `POST /api/v1/readings`, `/api/v2/write` and `/write`. The source counts as up from here on.
pub fn router(
    config: Config,
    intake: Intake,
    reporter: StatusReporter,
    rejects: Rejects,
) -> Router {
    reporter.up("POST /api/v1/readings, /api/v2/write, /write");
    Router::new()
        .route(READINGS, post(readings))
        .route("/api/v2/write", post(write))
        .route("/write", post(write))
        .with_state(Push {
            config,
            intake,
            reporter,
            rejects,
            room: Arc::new(Semaphore::new(MAX_BODY_BYTES_IN_FLIGHT)),
        })
}

#[derive(Clone, Debug)]
struct Push {
    config: Config,
    intake: Intake,
    reporter: StatusReporter,
    rejects: Rejects,
    room: Arc<Semaphore>,
}

/// Why a request is not taken. What of it is durable is none, or unknown to the sender: it sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    TooLarge,
    WrongType(&'static str),
    WrongEncoding,
    WrongPrecision,
    BadGzip,
    Broken,
    Slow,
    Busy,
    NotDurable,
    Stopping,
}

/// A record that was refused, for who sent it.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    record: usize,
    reason: Reason,
    detail: &'a str,
}

async fn readings(State(push): State<Push>, headers: HeaderMap, body: Body) -> Response {
    let json = media_type(&headers).is_none_or(|media| {
        media == "application/json"
            || (media.starts_with("application/") && media.ends_with("+json"))
    });
    if !json {
        return Refusal::WrongType("send Content-Type: application/json").into_response();
    }
    match push
        .take(SmolStr::new_static(READINGS), &headers, body)
        .await
    {
        Ok(receipt) => {
            let all_refused = receipt.rejected > 0 && receipt.accepted + receipt.duplicates == 0;
            let status = if all_refused {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            let body = serde_json::json!({
                "accepted": receipt.accepted,
                "duplicates": receipt.duplicates,
                "rejected": receipt.rejected,
                "rejects": refused(&receipt),
            });
            (status, axum::Json(body)).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn write(State(push): State<Push>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    // What can't be read of the query counts as not there.
    let query: Vec<(String, String)> =
        Query::try_from_uri(&uri).map_or_else(|_| Vec::new(), |Query(query)| query);
    let precision = query
        .iter()
        .find(|(name, _)| name == "precision")
        .map_or("ns", |(_, value)| value.as_str());
    let topic = match precision {
        "ns" | "n" | "" => "/api/v2/write/ns",
        "us" | "u" | "µ" => "/api/v2/write/us",
        "ms" => "/api/v2/write/ms",
        "s" => "/api/v2/write/s",
        _ => return Refusal::WrongPrecision.into_response(),
    };
    // Whatever curl, Telegraf and the client libraries send for lines is taken; what is surely none is not.
    if media_type(&headers)
        .is_some_and(|media| media == "application/json" || media.starts_with("multipart/"))
    {
        return Refusal::WrongType("send line protocol with Content-Type: text/plain")
            .into_response();
    }
    match push.take(SmolStr::new_static(topic), &headers, body).await {
        Ok(receipt) if receipt.rejected == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(receipt) => {
            let named: Vec<String> = receipt
                .rejects
                .iter()
                .map(|reject| format!("line {}: {}", reject.record + 1, reject.detail))
                .collect();
            let message = format!(
                "partial write: {} lines refused, {} readings accepted: {}",
                receipt.rejected,
                receipt.accepted + receipt.duplicates,
                named.join("; "),
            );
            problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                &message,
                // `code` and `message` are what clients of InfluxDB 2 read, `error` those of InfluxDB 1.
                &serde_json::json!({
                    "code": "unprocessable entity",
                    "message": message,
                    "error": message,
                    "accepted": receipt.accepted,
                    "duplicates": receipt.duplicates,
                    "rejected": receipt.rejected,
                    "rejects": refused(&receipt),
                }),
            )
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn refused(receipt: &Receipt) -> Vec<Refused<'_>> {
    receipt
        .rejects
        .iter()
        .map(|reject| Refused {
            record: reject.record,
            reason: reject.reason,
            detail: &reject.detail,
        })
        .collect()
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(
        text.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

impl Push {
    /// Takes a body from the network to the disk.
    async fn take(
        &self,
        topic: SmolStr,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Receipt, Refusal> {
        let packed = match headers
            .get(header::CONTENT_ENCODING)
            .map(HeaderValue::as_bytes)
        {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip" | b"x-gzip") => true,
            Some(_) => return Err(Refusal::WrongEncoding),
        };
        let outcome = self.take_body(&topic, headers, body, packed).await;
        if let Err((refusal, head)) = &outcome {
            self.note(*refusal, &topic, head);
        }
        let (payload, room) = outcome.map_err(|(refusal, _)| refusal)?;
        let bytes = payload.len();
        let frame = Frame {
            topic,
            payload,
            arrived: self.reporter.now(),
            retained: false,
        };
        let durable = async {
            let receipt = self
                .intake
                .deliver(Urgency::Prompt, None, vec![frame], Vec::new(), |waiting| {
                    // Counted once the gateway has it: who is told to send it again sends it again.
                    self.reporter.received(bytes);
                    Held::new(waiting, 1)
                })
                .await
                .map_err(|_| Refusal::Stopping)?;
            // The intake accounts for the body from here on.
            drop(room);
            receipt.await.map_err(|_| Refusal::Stopping)
        };
        timeout(self.config.durable_within, durable)
            .await
            .unwrap_or(Err(Refusal::NotDurable))
    }

    /// The whole body, unpacked, and the room that it takes; or the refusal and the first bytes.
    async fn take_body(
        &self,
        topic: &SmolStr,
        headers: &HeaderMap,
        body: Body,
        packed: bool,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), (Refusal, Bytes)> {
        let max = self.config.max_body_bytes;
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
        let mut chunks = body.into_data_stream();
        if announced.is_some_and(|n| n > max) {
            // Who asks first is answered at once and sends nothing.
            if !headers.contains_key(header::EXPECT) {
                discard(&mut chunks).await;
            }
            return Err((Refusal::TooLarge, Bytes::new()));
        }
        let mut room = None;
        let mut data = BytesMut::with_capacity(announced.unwrap_or(0).min(FIRST_BUFFER_BYTES));
        let arriving = async {
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|_| Refusal::Broken)?;
                if data.len() + chunk.len() > max {
                    return Err(Refusal::TooLarge);
                }
                self.reserve(&mut room, chunk.len()).await?;
                data.extend_from_slice(&chunk);
            }
            Ok(())
        };
        let arrived = timeout(self.config.body_within, arriving)
            .await
            .unwrap_or(Err(Refusal::Slow));
        let data = data.freeze();
        if let Err(refusal) = arrived {
            if refusal == Refusal::TooLarge {
                discard(&mut chunks).await;
            }
            return Err((refusal, data));
        }
        if !packed {
            return Ok((data, room));
        }
        tracing::trace!(%topic, bytes = data.len(), "unpacking");
        if let Err(refusal) = self.reserve(&mut room, max).await {
            return Err((refusal, data));
        }
        let head = data.clone();
        let unpacked = if data.len() > UNPACK_INLINE_BYTES {
            tokio::task::spawn_blocking(move || unpack(&data, max))
                .await
                .unwrap_or(Err(Refusal::Stopping))
        } else {
            unpack(&data, max)
        };
        match unpacked {
            Ok(data) => Ok((data, room)),
            Err(refusal) => Err((refusal, head)),
        }
    }

    async fn reserve(
        &self,
        room: &mut Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let permits = u32::try_from(bytes.min(MAX_BODY_BYTES_IN_FLIGHT)).unwrap_or(u32::MAX);
        let more = timeout(
            self.config.durable_within,
            Arc::clone(&self.room).acquire_many_owned(permits),
        )
        .await
        .map_err(|_| Refusal::Busy)?
        .map_err(|_| Refusal::Stopping)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }

    /// What is wrong with a body as a whole is a reject like any other.
    fn note(&self, refusal: Refusal, topic: &str, head: &[u8]) {
        let reason = match refusal {
            Refusal::TooLarge => Reason::TooLarge,
            Refusal::BadGzip => Reason::Malformed,
            _ => return,
        };
        self.reporter.received(head.len());
        self.rejects.record(
            self.intake.source(),
            topic,
            head,
            self.reporter.now(),
            Reject {
                reason,
                detail: refusal.detail().to_owned(),
                record: 0,
            },
        );
    }
}

/// Reads what is left of a body and keeps nothing of it.
async fn discard(chunks: &mut BodyDataStream) {
    let mut left = MAX_DISCARDED_BYTES;
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await
            && chunk.len() < left
        {
            left -= chunk.len();
        }
    };
    // A sender that is too slow or sends too much may not hear why: it is answered all the same.
    let _read_or_not = timeout(DISCARD_WITHIN, reading).await;
}

/// All gzip members of `packed`, at most `max` bytes.
fn unpack(packed: &[u8], max: usize) -> Result<Bytes, Refusal> {
    let mut data = Vec::with_capacity(packed.len().saturating_mul(4).min(max));
    flate2::read::MultiGzDecoder::new(packed)
        .take(max as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|_| Refusal::BadGzip)?;
    if data.len() > max {
        return Err(Refusal::TooLarge);
    }
    Ok(Bytes::from(data))
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongType(_) | Self::WrongEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WrongPrecision | Self::BadGzip | Self::Broken => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::NotDurable | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::TooLarge => "the body is over the limit: send smaller batches",
            Self::WrongType(detail) => detail,
            Self::WrongEncoding => "unknown Content-Encoding: send gzip, or none",
            Self::WrongPrecision => "unknown precision: use ns, us, ms or s",
            Self::BadGzip => "the body is not whole gzip",
            Self::Broken => "the body broke off",
            Self::Slow => "the body took too long to arrive",
            Self::Busy => "too many bodies at once: send again later",
            Self::NotDurable => "not yet durable, as the disk is busy or refuses: send again later",
            Self::Stopping => "the gateway is stopping: send again later",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = problem(self.status(), self.detail(), &serde_json::json!({}));
        let (name, value) = match self {
            Self::Busy | Self::NotDurable | Self::Stopping => {
                (header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            Self::WrongEncoding => (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
            // What is left of the body would be read as the next request.
            Self::TooLarge | Self::Broken | Self::Slow => {
                (header::CONNECTION, HeaderValue::from_static("close"))
            }
            _ => return response,
        };
        response.headers_mut().insert(name, value);
        response
    }
}

/// A problem answer (RFC 9457) with further members.
fn problem(status: StatusCode, detail: &str, members: &serde_json::Value) -> Response {
    let mut body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Some(body), Some(members)) = (body.as_object_mut(), members.as_object()) {
        body.extend(members.clone());
    }
    let media: (HeaderName, _) = (header::CONTENT_TYPE, "application/problem+json");
    (status, [media], body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
