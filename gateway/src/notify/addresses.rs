//! Which addresses a webhook may reach. A gateway lives among private addresses, so these are allowed; refused is what no receiver of alerts
//! listens on and what an attacker would want: the link-local range, where clouds keep their metadata service, multicast, broadcast and the
//! unspecified address.
//!
//! It is the address that is looked at, after the name was resolved and for each connection: a name that answers otherwise the second
//! time (DNS rebinding) gains nothing. Redirects are not followed, so there is no second address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// The address is one that webhooks may not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} is a link-local, multicast, broadcast or unspecified address: webhooks do not go there"
)]
pub struct Refused(pub IpAddr);

/// Whether a webhook may go there.
///
/// # Errors
///
/// [`Refused`]
fn check(address: IpAddr) -> Result<(), Refused> {
    let refused = match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4 == Ipv4Addr::UNSPECIFIED
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    };
    if refused {
        Err(Refused(address))
    } else {
        Ok(())
    }
}

/// Checks the host of a URL if it is an address; names are checked when they are resolved.
///
/// # Errors
///
/// [`Refused`]
pub fn check_url(url: &reqwest::Url) -> Result<(), Refused> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_or(Ok(()), check)
}

/// An HTTP client that goes only where webhooks may, follows no redirect and waits for an answer no longer than `timeout`.
pub fn client(timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Arc::new(Resolver))
        .user_agent(concat!("sensor-gateway/", env!("CARGO_PKG_VERSION")))
}

/// The system's resolver, without the addresses that are refused.
#[derive(Clone, Copy, Debug)]
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Port 0: the client puts in the one of the URL.
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let refused = found.iter().find_map(|address| check(address.ip()).err());
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| check(address.ip()).is_ok())
                .collect();
            match refused {
                Some(refused) if allowed.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_allowed_and_those_of_no_receiver_are_not() {
        for allowed in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.2",
            "8.8.8.8",
            "::1",
            "fd00::1",
        ] {
            assert_eq!(check(allowed.parse().unwrap()), Ok(()), "{allowed}");
        }
        for refused in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "ff02::1",
            "::",
            "::ffff:169.254.169.254",
        ] {
            assert!(check(refused.parse().unwrap()).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_checked_in_every_spelling() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert!(check_url(&url.parse().unwrap()).is_err(), "{url}");
        }
        for url in ["http://192.168.1.2/", "https://hooks.example.org/x"] {
            assert_eq!(check_url(&url.parse().unwrap()), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_what_it_stands_for_is_checked() {
        let loopback = Resolver.resolve("localhost".parse().unwrap()).await;
        assert!(loopback.unwrap().all(|address| address.ip().is_loopback()));
        // The system's resolver takes an address for a name.
        let metadata = Resolver.resolve("169.254.169.254".parse().unwrap()).await;
        assert!(metadata.is_err_and(|error| error.to_string().contains("link-local")));
    }
}
