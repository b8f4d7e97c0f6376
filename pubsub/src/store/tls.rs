//! TLS: whether a connection is encrypted, whom it trusts, and what is wrong if it cannot be made.

#[cfg(feature = "tls")]
mod client_config;
#[cfg(feature = "tls")]
mod refusal;
mod trust;
#[cfg(feature = "tls")]
mod verifier;

use super::addresses::{Host, Place};
use super::attempts::unconnected;
use super::parameters::Parameters;
use crate::error::{Error, invalid_url};
use tokio_postgres::config::{ChannelBinding, SslNegotiation};
use trust::{Authorities, ClientCertificate, SSL_MODES};

#[cfg(feature = "tls")]
pub(super) use client_config::plain_connector;
pub(super) use trust::SslMode;

#[cfg(all(feature = "testing", feature = "tls"))]
pub(crate) use client_config::https;
/// Refuses to encrypt a connection.
#[cfg(all(feature = "testing", not(feature = "tls")))]
pub(crate) fn https<S: std::io::Read + std::io::Write>(_: S, _: &str) -> std::io::Result<S> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "https needs the feature `tls`"))
}

/// The maker of encrypted connections.
#[cfg(feature = "tls")]
pub(super) type Connector = tokio_postgres_rustls::MakeRustlsConnect;
#[cfg(not(feature = "tls"))]
pub(super) type Connector = tokio_postgres::NoTls;

/// Returns the maker of connections that are not encrypted.
#[cfg(not(feature = "tls"))]
pub(super) fn plain_connector() -> Connector {
    tokio_postgres::NoTls
}

/// Whether a connection failed while it was being encrypted.
pub(super) fn is_of_handshake(error: &tokio_postgres::Error) -> bool {
    error.to_string() == "error performing TLS handshake"
}

/// The parts of a target about TLS.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    mode: Option<SslMode>,
    authorities: Option<Authorities>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "not shown without TLS"))]
    client: Option<ClientCertificate>,
    /// The user's own configuration.
    #[cfg(feature = "tls")]
    config: Option<rustls::ClientConfig>,
}

impl TlsSettings {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, Error> {
        let mode = match parameters.choice("sslmode", SSL_MODES)? {
            Some(None) => {
                return Err(invalid_url(
                    "`sslmode=allow` is not supported: write `prefer`, which encrypts whenever the server can, or `disable`",
                ));
            }
            mode => mode.flatten(),
        };
        let authorities = match parameters.text("sslrootcert")? {
            Some("system") => Some(Authorities::System),
            file => file.map(|file| Authorities::File(file.into())),
        };
        let client = match (parameters.text("sslcert")?, parameters.text("sslkey")?) {
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (Some(_), None) => return Err(invalid_url("`sslcert` needs `sslkey`, the file with its key")),
            (None, Some(_)) => {
                return Err(invalid_url("`sslkey` needs `sslcert`, the file with its certificate"));
            }
        };
        let settings = Self {
            mode,
            authorities,
            client,
            #[cfg(feature = "tls")]
            config: None,
        };
        settings.check_authorities()?;
        Ok(settings)
    }

    /// Refuses authorities that the mode would not ask, or would ask in vain.
    fn check_authorities(&self) -> Result<(), Error> {
        use Authorities::{File, System};
        use SslMode::{Prefer, Require, VerifyCa};
        let reason = match (self.mode, &self.authorities) {
            (Some(Prefer), Some(File(_))) => {
                "`sslmode=prefer` trusts whoever answers: with `sslrootcert`, write `require`, `verify-ca` or `verify-full`"
            }
            (Some(Prefer | Require | VerifyCa), Some(System)) => {
                "`sslrootcert=system` needs `sslmode=verify-full`, because those authorities certify anybody by some name"
            }
            (Some(VerifyCa), None) => {
                "`sslmode=verify-ca` needs `sslrootcert`, a file with the certificate of the authority to trust"
            }
            _ => return Ok(()),
        };
        Err(invalid_url(reason))
    }

    /// Refuses a host that cannot be connected to as the target says.
    pub(super) fn check(&self, host: &Host) -> Result<(), Error> {
        let (name, mode) = (&host.name, self.mode(host.place));
        if mode >= SslMode::Require && cfg!(not(feature = "tls")) {
            return Err(invalid_url(format!(
                "a connection to `{name}` must be encrypted, and the crate `pubsub` was built without its feature `tls`: turn it \
                 on, or write `sslmode=disable` if you trust the network"
            )));
        }
        #[cfg(feature = "tls")]
        if mode >= SslMode::Require && rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            return Err(invalid_url(format!(
                "`{}` is not a name that a certificate can have: write another one, such as the form with `xn--`, with the address \
                 as `hostaddr` if it does not resolve",
                name.escape_debug()
            )));
        }
        if host.config.get_ssl_negotiation() == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(invalid_url(
                "`sslnegotiation=direct` needs a server over TCP, and `sslmode=require` or a stronger one",
            ));
        }
        if host.config.get_channel_binding() == ChannelBinding::Require && mode == SslMode::Disable {
            return Err(invalid_url(format!(
                "`channel_binding=require` needs TLS, and a connection to `{name}` is plain: write `sslmode=require` or a \
                 stronger one"
            )));
        }
        Ok(())
    }

    /// Returns how a server at that place is connected to.
    pub(super) fn mode(&self, place: Place) -> SslMode {
        match (place, self.mode) {
            // PostgreSQL knows no TLS there.
            (Place::Socket, _) => SslMode::Disable,
            // To name authorities is to want them asked. libpq does the same.
            (_, Some(SslMode::Require)) if self.authorities.is_some() => SslMode::VerifyCa,
            (_, Some(mode)) => mode,
            (Place::Loopback, None) if self.trusts_anybody() => SslMode::Prefer,
            (Place::Loopback | Place::Elsewhere, None) => SslMode::VerifyFull,
        }
    }

    /// Whether nothing says whom to trust.
    fn trusts_anybody(&self) -> bool {
        #[cfg(feature = "tls")]
        let has_config = self.config.is_some();
        #[cfg(not(feature = "tls"))]
        let has_config = false;
        self.authorities.is_none() && !has_config
    }
}

