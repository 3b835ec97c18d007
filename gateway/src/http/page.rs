//! The dashboard's files, from the binary.
//!
//! An unknown path without a file extension is a place within the page, and so is every path below `/series/`, as names of
//! metrics have dots: it gets `index.html`. That names its files relative to itself, so that the page also works below a path
//! of a reverse proxy; for a place in a deeper folder the names are led back up.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// The file at `path` (with its leading slash), or 304 if the client has it.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    let name = if name.is_empty() { "index.html" } else { name };
    let place =
        name.starts_with("series/") || !name.rsplit('/').next().unwrap_or_default().contains('.');
    let found =
        dashboard::asset(name).or_else(|| place.then(|| dashboard::asset("index.html")).flatten());
    let Some(mut asset) = found else {
        return Problem::not_found("the page has no such file").into_response();
    };
    let depth = path.matches('/').count().saturating_sub(1);
    if depth > 0 && asset.mime.starts_with("text/html") {
        asset.bytes = led_up(&asset.bytes, depth).into();
    }
    let cache = if asset.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = has(headers, &asset.etag);
    let tag = HeaderValue::try_from(asset.etag);
    let media = HeaderValue::try_from(asset.mime);
    let body = match (known, asset.bytes) {
        (true, _) => Body::empty(),
        (false, std::borrow::Cow::Borrowed(bytes)) => Body::from(bytes),
        (false, std::borrow::Cow::Owned(bytes)) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    // A tag or type that is no header value could only come from the build; the file is good without.
    for (name, value) in [(header::ETAG, tag), (header::CONTENT_TYPE, media)] {
        match value {
            Ok(value) => drop(headers.insert(name, value)),
            Err(error) => tracing::debug!(%error, "a file of the page has an unusable header"),
        }
    }
    response
}

/// The page with its relative references, as Vite writes them, `depth` folders up.
fn led_up(html: &[u8], depth: usize) -> Vec<u8> {
    String::from_utf8_lossy(html)
        .replace("=\"./", &format!("=\"{}", "../".repeat(depth)))
        .into_bytes()
}

/// Whether `If-None-Match` names the tag, compared weakly (RFC 9110, 13.1.2).
fn has(headers: &HeaderMap, etag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || strong(tag) == strong(etag))
}
