//! What the web server is told of the config.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    cause,
    clock::Clock,
    config::{self, Certificate},
    http,
    tls::{self, Tls, TlsError},
};

/// How often it is looked whether the certificate ends soon.
const RENEW_EVERY: Duration = Duration::from_secs(12 * 3_600);

/// How people log in at `address`.
pub(super) fn login_config(config: &config::Http, address: SocketAddr) -> http::LoginConfig {
    http::LoginConfig {
        session_lasts: config.session_lasts,
        is_tls: config.tls.is_some(),
        port: address.port(),
        page: page(config, address),
    }
}

/// TLS for the page, if it is to be spoken.
///
/// # Errors
///
/// When the certificate can't be read or made.
pub(super) fn tls(
    config: &config::Http,
    address: SocketAddr,
    data_dir: &Path,
    clock: &Clock,
) -> Result<Option<Tls>, TlsError> {
    let Some(certificate) = &config.tls else {
        return Ok(None);
    };
    let settings = match certificate {
        Certificate::SelfSigned => tls::Config::OwnMade {
            folder: data_dir.to_owned(),
            names: names(config, address),
        },
        Certificate::Files { cert, key } => tls::Config::Files {
            cert: cert.clone(),
            key: key.clone(),
        },
    };
    let tls = Tls::new(settings, clock.now())?;
    tell(&tls);
    Ok(Some(tls))
}

fn tell(tls: &Tls) {
    let fingerprint = tls.fingerprint();
    if tls.is_own_made() {
        tracing::info!(%fingerprint, "the page has a certificate that the gateway made: browsers ask whether to trust it; compare its SHA-256");
    } else {
        tracing::info!(%fingerprint, "the page has this certificate");
    }
}

/// Looks for another certificate, when somebody asks for it or the own one ends soon.
pub(super) async fn renew(tls: &Tls, clock: &Clock) {
    let (tls, now) = (tls.clone(), clock.now());
    let looked = tokio::task::spawn_blocking(move || match tls.renew(now) {
        Ok(true) => tell(&tls),
        Ok(false) => {}
        Err(error) => tracing::error!(
            error = %cause::chain(&error),
            "the certificate of the page cannot be renewed: the one before stays in use"
        ),
    });
    // It fails only when the runtime ends.
    drop(looked.await);
}

/// Renews in time, until `stop`.
pub(super) async fn keep_renewed(tls: Tls, clock: Clock, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEW_EVERY) => renew(&tls, &clock).await,
        }
    }
}

/// What browsers may call the gateway: first what people are told to.
fn names(config: &config::Http, address: SocketAddr) -> Vec<String> {
    let url = config.public_url.as_deref().unwrap_or_default();
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    let mut names = Vec::new();
    let found = [host.to_owned()]
        .into_iter()
        .chain(config.allowed_hosts.iter().cloned())
        .chain(ip)
        .chain([machine()])
        .chain(["localhost", "127.0.0.1", "::1"].map(String::from));
    for name in found {
        let name = name.trim_matches(['[', ']']).to_owned();
        if !name.is_empty() && name.is_ascii() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name of the machine; empty where it has none.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Where people reach the page; of an address that means all of them, the name of the machine is one.
fn page(config: &config::Http, address: SocketAddr) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let name = machine();
    if !address.ip().is_unspecified() || name.is_empty() {
        return format!("{scheme}://{address}");
    }
    format!("{scheme}://{name}:{}", address.port())
}
