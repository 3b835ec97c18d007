//! Problem answers (RFC 9457): what the client is told, and apart from it what goes to the log.

use std::error::Error;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A refusal or failure as a client sees it.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    members: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// With a sentence for the client: what is wrong and what to do.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            headers: Vec::new(),
            members: serde_json::Map::new(),
        }
    }

    /// 400: the request can't be understood.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: not now; with the wait after which it is worth another try.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// 500: the cause goes to the log, the client hears only `detail`.
    #[must_use]
    pub fn internal(detail: impl Into<String>, cause: &(dyn Error + 'static)) -> Self {
        let detail = detail.into();
        tracing::error!(detail, cause = chain(cause), "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 503: the disk does not take what must be durable before it is promised. Nothing was promised; the cause goes to the log.
    #[must_use]
    pub fn not_durable(detail: impl Into<String>, cause: &(dyn Error + 'static)) -> Self {
        let detail = detail.into();
        tracing::warn!(detail, cause = chain(cause), "a request failed");
        Self::unavailable(format!("{detail}: ask again"))
    }

    /// How it is answered.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// With a further header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With a further member of the answer, such as the thing as it is now.
    #[must_use]
    pub fn saying(mut self, name: &str, value: serde_json::Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

/// An error and its causes on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.members);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<crate::engine::Ended> for Problem {
    fn from(ended: crate::engine::Ended) -> Self {
        Self::unavailable(ended.to_string())
    }
}
