//! TLS for the page: a certificate out of files, or one that the gateway makes for itself, and another one in its place while it runs.
//!
//! TLS 1.2 and 1.3 with the suites of `rustls` and `ring`; HTTP/2 and HTTP/1.1 are offered. Not here: what is said over it (`http`).

mod own;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ring::digest;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::model::Timestamp;

/// Who has not agreed on keys in this time is let go.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Where the certificate is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// The gateway makes it, and keeps it in `tls.pem` in this folder.
    OwnMade {
        /// Which folder.
        folder: PathBuf,
        /// What browsers may call the gateway: names and addresses.
        names: Vec<String>,
    },
    /// Somebody else does.
    Files {
        /// The certificate, and those between it and its authority; PEM.
        cert: PathBuf,
        /// Its private key; PEM.
        key: PathBuf,
    },
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read or written.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate where there should be one.
    #[error("there is no certificate in it: it must be PEM, with BEGIN CERTIFICATE")]
    NoCertificate,
    /// No key where there should be one.
    #[error(
        "there is no private key in it: it must be PEM, with BEGIN PRIVATE KEY, and not be encrypted"
    )]
    NoKey,
    /// Both are there, but.
    #[error(
        "certificate and private key do not belong together, or are of a kind that is not known"
    )]
    Pair(#[source] rustls::Error),
    /// The gateway can't make one.
    #[error("no certificate can be made")]
    Make(#[source] rcgen::Error),
}

/// Checks what the files of a certificate and its key hold.
///
/// # Errors
///
/// [`TlsError`]
pub fn check(cert: &str, key: &str) -> Result<(), TlsError> {
    pair(cert, key).map(drop)
}

/// The server's side; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Config,
    newest: Arc<Newest>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The certificate in use. std: held for a look only.
#[derive(Debug)]
struct Newest(Mutex<Arc<CertifiedKey>>);

impl Newest {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl Tls {
    /// Reads the certificate, or makes it.
    ///
    /// # Errors
    ///
    /// [`TlsError`]
    pub fn new(config: Config, now: Timestamp) -> Result<Self, TlsError> {
        let newest = Arc::new(Newest(Mutex::new(Arc::new(load(&config, now)?))));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Newest>::clone(&newest));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config,
            newest,
            acceptor: TlsAcceptor::from(Arc::new(server)),
        })
    }

    /// Reads the files again, or makes a new certificate if the own one ends soon; connections that are open go on. Whether it is another one
    /// now.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the one before stays in use then.
    pub fn renew(&self, now: Timestamp) -> Result<bool, TlsError> {
        let fresh = load(&self.config, now)?;
        let changed = fresh.cert != self.newest.get().cert;
        *self.newest.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(changed)
    }

    /// Whether the gateway made the certificate itself.
    #[must_use]
    pub const fn is_own_made(&self) -> bool {
        matches!(self.config, Config::OwnMade { .. })
    }

    /// SHA-256 of the certificate in use, as browsers show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let newest = self.newest.get();
        let bytes = newest.cert.first().map_or(&[][..], |cert| cert.as_ref());
        let print = digest::digest(&digest::SHA256, bytes);
        let pairs: Vec<String> = print.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        pairs.join(":")
    }

    /// Agrees on keys with a client. The stream and whether it speaks HTTP/2.
    ///
    /// # Errors
    ///
    /// When the client does not speak TLS, does not like the certificate, or takes too long.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, bool)> {
        let stream = tokio::time::timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await??;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_http2))
    }
}

fn load(config: &Config, now: Timestamp) -> Result<CertifiedKey, TlsError> {
    match config {
        Config::OwnMade { folder, names } => {
            let text = own::kept_or_made(folder, names, now)?;
            pair(&text, &text)
        }
        Config::Files { cert, key } => {
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).map_err(|source| TlsError::File {
                    path: path.display().to_string(),
                    source,
                })
            };
            pair(&read(cert)?, &read(key)?)
        }
    }
}

fn pair(cert: &str, key: &str) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
        CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(TlsError::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::NoKey)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(TlsError::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600 * 1_000;
    const NOW_MS: i64 = 1_800_000_000_000;

    fn own(folder: &std::path::Path, names: &[&str]) -> Config {
        Config::OwnMade {
            folder: folder.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn an_own_certificate_is_made_once_and_again_when_it_ends_or_the_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(NOW_MS);
        let at = |config: Config, days: i64| {
            let then = Timestamp::from_millis(NOW_MS + days * DAY_MS);
            Tls::new(config, then).unwrap().fingerprint()
        };
        let config = own(dir.path(), &["greenhouse", "192.0.2.1"]);
        let tls = Tls::new(config.clone(), now).unwrap();
        let first = tls.fingerprint();
        assert_eq!(first.len(), 32 * 3 - 1);
        assert_eq!(at(config.clone(), 700), first);
        assert!(!tls.renew(now).unwrap());
        let other = at(own(dir.path(), &["boat"]), 0);
        assert_ne!(other, first);
        assert_ne!(at(own(dir.path(), &["boat"]), 790), other, "it ends soon");
        assert!(tls.renew(now).unwrap());
        assert_ne!(tls.fingerprint(), first);
    }

    #[test]
    fn the_key_is_for_its_owner_alone_and_a_damaged_file_is_made_anew() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tls.pem");
        let now = Timestamp::from_millis(NOW_MS);
        std::fs::write(&file, "nonsense").unwrap();
        let config = own(dir.path(), &["greenhouse"]);
        let first = Tls::new(config.clone(), now).unwrap().fingerprint();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        let half: String = text.chars().take(text.len() / 2).collect();
        std::fs::write(&file, half).unwrap();
        assert_ne!(Tls::new(config, now).unwrap().fingerprint(), first);
    }

    #[test]
    fn a_pair_that_is_none_is_refused_with_the_reason() {
        let text = |name: &str| {
            let dir = tempfile::tempdir().unwrap();
            let now = Timestamp::from_millis(NOW_MS);
            own::kept_or_made(dir.path(), &[name.to_owned()], now).unwrap()
        };
        let (one, other) = (text("a"), text("b"));
        assert!(check(&one, &one).is_ok());
        assert!(matches!(check(&one, &other), Err(TlsError::Pair(_))));
        assert!(matches!(check("", &one), Err(TlsError::NoCertificate)));
        let without_key = one.split("-----BEGIN PRIVATE").next().unwrap();
        assert!(matches!(check(&one, without_key), Err(TlsError::NoKey)));
    }
}
