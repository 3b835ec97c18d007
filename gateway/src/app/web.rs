//! What the web server is told of the config.

use std::net::SocketAddr;

use crate::{config, http};

/// How people log in at `address`.
pub(super) fn login_config(config: &config::Http, address: SocketAddr) -> http::LoginConfig {
    http::LoginConfig {
        session_lasts: config.session_lasts,
        is_tls: false,
        port: address.port(),
        page: page(config, address),
    }
}

/// Where people reach the page; of an address that means all of them, the name of the machine is one.
fn page(config: &config::Http, address: SocketAddr) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    if !address.ip().is_unspecified() {
        return format!("http://{address}");
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => format!("http://{address}"),
        name => format!("http://{name}:{}", address.port()),
    }
}
