//! Sentences that say why there is no encrypted connection, and what to write.

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::io;
use std::path::Path;

/// Where the authorities that are trusted come from.
pub(super) enum Trusted<'a> {
    System,
    File(&'a Path),
    /// The user's `ClientConfig`.
    Own,
}

/// The driver's words, which are the only difference between its errors.
const NO_TLS: &str = "server does not support TLS";
const NOT_BOUND: &str = "server did not use channel binding";

/// The most names of a certificate that are shown. One may have hundreds.
const MOST_NAMES: usize = 5;

/// Returns the sentence about an error of connecting to `host`; none if it is not about TLS.
pub(super) fn sentence(error: &tokio_postgres::Error, host: &str, trusted: &Trusted<'_>) -> Option<String> {
    match error.source()?.to_string().as_str() {
        NO_TLS => Some(format!(
            "`{host}` answers without TLS: turn on `ssl` at the server, look for a proxy that removes it, or write \
             `sslmode=disable` if you trust the network in between"
        )),
        NOT_BOUND => Some(format!(
            "`{host}` does not bind the password to the encrypted connection: let it ask for `scram-sha-256` in pg_hba.conf over TLS, or \
             remove `channel_binding=require`"
        )),
        _ => of_rustls(rustls_error(error)?, host, trusted),
    }
}

/// Returns the sentence about a server that ends a connection which begins with TLS.
pub(super) fn no_direct_negotiation(host: &str) -> String {
    format!(
        "`{host}` does not begin with TLS: `sslnegotiation=direct` needs PostgreSQL 17 or newer, and a proxy in between that knows it"
    )
}

/// Finds the error of rustls, which `std::io::Error` hides from the chain.
fn rustls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn of_rustls(error: &rustls::Error, host: &str, trusted: &Trusted<'_>) -> Option<String> {
    Some(match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error, host, trusted),
        rustls::Error::AlertReceived(alert) if is_about_client(*alert) => format!(
            "`{host}` refuses the certificate of this client ({alert:?}): name one with `sslcert` and `sslkey` that the server's \
             `ssl_ca_file` has certified and that has not expired"
        ),
        rustls::Error::AlertReceived(alert) => {
            format!("`{host}` refuses the encrypted connection ({alert:?})")
        }
        _ => format!(
            "no encrypted connection to `{host}` can be agreed on: is it a PostgreSQL server with TLS 1.2 or newer?"
        ),
    })
}

fn is_about_client(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    [
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::UnknownCA,
        Alert::CertificateRequired,
        Alert::NoCertificate,
    ]
    .contains(&alert)
}

fn of_certificate(error: &CertificateError, host: &str, trusted: &Trusted<'_>) -> String {
    use CertificateError as Bad;
    match error {
        Bad::UnknownIssuer => match trusted {
            Trusted::System => format!(
                "`{host}` is not trusted: no authority that this machine trusts has certified it. Name the file with the \
                 certificate of its own authority with `sslrootcert`"
            ),
            Trusted::File(file) => format!(
                "`{host}` is not trusted: no authority in `{}` has certified it. Name the file with the certificate of its \
                 authority with `sslrootcert`",
                file.display()
            ),
            Trusted::Own => {
                format!("`{host}` is not trusted: no authority of your `ClientConfig` has certified it")
            }
        },
        Bad::NotValidForName => other_names(host, &[]),
        Bad::NotValidForNameContext { presented, .. } => other_names(host, presented),
        Bad::Expired => expired(host, None),
        Bad::ExpiredContext { not_after, .. } => expired(host, Some(*not_after)),
        Bad::NotValidYet => not_yet(host, None),
        Bad::NotValidYetContext { not_before, .. } => not_yet(host, Some(*not_before)),
        error => {
            format!("the certificate of `{host}` cannot be accepted ({error}): give the server another one")
        }
    }
}

fn other_names(host: &str, presented: &[String]) -> String {
    let names = match presented {
        [] => "has no name among its alternative names".to_owned(),
        names => {
            let shown: Vec<_> = names.iter().take(MOST_NAMES).map(|name| bare(name)).collect();
            let others = if names.len() > MOST_NAMES { ", .." } else { "" };
            format!("is for {}{others}", shown.join(", "))
        }
    };
    format!(
        "the certificate of `{host}` {names}: write that name as `host`, with the address as `hostaddr` if it does not resolve, or \
         write `sslmode=verify-ca` with `sslrootcert` if every server of that authority may answer"
    )
}

/// Returns a name without its kind, which rustls writes around it: `DnsName("..")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn expired(host: &str, since: Option<UnixTime>) -> String {
    format!("the certificate of `{host}` has expired{}: renew it at the server", on(since))
}

fn not_yet(host: &str, from: Option<UnixTime>) -> String {
    format!(
        "the certificate of `{host}` is not valid yet{}: compare the clocks of this machine and of its authority",
        on(from)
    )
}

fn on(time: Option<UnixTime>) -> String {
    let seconds = time.and_then(|time| i64::try_from(time.as_secs()).ok());
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| format!(" ({time})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_of_a_certificate_are_shown() {
        let said = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            other_names("shop", &names)
        };
        let two = said(&["DnsName(\"db.example\")", "IpAddress(10.0.0.1)"]);
        assert!(two.starts_with("the certificate of `shop` is for db.example, 10.0.0.1: write"), "{two}");
        let many = said(&["DnsName(\"a\")"; 9]);
        assert!(many.starts_with("the certificate of `shop` is for a, a, a, a, a, ..: write"), "{many}");
    }
}
