//! Who is answered: names against DNS rebinding, origins against forged requests; and the security headers.
//!
//! - Listening on loopback, only the names `localhost`, `127.0.0.1` and `[::1]` and the configured ones are answered; any
//!   other `Host` gets 421. A page of a stranger that points its own name at 127.0.0.1 so learns nothing.
//! - A request that changes something, or opens a socket, and carries a foreign `Origin` (or says `Sec-Fetch-Site: cross-site`) gets 403.
//!   Pages of the configured origins may (`cors.rs`).

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{cors::Cors, problem::Problem};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Everything from here and nothing inline; images also as data, for the page's icons.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'self'";

/// The names that are answered; `None`: any.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Option<Vec<String>>,
    /// The configured ones: pages from there may change things, whatever name a proxy puts into `Host`.
    named: Vec<String>,
    cors: Cors,
}

impl Guard {
    /// For a listener at `address` that also goes by the names `hosts`.
    pub(super) fn new(address: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let named: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let answered = || {
            LOOPBACK
                .iter()
                .map(|host| (*host).to_owned())
                .chain(named.iter().cloned())
                .collect()
        };
        Self {
            hosts: address.ip().is_loopback().then(answered),
            named,
            cors: Cors::new(origins),
        }
    }

    fn answers_to(&self, host: &str) -> bool {
        self.hosts
            .as_ref()
            .is_none_or(|hosts| hosts.contains(&name(host)))
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = match headers.get(header::HOST) {
            Some(host) => Some(host.to_str().map_err(|_| misdirected())?),
            None => uri.authority().map(axum::http::uri::Authority::as_str),
        };
        // No browser leaves `Host` out; HTTP/1.0 probes do.
        if host.is_some_and(|host| !self.answers_to(host)) {
            return Err(misdirected());
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        // A page may open a socket to anybody, and read what it says: only its own page is let in.
        if reads && !headers.contains_key(header::UPGRADE) {
            return Ok(());
        }
        let foreign = match headers.get(header::ORIGIN) {
            Some(origin) if self.cors.allows(origin) => false,
            Some(origin) => {
                let own = origin
                    .to_str()
                    .ok()
                    .and_then(|origin| origin.split_once("://"))
                    .is_some_and(|(_, authority)| {
                        host.is_some_and(|host| authority.eq_ignore_ascii_case(host))
                            || self.named.contains(&name(authority))
                    });
                !own
            }
            None => headers
                .get("sec-fetch-site")
                .is_some_and(|site| site == "cross-site" || site == "same-site"),
        };
        if foreign {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "requests from pages of other origins are refused",
            ));
        }
        Ok(())
    }
}

fn misdirected() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this gateway does not go by that name: use localhost, or add the name to http.hosts",
    )
}

/// The name in an authority, in lower case, without its port.
fn name(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The middleware.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let checked = guard.check(request.method(), request.uri(), request.headers());
    let cors = guard.cors.begin(&request);
    let mut response = match (checked, cors.preflight()) {
        (Err(problem), _) => problem.into_response(),
        (Ok(()), Some(answer)) => answer,
        (Ok(()), None) => next.run(request).await,
    };
    let headers = response.headers_mut();
    cors.mark(headers);
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
