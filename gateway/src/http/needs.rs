//! What each path needs of who asks: the one table. A test walks the router and finds a row for each of its routes; a path without a row is
//! for admins alone until it has one.

use axum::http::Method;

use crate::auth::Need;

/// Method, path as the router has it, and what it needs. `HEAD` is as `GET`. What is not here and under no known path is the page.
pub const NEEDS: &[(&str, &str, Need)] = &[
    ("GET", "/healthz", Need::Open),
    ("GET", "/readyz", Need::Open),
    ("GET", "/metrics", Need::Metrics),
    // The same for everybody, and no secret.
    ("GET", "/api/openapi.json", Need::Open),
    ("GET", "/api/docs", Need::Open),
    ("GET", "/api/docs.js", Need::Open),
    ("GET", "/api/docs.css", Need::Open),
    // The link in a message is signed for one alert.
    ("GET", "/acknowledge/{token}", Need::Open),
    ("POST", "/acknowledge/{token}", Need::Open),
    ("POST", "/api/v1/login", Need::Open),
    ("POST", "/api/v1/setup", Need::Open),
    ("POST", "/api/v1/logout", Need::Known),
    ("GET", "/api/v1/me", Need::Known),
    ("PUT", "/api/v1/me/password", Need::Person),
    ("GET", "/api/v1/users", Need::Admin),
    ("POST", "/api/v1/users", Need::Admin),
    ("PUT", "/api/v1/users/{name}", Need::Admin),
    ("DELETE", "/api/v1/users/{name}", Need::Admin),
    ("GET", "/api/v1/tokens", Need::Person),
    ("POST", "/api/v1/tokens", Need::Person),
    ("DELETE", "/api/v1/tokens/{id}", Need::Person),
    ("GET", "/events", Need::Read),
    // Each command is asked with the same credentials, and has a row of its own.
    ("GET", "/socket", Need::Read),
    ("GET", "/api/v1/devices", Need::Read),
    ("POST", "/api/v1/devices", Need::Operate),
    ("GET", "/api/v1/devices/{id}", Need::Read),
    ("PUT", "/api/v1/devices/{id}", Need::Operate),
    ("DELETE", "/api/v1/devices/{id}", Need::Operate),
    ("GET", "/api/v1/series", Need::Read),
    ("GET", "/api/v1/series/{device}/{metric}/points", Need::Read),
    (
        "GET",
        "/api/v1/series/{device}/{metric}/windows",
        Need::Read,
    ),
    ("GET", "/api/v1/status", Need::Read),
    ("GET", "/api/v1/rejects", Need::Read),
    ("GET", "/api/v1/account", Need::Read),
    ("GET", "/api/v1/alerts", Need::Read),
    ("GET", "/api/v1/alerts/{id}", Need::Read),
    ("POST", "/api/v1/alerts/{id}/acknowledge", Need::Operate),
    ("DELETE", "/api/v1/alerts/{id}/acknowledge", Need::Operate),
    ("POST", "/api/v1/alerts/{id}/close", Need::Operate),
    ("POST", "/api/v1/alerts/{id}/shelve", Need::Operate),
    ("DELETE", "/api/v1/alerts/{id}/shelve", Need::Operate),
    // What it says of users and tokens, it says to admins only.
    ("GET", "/api/v1/audit", Need::Read),
    ("GET", "/api/v1/silences", Need::Read),
    ("POST", "/api/v1/silences", Need::Operate),
    ("GET", "/api/v1/silences/{id}", Need::Read),
    ("PUT", "/api/v1/silences/{id}", Need::Operate),
    ("DELETE", "/api/v1/silences/{id}", Need::Operate),
    ("GET", "/api/v1/routes", Need::Read),
    ("GET", "/api/v1/rules", Need::Read),
    ("POST", "/api/v1/rules", Need::Operate),
    ("POST", "/api/v1/rules/dry-run", Need::Operate),
    ("GET", "/api/v1/rules/{id}", Need::Read),
    ("PUT", "/api/v1/rules/{id}", Need::Operate),
    ("DELETE", "/api/v1/rules/{id}", Need::Operate),
    ("POST", "/api/v1/rules/{id}/enable", Need::Operate),
    ("POST", "/api/v1/rules/{id}/disable", Need::Operate),
    ("POST", "/api/v1/rules/{id}/duplicate", Need::Operate),
    ("GET", "/api/v1/webhooks", Need::Read),
    ("POST", "/api/v1/webhooks/{name}/test", Need::Operate),
    // They say where alerts go, with secrets.
    ("POST", "/api/v1/webhooks", Need::Admin),
    ("GET", "/api/v1/webhooks/{id}", Need::Read),
    ("PUT", "/api/v1/webhooks/{id}", Need::Admin),
    ("DELETE", "/api/v1/webhooks/{id}", Need::Admin),
    ("GET", "/api/v1/dashboards", Need::Read),
    ("POST", "/api/v1/dashboards", Need::Operate),
    ("GET", "/api/v1/dashboards/{id}", Need::Read),
    ("PUT", "/api/v1/dashboards/{id}", Need::Operate),
    ("DELETE", "/api/v1/dashboards/{id}", Need::Operate),
    ("GET", "/api/v1/dead-letters", Need::Read),
    ("DELETE", "/api/v1/dead-letters", Need::Operate),
    ("POST", "/api/v1/dead-letters/replay", Need::Operate),
    ("DELETE", "/api/v1/dead-letters/{id}", Need::Operate),
    ("POST", "/api/v1/dead-letters/{id}/replay", Need::Operate),
    ("GET", "/api/v1/deliveries/dead-letters", Need::Read),
    ("DELETE", "/api/v1/deliveries/dead-letters", Need::Operate),
    (
        "POST",
        "/api/v1/deliveries/dead-letters/replay",
        Need::Operate,
    ),
    (
        "DELETE",
        "/api/v1/deliveries/dead-letters/{number}",
        Need::Operate,
    ),
    (
        "POST",
        "/api/v1/deliveries/dead-letters/{number}/replay",
        Need::Operate,
    ),
    ("POST", "/api/v1/readings", Need::Push),
    ("POST", "/api/v2/write", Need::Push),
    ("POST", "/write", Need::Push),
];

