//! `[http]`: where the page is, and who must log in to see it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Surroundings, reader::Table};
use crate::{cause, tls};

/// The web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Whether people must log in. Default: beyond loopback.
    pub login: bool,
    /// A session that was not used for this long is over. Default 30 d.
    pub session_lasts: Duration,
    /// Whether TLS is spoken, and with which certificate; `None`: not.
    pub tls: Option<Certificate>,
    /// Names under which browsers may reach a loopback listener, besides localhost: for a reverse proxy.
    pub allowed_hosts: Vec<String>,
    /// Origins of other pages that may ask and change things: `https://host` or `https://host:port`.
    pub allowed_origins: Vec<String>,
    /// Where people reach the page, for the links in messages; none: messages have no links.
    pub public_url: Option<String>,
}

/// Where the certificate of the page is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// The gateway makes it.
    SelfSigned,
    /// It lies in files.
    Files {
        /// The certificate and its chain, PEM.
        cert: PathBuf,
        /// Its private key, PEM.
        key: PathBuf,
    },
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            login: false,
            session_lasts: Duration::from_secs(30 * 24 * 3_600),
            tls: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            public_url: None,
        }
    }
}

pub(super) fn read(table: Option<Table<'_>>, around: &Surroundings<'_>, http: &mut Http) {
    let Some(mut table) = table else { return };
    let listen = table.placed::<SocketAddr>("listen");
    if let Some(listen) = &listen {
        http.listen = listen.value;
    }
    http.login = login(&mut table, !http.listen.ip().is_loopback());
    http.tls = certificate(&mut table, around);
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
    if let Some(origins) = table.placed::<Vec<String>>("allowed_origins") {
        for text in origins.value {
            match origin(&text) {
                Some(origin) => http.allowed_origins.push(origin),
                None => table.report(
                    origins.span.clone(),
                    format!("`allowed_origins` holds origins such as \"https://dashboard.example.org\", each named in full, without a path and without *, found \"{text}\""),
                ),
            }
        }
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
        && http.tls.is_none()
        && !listen.value.ip().is_loopback()
        && !by_proxy
    {
        table.doubt(listen.span, "passwords come over the network as they are: say `tls = \"self-signed\"`, or keep 127.0.0.1 and put a proxy with TLS before it; if there is one, say its address with `public_url = \"https://…\"`");
    }
    table.finish();
}

/// `tls = "self-signed"` or `tls = { cert = "…", key = "…" }`. What the files hold is checked at once.
fn certificate(table: &mut Table<'_>, around: &Surroundings<'_>) -> Option<Certificate> {
    if !table.has("tls") || table.is_text("tls") {
        return table
            .choice("tls", &[("self-signed", ())])
            .map(|()| Certificate::SelfSigned);
    }
    let mut files = table.table("tls")?;
    let (cert_at, key_at) = (files.span_of("cert"), files.span_of("key"));
    for key in ["cert", "key"] {
        if !files.has(key) {
            files.required::<String>(key);
        }
    }
    let (cert, key) = (
        files.readable("cert", around),
        files.readable("key", around),
    );
    files.finish();
    let (cert, key) = (cert?, key?);
    // That a file can't be read is said already.
    if let (Ok(cert), Ok(key)) = ((around.read_file)(&cert), (around.read_file)(&key))
        && let Err(error) = tls::check(&cert, &key)
    {
        let place = if matches!(error, tls::TlsError::NoCertificate) {
            cert_at
        } else {
            key_at
        };
        table.report(place, format!("`tls` in [http]: {}", cause::chain(&error)));
    }
    Some(Certificate::Files { cert, key })
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

/// An origin as browsers write it; `None` for what is none, such as `*` or an address with a path.
pub(super) fn origin(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && !text.contains(['*', '@', '?', '#'])
        && url.path() == "/";
    plain.then(|| url.origin().ascii_serialization())
}
