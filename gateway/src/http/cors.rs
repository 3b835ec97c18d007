//! Pages of other origins (<https://fetch.spec.whatwg.org/#http-cors-protocol>): only those that the config names may read
//! answers and change things; by default none may.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

/// What such a page may do.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// What it may say beyond what any page may.
const REQUEST_HEADERS: &str = "authorization, content-type, if-match, last-event-id";
/// What it may read beyond what any page may.
const ANSWER_HEADERS: &str = "etag, location, retry-after";
/// How long a browser need not ask again, seconds.
const MAX_AGE: &str = "7200";

/// The origins that are allowed.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<HeaderValue>,
}

/// One request as far as this is about it.
pub(super) struct Asked {
    /// Whether any origin is allowed at all: then each answer depends on who asks.
    any: bool,
    /// The one that asks, if it is allowed.
    origin: Option<HeaderValue>,
    preflight: bool,
}

impl Cors {
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            origins: origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok())
                .collect(),
        }
    }

    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    pub(super) fn begin(&self, request: &Request) -> Asked {
        let headers = request.headers();
        Asked {
            any: !self.origins.is_empty(),
            origin: headers
                .get(header::ORIGIN)
                .filter(|origin| self.allows(origin))
                .cloned(),
            preflight: *request.method() == Method::OPTIONS
                && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
        }
    }
}

impl Asked {
    /// The answer to a browser that asks on behalf of an allowed page whether it may ask. It never carries a login.
    pub(super) fn preflight(&self) -> Option<Response> {
        if !self.preflight || self.origin.is_none() {
            return None;
        }
        let headers = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        Some((StatusCode::NO_CONTENT, headers).into_response())
    }

    /// Says in the answer who may read it.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        if !self.any {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.origin else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
