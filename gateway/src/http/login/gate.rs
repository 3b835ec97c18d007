//! The middleware: who asks, and whether they may.
//!
//! Who asks is known by a token (`Authorization: Bearer …`; `Token …` and `Basic …:token`, as clients of InfluxDB send; and for those of
//! its first version `?u=…&p=token` where they write) or by the session's cookie. Passwords are good for logging in only.
//!
//! Forged requests of other pages: the cookie is `SameSite=Strict`, and the [`super::super::guard`] has turned away what changes
//! something and is of another origin.

use std::net::IpAddr;

use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt as _;

use super::{Login, caller, desk::Desk};
use crate::{
    auth::{Caller, Need, secret},
    http::{needs, points, problem::Problem, serve::Peer},
};

pub(in super::super) async fn gate(
    State(login): State<Login>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(desk) = &login.0 else {
        return next.run(request).await;
    };
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(MatchedPath::as_str);
    let (method, uri) = (request.method(), request.uri());
    let need = needs::of(method, route, uri.path());
    if need == Need::Open {
        return next.run(request).await;
    }
    let caller = match admit(desk, need, uri, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    let ended = caller.ended.clone();
    let mut response = caller::scope(caller, next.run(request)).await;
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        );
    }
    let is_stream = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = body.into_data_stream().take_until(ended.cancelled_owned());
    Response::from_parts(head, Body::from_stream(body))
}

fn admit(desk: &Desk, need: Need, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Problem> {
    let tokens = [
        token(headers),
        (need == Need::Push)
            .then(|| points::query(uri).remove("p"))
            .flatten(),
    ];
    let by_token = tokens
        .iter()
        .flatten()
        .find_map(|token| desk.by_token(token));
    let caller = by_token.or_else(|| {
        cookies(headers, desk.cookie()).find_map(|secret| desk.by_session(&secret::print(secret)))
    });
    let Some(caller) = caller else {
        return Err(desk.unauthorized(tokens.iter().any(Option::is_some)));
    };
    if caller.may(need) {
        return Ok(caller);
    }
    let needed = need.role().unwrap_or(crate::auth::Role::Viewer);
    let detail = if caller.role < needed {
        format!(
            "this needs the role {needed}, and {} is {}",
            caller.name, caller.role
        )
    } else {
        format!("this needs a token with the scope {}", need.scopes())
    };
    Err(Problem::new(StatusCode::FORBIDDEN, detail).saying("needs", serde_json::json!(needed)))
}

/// Out of `Authorization`.
fn token(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = given.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    // Clients of InfluxDB 1.8 send `Token name:password`.
    let after_name = |pair: &str| {
        pair.rsplit_once(':')
            .map_or(pair, |(_, last)| last)
            .to_owned()
    };
    if scheme.eq_ignore_ascii_case("token") {
        return Some(after_name(rest));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        return Some(after_name(&pair));
    }
    None
}

/// The values of this cookie. HTTP/2 may send each in a header of its own.
fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        .take(4)
}

/// Where a request is from. A proxy on this machine says it for others.
pub(super) fn address(request: &axum::http::Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = request.get::<ConnectInfo<Peer>>()?.0.0.ip().to_canonical();
    let behind_proxy = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?;
        last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    if peer.is_loopback() {
        return behind_proxy().or(Some(peer));
    }
    Some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_found_in_each_form_that_clients_send() {
        let basic = STANDARD.encode("telegraf:gwt_x");
        for given in [
            "Bearer gwt_x",
            "bearer  gwt_x",
            "Token gwt_x",
            "Token telegraf:gwt_x",
            &format!("Basic {basic}"),
        ] {
            let found = token(&headers("authorization", &[given]));
            assert_eq!(found.as_deref(), Some("gwt_x"), "{given}");
        }
        for given in ["gwt_x", "Digest x", "Basic %%%", ""] {
            assert_eq!(token(&headers("authorization", &[given])), None, "{given}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_no_other_is_taken_for_it() {
        let sent = headers(
            "cookie",
            &[
                "a=1; gateway_80801=no",
                "xgateway_8080=no; gateway_8080=yes",
            ],
        );
        let found: Vec<&str> = cookies(&sent, "gateway_8080").collect();
        assert_eq!(found, ["yes"]);
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed_where_a_request_is_from() {
        let from = |peer: &str, forwarded: &[&str]| {
            let mut extensions = axum::http::Extensions::new();
            extensions.insert(ConnectInfo(Peer(peer.parse().unwrap())));
            address(&extensions, &headers("x-forwarded-for", forwarded))
                .unwrap()
                .to_string()
        };
        assert_eq!(
            from("127.0.0.1:9", &["203.0.113.9, 192.0.2.7"]),
            "192.0.2.7"
        );
        assert_eq!(from("127.0.0.1:9", &[]), "127.0.0.1");
        assert_eq!(from("198.51.100.1:9", &["192.0.2.7"]), "198.51.100.1");
        assert_eq!(from("127.0.0.1:9", &["nonsense"]), "127.0.0.1");
    }
}
