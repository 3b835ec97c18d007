//! A client of the live stream that reads events as they come.

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::{gateway::Gateway, wait::within};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `event:`
    pub kind: String,
    /// `id:`, if it has one.
    pub id: Option<String>,
    /// `data:`, as JSON.
    pub data: Value,
}

/// An open stream.
pub struct Events {
    response: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
    /// The id of the last event that had one.
    pub last_id: Option<String>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Opens `/events` with this query (which may be empty).
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub async fn open(gateway: &Gateway, query: &str) -> Self {
        Self::try_open(&gateway.url(&format!("/events?{query}")), None)
            .await
            .expect("an answer")
    }

    /// Opens the stream at this address, with a `Last-Event-ID` header if there is one. `None` while nobody answers there.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub async fn try_open(url: &str, last_id: Option<&str>) -> Option<Self> {
        let mut request = reqwest::Client::new().get(url);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Some(Self {
            response: response.bytes_stream().boxed(),
            buffer: String::new(),
            last_id: None,
        })
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    let values: Vec<&str> = block
                        .lines()
                        .filter_map(|l| l.strip_prefix(name))
                        .map(|v| v.strip_prefix(' ').unwrap_or(v))
                        .collect();
                    (!values.is_empty()).then(|| values.join("\n"))
                };
                let Some(kind) = field("event:") else {
                    continue;
                };
                let id = field("id:");
                self.last_id = id.clone().or(self.last_id.take());
                let data = field("data:")
                    .and_then(|d| serde_json::from_str(&d).ok())
                    .unwrap_or_default();
                return Some(Event { kind, id, data });
            }
            let chunk = within("the stream says something", self.response.next()).await?;
            let Ok(chunk) = chunk else { return None };
            self.buffer.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// Reads on to the first event that `wanted` likes.
    ///
    /// # Panics
    ///
    /// When the stream ends before.
    pub async fn find(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        within(what, async {
            loop {
                let event = self
                    .next()
                    .await
                    .unwrap_or_else(|| panic!("the stream ended before: {what}"));
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }
}
