//! The parts of a target that say whom to trust, and what to show.

use std::path::PathBuf;

/// libpq's `sslmode`, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum SslMode {
    /// Plain.
    Disable,
    /// Encrypted if the server can, with whoever answers.
    Prefer,
    /// Encrypted, with whoever answers.
    Require,
    /// Encrypted, with a server that an authority has certified.
    VerifyCa,
    /// Encrypted, with the server that an authority has certified by this name.
    VerifyFull,
}

impl SslMode {
    /// The driver only needs to know whether the connection is encrypted.
    pub(in crate::store) fn of_driver(self) -> tokio_postgres::config::SslMode {
        use tokio_postgres::config::SslMode;
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }
}

pub(super) const SSL_MODES: &[(&str, Option<SslMode>)] = &[
    ("disable", Some(SslMode::Disable)),
    ("allow", None),
    ("prefer", Some(SslMode::Prefer)),
    ("require", Some(SslMode::Require)),
    ("verify-ca", Some(SslMode::VerifyCa)),
    ("verify-full", Some(SslMode::VerifyFull)),
];

/// The authorities to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Authorities {
    /// Those of this machine.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// A client's certificate and its key, in PEM.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "not shown without TLS"))]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}
