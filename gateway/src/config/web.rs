//! `[http]`: where the page is, and who must log in to see it.

use std::{net::SocketAddr, time::Duration};

use super::reader::Table;

/// The web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Whether people must log in. Default: beyond loopback.
    pub login: bool,
    /// A session that was not used for this long is over. Default 30 d.
    pub session_lasts: Duration,
    /// Names under which browsers may reach a loopback listener, besides localhost: for a reverse proxy.
    pub allowed_hosts: Vec<String>,
    /// Where people reach the page, for the links in messages; none: messages have no links.
    pub public_url: Option<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            login: false,
            session_lasts: Duration::from_secs(30 * 24 * 3_600),
            allowed_hosts: Vec::new(),
            public_url: None,
        }
    }
}

pub(super) fn read(table: Option<Table<'_>>, http: &mut Http) {
    let Some(mut table) = table else { return };
    let listen = table.placed::<SocketAddr>("listen");
    if let Some(listen) = &listen {
        http.listen = listen.value;
    }
    http.login = login(&mut table, !http.listen.ip().is_loopback());
    table.set_within_seconds(
        "session_lasts",
        &mut http.session_lasts,
        3_600,
        400 * 86_400,
    );
    if let Some(hosts) = table.placed::<Vec<String>>("allowed_hosts") {
        for host in &hosts.value {
            if host.is_empty() || host.contains(['/', '*', ' ']) {
                table.report(
                    hosts.span.clone(),
                    format!("`allowed_hosts` holds names such as \"sensors.example.org\", without http:// or a path, found \"{host}\""),
                );
            }
        }
        http.allowed_hosts = hosts.value;
    }
    if let Some(url) = table.placed::<String>("public_url") {
        super::check_http_url(&table, "public_url", &url);
        http.public_url = Some(url.value);
    }
    let by_proxy = http
        .public_url
        .as_ref()
        .is_some_and(|url| url.starts_with("https://"));
    if let Some(listen) = listen
        && http.login
        && !listen.value.ip().is_loopback()
        && !by_proxy
    {
        table.doubt(listen.span, "passwords come over the network as they are: keep 127.0.0.1 and put a proxy with TLS before it, and say its address with `public_url = \"https://…\"`");
    }
    table.finish();
}

/// `login`, and as earlier versions had it `without_login`.
fn login(table: &mut Table<'_>, beyond_loopback: bool) -> bool {
    let said = table.choice("login", &[("on", true), ("off", false)]);
    let without = table.placed::<bool>("without_login");
    match (said, without) {
        (Some(_), Some(without)) => {
            let message = "`without_login` is the earlier name of `login = \"off\"`: leave it out";
            table.report(without.span, message);
            beyond_loopback
        }
        (Some(login), None) => login,
        (None, Some(without)) if without.value => {
            table.doubt(
                without.span,
                "`without_login = true` is now `login = \"off\"`",
            );
            false
        }
        (None, _) => beyond_loopback,
    }
}
