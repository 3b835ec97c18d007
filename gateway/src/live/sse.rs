//! `GET /events`: the live stream as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The answer is always 200 with a stream, as any other status makes an `EventSource` give up for good: when all places
//! are taken, the stream says `retry` and `bye`, and ends. Only a filter that can't be understood is answered 400, and 204 is
//! for where live streams are switched off: no client comes back after it.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};

use bytes::Bytes;

use super::{
    Client, Filter, Hub, event,
    zip::{self, Gzip},
};

/// The fragment with `GET /events`.
pub fn router(hub: Hub) -> Router {
    Router::new().route("/events", get(events)).with_state(hub)
}

async fn events(State(hub): State<Hub>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // Undecodable bytes in the query become U+FFFD; so no query makes this fail.
    let query: Vec<(String, String)> =
        Query::try_from_uri(&uri).map_or_else(|_| Vec::new(), |Query(query)| query);
    let pairs = query.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let filter = match Filter::parse(pairs.clone()) {
        Ok(filter) => filter,
        Err(error) => return bad_filter(&error.to_string()),
    };
    if !hub.is_enabled() {
        // The one answer after which every client stays away.
        return StatusCode::NO_CONTENT.into_response();
    }
    if method == Method::HEAD {
        return stream(Body::empty());
    }
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let heard = header.into_iter().chain(
        pairs
            .filter(|(name, _)| *name == "last_event_id")
            .map(|(_, id)| id),
    );
    let client = match hub.join(filter, heard).await {
        Ok(client) => client,
        Err(refused) => return stream(Body::from(event::bye(refused.retry_ms))),
    };
    let accepted = headers.get_all(header::ACCEPT_ENCODING);
    let gzip = zip::is_asked_for(accepted.iter().filter_map(|value| value.to_str().ok()));
    let speaker = Speaker {
        client,
        gzip: gzip.then(Box::default),
        hub,
    };
    let mut response = stream(Body::from_stream(futures_util::stream::unfold(
        speaker,
        async |mut speaker| {
            let piece = speaker.next().await?;
            Some((Ok::<_, Infallible>(piece), speaker))
        },
    )));
    if gzip {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Says what a client hears, as it wants it.
struct Speaker {
    client: Client,
    gzip: Option<Box<Gzip>>,
    hub: Hub,
}

impl Speaker {
    async fn next(&mut self) -> Option<Bytes> {
        let piece = self.client.next().await;
        let Some(gzip) = &mut self.gzip else {
            return piece;
        };
        let shared = &self.hub.shared;
        match piece {
            Some(piece) => Some(gzip.piece(&piece, &shared.zips, &shared.metrics.zipped)),
            None => gzip.end(),
        }
    }
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::VARY, "accept-encoding"),
        // nginx buffers answers unless told not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A problem answer (RFC 9457) like those of the REST interface.
fn bad_filter(detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail,
    });
    (
        StatusCode::BAD_REQUEST,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}
