//! The TLS side of a broker: whom to trust, and who we are. rustls with ring; TLS 1.2 and 1.3.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use super::{TlsConfig, trouble::Trouble};

/// Reads the files and builds what rustls needs. A certificate that is renewed later counts from the next start.
pub(super) fn client_config(config: &TlsConfig) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| Trouble::of_rustls(&error))?;
        }
    } else {
        // What can't be parsed among the system's is not ours to complain about, as long as something is left.
        let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(Trouble::NoRoots);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::of_rustls(&error))?
        .with_root_certificates(roots);
    match (&config.certificate_file, &config.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(
                certificates(certificate)?,
                PrivateKeyDer::from_pem_file(key).map_err(|cause| unreadable(key, cause))?,
            )
            .map_err(|error| Trouble::OurCertificate(error.to_string())),
        _ => Err(Trouble::HalfAPair),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| unreadable(file, cause))?;
    if certificates.is_empty() {
        return Err(Trouble::NoCertificate(file.display().to_string()));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, cause: pem::Error) -> Trouble {
    Trouble::TlsFile {
        file: file.display().to_string(),
        cause,
    }
}