/// What a request needs. `route`: the path as the router has it, when it has it; `path`: what was asked for.
pub(super) fn of(method: &Method, route: Option<&str>, path: &str) -> Need {
    let method = match method.as_str() {
        "HEAD" => "GET",
        // Asks what a page of another origin may do, and is never sent with a login.
        "OPTIONS" => return Need::Open,
        other => other,
    };
    let Some(route) = route else {
        // A layer answers it, and no route.
        if path == "/socket.io" || path.starts_with("/socket.io/") {
            return Need::Read;
        }
        // The page's files are the same for everybody; else there is nothing, which is not said to strangers either.
        let is_page = method == "GET" && path != "/api" && !path.starts_with("/api/");
        return if is_page { Need::Open } else { Need::Known };
    };
    let mut rows = NEEDS.iter().filter(|row| row.1 == route).peekable();
    if rows.peek().is_none() {
        return Need::Admin;
    }
    // A method that the path does not have is answered 405.
    rows.find(|row| row.0 == method)
        .map_or(Need::Known, |row| row.2)
}

/// The routes of a router that have no row, as `GET /path`. axum tells its routes in its `Debug` output only, so this is for tests and
/// debug builds.
#[cfg(debug_assertions)]
pub(super) fn without_row(router: &axum::Router) -> Vec<String> {
    let routes = routes(&format!("{router:?}"));
    routes
        .into_iter()
        .filter(|(method, path)| {
            let has_row =
                |row: &(&str, &str, Need)| (row.0, row.1) == (method.as_str(), path.as_str());
            !NEEDS.iter().any(has_row)
        })
        .map(|(method, path)| format!("{method} {path}"))
        .collect()
}

/// Method and path of each route.
#[cfg(debug_assertions)]
fn routes(debug: &str) -> Vec<(String, String)> {
    let debug = debug.split("fallback_router:").next().unwrap_or_default();
    let (routers, paths) = debug.split_once("node: Node").unwrap_or((debug, ""));
    let path = |id: &str| {
        let at = paths.split(&format!("RouteId({id}): \"")).nth(1)?;
        at.split('"').next()
    };
    let mut routes = Vec::new();
    for part in routers.split("RouteId(").skip(1) {
        let Some((id, router)) = part.split_once(')') else {
            continue;
        };
        let Some(path) = path(id) else { continue };
        let before = routes.len();
        for method in ["GET", "DELETE", "PATCH", "POST", "PUT"] {
            let field = format!("{}: ", method.to_lowercase());
            let is_there = |at: &str| !at.starts_with("None");
            if router.split(&field).nth(1).is_some_and(is_there) {
                routes.push((method.to_owned(), path.to_owned()));
            }
        }
        // It takes any method.
        if routes.len() == before {
            routes.push((String::from("ANY"), path.to_owned()));
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_is_for_admins_and_the_page_for_everybody() {
        let of = |method: Method, route, path| of(&method, route, path);
        assert_eq!(of(Method::GET, Some("/new"), "/new"), Need::Admin);
        assert_eq!(of(Method::GET, None, "/assets/page.js"), Need::Open);
        assert_eq!(of(Method::GET, None, "/api/v1/none"), Need::Known);
        assert_eq!(of(Method::GET, None, "/socket.io/"), Need::Read);
        assert_eq!(of(Method::POST, None, "/"), Need::Known);
        let route = Some("/api/v1/silences");
        assert_eq!(of(Method::HEAD, route, "/api/v1/silences"), Need::Read);
        assert_eq!(of(Method::PATCH, route, "/api/v1/silences"), Need::Known);
    }

    #[test]
    fn the_routes_of_a_router_are_read_and_one_without_a_row_is_found() {
        use axum::routing::{any, delete, get};
        let router: axum::Router = axum::Router::new()
            .route("/healthz", get(async || ()))
            .route("/api/v1/new/{id}", delete(async || ()).put(async || ()))
            .fallback(async || ());
        let mut missing = without_row(&router);
        missing.sort();
        assert_eq!(missing, ["DELETE /api/v1/new/{id}", "PUT /api/v1/new/{id}"]);
        let router: axum::Router = axum::Router::new().route("/new", any(async || ()));
        assert_eq!(without_row(&router), ["ANY /new"]);
    }

    #[test]
    fn a_row_is_there_once() {
        for (n, row) in NEEDS.iter().enumerate() {
            let same = |other: &&(&str, &str, Need)| (other.0, other.1) == (row.0, row.1);
            assert_eq!(NEEDS[..n].iter().find(same), None);
        }
    }

    #[test]
    fn nothing_that_changes_something_is_open_but_logging_in_and_signed_links() {
        let open: Vec<&str> = NEEDS
            .iter()
            .filter(|row| row.0 != "GET" && row.2.role() < Need::Push.role())
            .map(|row| row.1)
            .collect();
        assert_eq!(
            open,
            [
                "/acknowledge/{token}",
                "/api/v1/login",
                "/api/v1/setup",
                "/api/v1/logout",
                "/api/v1/me/password",
                "/api/v1/tokens",
                "/api/v1/tokens/{id}",
            ]
        );
    }
}
