//! The configuration of rustls that a target asks for.

use super::trust::{Authorities, ClientCertificate, SslMode};
use super::verifier::LenientVerifier;
use crate::error::Error;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
#[cfg(feature = "testing")]
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Our own choice, whatever the process has installed as its default.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Returns the protocol's name, which proxies and servers since PostgreSQL 17 may ask for.
pub(super) fn alpn() -> Vec<Vec<u8>> {
    vec![b"postgresql".to_vec()]
}

/// Returns the maker of connections that are not encrypted. It reads no files.
pub(in crate::store) fn plain_connector() -> MakeRustlsConnect {
    static UNUSED: LazyLock<MakeRustlsConnect> = LazyLock::new(|| {
        let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions of TLS");
        MakeRustlsConnect::new(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    });
    UNUSED.clone()
}

/// Encrypts a connection to a web server, which is verified against the authorities of this machine. Blocks.
#[cfg(feature = "testing")]
pub(crate) fn https<S: io::Read + io::Write>(
    stream: S,
    host: &str,
) -> io::Result<rustls::StreamOwned<rustls::ClientConnection, S>> {
    let mut config = read(SslMode::VerifyFull, None, None).map_err(io::Error::other)?;
    config.alpn_protocols.clear();
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(rustls::StreamOwned::new(connection, stream))
}

pub(super) fn unusable(
    message: String,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Tls { message, source: source.into() }
}

/// Reads the files of a target. Blocks.
pub(super) fn read(
    mode: SslMode,
    authorities: Option<&Authorities>,
    client: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("no version of TLS can be used".to_owned(), error))?;
    let algorithms = PROVIDER.signature_verification_algorithms;
    let builder = match mode {
        SslMode::Disable | SslMode::Prefer | SslMode::Require => {
            let verifier = LenientVerifier::of_anybody(algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        SslMode::VerifyCa => {
            let verifier = LenientVerifier::of_any_name(trusted(authorities)?, algorithms);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        SslMode::VerifyFull => builder.with_root_certificates(trusted(authorities)?),
    };
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { certificate, key }) => {
            let certificates = certificates(certificate, "sslcert")?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable_key(key, error))?;
            let mismatch = format!(
                "`{}` (sslcert) and `{}` (sslkey) cannot be used together",
                certificate.display(),
                key.display()
            );
            builder.with_client_auth_cert(certificates, secret).map_err(|error| unusable(mismatch, error))?
        }
    };
    config.alpn_protocols = alpn();
    Ok(config)
}

/// Returns why a file is no PEM. The parser's own errors quote the file, which may be a key.
fn unquoted(error: pem::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        pem::Error::Io(error) => error.into(),
        pem::Error::NoItemsFound => "it has none".into(),
        _ => "the lines with `BEGIN` and `END`, or those in between, are not as they should be".into(),
    }
}

/// Says why a file is no key. Both kinds of encrypted keys have the word in their text.
fn unusable_key(file: &Path, error: pem::Error) -> Error {
    let is_encrypted = !matches!(error, pem::Error::Io(_))
        && fs::read(file).is_ok_and(|text| text.windows(9).any(|word| word == b"ENCRYPTED"));
    let what = match is_encrypted {
        true => "is encrypted: write it without a passphrase, and let only its user read it",
        false => "cannot be read as a key in PEM",
    };
    unusable(format!("`{}` (sslkey) {what}", file.display()), unquoted(error))
}

fn certificates(file: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = |error: pem::Error| {
        let message = format!("`{}` ({parameter}) cannot be read as certificates in PEM", file.display());
        unusable(message, unquoted(error))
    };
    let read = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let read = read.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if read.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(read) }
}

fn trusted(authorities: Option<&Authorities>) -> Result<Arc<RootCertStore>, Error> {
    let Some(Authorities::File(file)) = authorities else { return of_this_machine() };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "sslrootcert")? {
        roots.add(certificate).map_err(|error| {
            unusable(
                format!("`{}` (sslrootcert) has a certificate that is not of an authority", file.display()),
                error,
            )
        })?;
    }
    Ok(Arc::new(roots))
}

/// Returns the authorities of this machine, which are read once in a process, because there are hundreds.
fn of_this_machine() -> Result<Arc<RootCertStore>, Error> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let mut found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Machines have authorities with faults, which certify nobody here.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let message = "this machine names no authorities to trust: install its package `ca-certificates`, or name a file with \
                       `sslrootcert`";
        let source = match found.errors.pop() {
            Some(error) => error.into(),
            None => "no certificate was found".into(),
        };
        return Err(Error::Tls { message: message.to_owned(), source });
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_quotes_a_key() {
        // All in one line, on two, and without its end.
        for text in [
            "-----BEGIN PRIVATE KEY-----hunter2-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----hunter2\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nhunter2",
        ] {
            let error = PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap_err();
            let shown = unquoted(error);
            // The parser writes the numbers of the letters.
            for secret in ["hunter2", "104, 117, 110"] {
                assert!(!format!("{shown} {shown:?}").contains(secret), "{shown:?}");
            }
        }
    }
}