#[cfg(not(feature = "tls"))]
impl TlsSettings {
    pub(super) async fn connector(&self, _: &Host) -> Result<Connector, Error> {
        Ok(tokio_postgres::NoTls)
    }

    pub(super) fn refusal(&self, error: tokio_postgres::Error, host: &Host) -> Error {
        unconnected(host.shown(), error)
    }
}

#[cfg(feature = "tls")]
impl TlsSettings {
    /// Returns settings with a configuration of the user.
    pub(super) fn with_config(mut self, mut config: rustls::ClientConfig) -> Result<Self, Error> {
        if self.authorities.is_some() || self.client.is_some() {
            return Err(invalid_url(
                "`sslrootcert`, `sslcert` and `sslkey` have no use beside a `ClientConfig`, which has all of them",
            ));
        }
        if self.mode == Some(SslMode::Prefer) {
            return Err(invalid_url(
                "`sslmode=prefer` falls back to a plain connection if a `ClientConfig` does not trust the server: write `require`, \
                 or leave it out",
            ));
        }
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = client_config::alpn();
        }
        self.config = Some(config);
        Ok(self)
    }

    /// Reads the files of the target, which may have changed since the last connection.
    pub(super) async fn connector(&self, host: &Host) -> Result<Connector, Error> {
        let mode = self.mode(host.place);
        if mode == SslMode::Disable {
            return Ok(plain_connector());
        }
        if let Some(config) = &self.config {
            return Ok(Connector::new(config.clone()));
        }
        let (authorities, client) = (self.authorities.clone(), self.client.clone());
        let reading = move || client_config::read(mode, authorities.as_ref(), client.as_ref());
        let read = tokio::task::spawn_blocking(reading).await;
        let config = read.unwrap_or_else(|ended| {
            Err(client_config::unusable("the files of TLS could not be read".to_owned(), ended))
        })?;
        Ok(Connector::new(config))
    }

    /// Says what is wrong, if it is about TLS.
    pub(super) fn refusal(&self, error: tokio_postgres::Error, host: &Host) -> Error {
        let trusted = match &self.authorities {
            _ if self.config.is_some() => refusal::Trusted::Own,
            Some(Authorities::File(file)) => refusal::Trusted::File(file),
            Some(Authorities::System) | None => refusal::Trusted::System,
        };
        let is_direct =
            host.config.get_ssl_negotiation() == SslNegotiation::Direct && is_of_handshake(&error);
        let sentence = refusal::sentence(&error, &host.server(), &trusted);
        match sentence.or_else(|| is_direct.then(|| refusal::no_direct_negotiation(&host.server()))) {
            Some(message) => Error::Tls { message, source: Box::new(error) },
            None => unconnected(host.shown(), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    use super::*;
    use crate::store::target::Target;

    #[test]
    fn the_mode_follows_from_what_is_said_and_from_the_place() {
        let mode = |parameters: &str, place| {
            // At a socket nothing is refused for want of TLS.
            let target = Target::parse(&format!("host=/run {parameters}")).unwrap();
            target.tls.mode(place)
        };
        for (parameters, loopback, elsewhere) in [
            ("", Prefer, VerifyFull),
            ("sslrootcert=a.pem", VerifyFull, VerifyFull),
            ("sslrootcert=system", VerifyFull, VerifyFull),
            ("sslmode=disable", Disable, Disable),
            ("sslmode=prefer", Prefer, Prefer),
            ("sslmode=require", Require, Require),
            ("sslmode=require sslrootcert=a.pem", VerifyCa, VerifyCa),
            ("sslmode=verify-ca sslrootcert=a.pem", VerifyCa, VerifyCa),
            ("sslmode=verify-full", VerifyFull, VerifyFull),
        ] {
            let found =
                [Place::Socket, Place::Loopback, Place::Elsewhere].map(|place| mode(parameters, place));
            assert_eq!(found, [Disable, loopback, elsewhere], "{parameters}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_the_feature_what_must_be_encrypted_is_refused() {
        for url in ["postgres://db.example/shop", "postgres://localhost/shop?sslmode=require"] {
            let refused = Target::parse(url).unwrap_err().to_string();
            assert!(
                refused.contains("without its feature `tls`: turn it on, or write `sslmode=disable`"),
                "{refused}"
            );
        }
        for url in ["postgres://db.example/shop?sslmode=prefer", "postgres://localhost/shop", "host=/run"] {
            Target::parse(url).unwrap();
        }
    }
}
