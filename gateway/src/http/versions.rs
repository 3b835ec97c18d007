//! Versions of what people change: as an `ETag` in answers, in `If-Match` of changes.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::problem::Problem;

/// With its version, if it has one, as a strong `ETag`.
pub(super) fn tagged(status: StatusCode, version: Option<u64>, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Some(version) = version
        && let Ok(tag) = HeaderValue::try_from(format!("\"{version}\""))
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// 201, and where it is from now on.
pub(super) fn created(
    collection: &str,
    id: &str,
    version: Option<u64>,
    body: &impl Serialize,
) -> Response {
    let mut response = tagged(StatusCode::CREATED, version, body);
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/{collection}/{}", escaped(id))) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// One segment of a path (RFC 3986: all but the unreserved characters, and `:`, percent-encoded).
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

/// The version in `If-Match`; `None` without the header or for `*`.
pub(super) fn expected(headers: &HeaderMap, what: &str) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                format!("If-Match must be the ETag of the {what}, or *"),
            )
        })
}

/// As [`expected`], where the header must be there.
pub(super) fn required(headers: &HeaderMap, what: &str) -> Result<Option<u64>, Problem> {
    if headers.contains_key(header::IF_MATCH) {
        return expected(headers, what);
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_REQUIRED,
        "say in If-Match which version you change: the ETag that came with it, or *",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_a_path_is_escaped() {
        assert_eq!(escaped("file:pump-1"), "file:pump-1");
        assert_eq!(escaped("a b/ü"), "a%20b%2F%C3%BC");
    }
}
