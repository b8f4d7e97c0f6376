//! libpq's `sslmode`, against every kind of server.

use super::try_connect;
use pubsub::Error;
use pubsub::testing::Server;
use pubsub_tests::{Authority, TlsServer, VALID};

/// The result of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Plain,
    Encrypted,
    /// Refused with a sentence.
    Refused,
}

use Made::{Encrypted, Plain, Refused};

/// The modes, and what becomes of a connection to a server whose certificate is right, has another name, is of another
/// authority, or has expired. The flag adds `sslrootcert`.
const MODES: &[(&str, bool, [Made; 4])] = &[
    ("", false, [Refused; 4]),
    ("sslmode=disable", false, [Plain; 4]),
    ("sslmode=disable", true, [Plain; 4]),
    ("sslmode=prefer", false, [Encrypted; 4]),
    ("sslmode=require", false, [Encrypted; 4]),
    ("sslmode=require", true, [Encrypted, Encrypted, Refused, Refused]),
    ("sslmode=verify-ca", true, [Encrypted, Encrypted, Refused, Refused]),
    ("sslmode=verify-full", false, [Refused; 4]),
    ("sslmode=verify-full", true, [Encrypted, Refused, Refused, Refused]),
    ("sslrootcert=system sslmode=verify-full", false, [Refused; 4]),
    ("", true, [Encrypted, Refused, Refused, Refused]),
];

#[actix::test]
async fn every_sslmode_means_what_libpq_says() {
    let Some(mut server) = TlsServer::start().await else { return };
    let other = Authority::new(server.server().directory(), "other");
    let certificates = [
        server.authority.certify(TlsServer::NAME, VALID),
        server.authority.certify("another.example", VALID),
        other.certify(TlsServer::NAME, VALID),
        server.authority.certify(TlsServer::NAME, 2020),
    ];
    for (kind, certified) in certificates.iter().enumerate() {
        server.show(certified).await;
        for (row, (mode, names_authority, made)) in MODES.iter().enumerate() {
            let application = format!("row{row}kind{kind}");
            let parameters = format!("application_name={application} {mode}");
            let url =
                if *names_authority { server.trusting_url(&parameters) } else { server.url(&parameters) };
            let found = match try_connect(&url).await {
                Ok(()) if server.was_encrypted(&application).unwrap() => Encrypted,
                Ok(()) => Plain,
                Err(Error::Tls { .. }) => Refused,
                Err(other) => panic!("{parameters}: {other:?}"),
            };
            assert_eq!(found, made[kind], "`{mode}`, authority: {names_authority}, server {kind}");
        }
    }
}

#[actix::test]
async fn a_server_without_tls_answers_only_weak_modes() {
    let Some(server) = TlsServer::start().await else { return };
    let authority = server.authority.file.display();
    let port = Server::shared().unwrap().port();
    let elsewhere = format!("host=db.example hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres");
    for (parameters, connects) in [
        ("sslmode=disable", true),
        ("sslmode=prefer", true),
        ("sslmode=require", false),
        (&*format!("sslmode=verify-ca sslrootcert={authority}"), false),
        ("sslmode=verify-full", false),
        ("", false),
        ("host=localhost", true),
        ("host=localhost sslmode=verify-full", false),
        (&*format!("host=localhost sslrootcert={authority}"), false),
    ] {
        let tried = try_connect(format!("{elsewhere} {parameters}")).await;
        assert_eq!(tried.is_ok(), connects, "{parameters}: {tried:?}");
        assert!(connects || matches!(tried, Err(Error::Tls { .. })), "{parameters}: {tried:?}");
    }
}

#[actix::test]
async fn near_servers_are_not_verified_and_sockets_are_plain() {
    let Some(server) = TlsServer::start().await else { return };
    let (directory, port) = (server.server().directory().display(), server.server().port());
    let socket = format!("host={directory} port={port} user=postgres dbname=postgres");
    for (name, url, encrypted) in [
        ("near", server.url("host=localhost application_name=near"), true),
        ("address", server.url("host=127.0.0.1 application_name=address"), true),
        ("socket", format!("{socket} application_name=socket"), false),
        ("strict", format!("{socket} application_name=strict sslmode=verify-full"), false),
    ] {
        try_connect(&url).await.unwrap();
        assert_eq!(server.was_encrypted(name), Some(encrypted), "{name}");
    }
}

#[actix::test]
async fn prefer_tries_a_plain_connection_too() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admit("hostnossl all all all trust");
    try_connect(server.url("sslmode=prefer application_name=fallback")).await.unwrap();
    assert_eq!(server.was_encrypted("fallback"), Some(false));
    let refused = try_connect(server.url("sslmode=require")).await.unwrap_err();
    assert_eq!(refused.code(), "28000", "{refused:?}");

    server.admit("hostssl all all all trust");
    try_connect(server.url("sslmode=prefer application_name=first")).await.unwrap();
    assert_eq!(server.was_encrypted("first"), Some(true));
    server.admit_anybody();
    let direct = try_connect(server.trusting_url("sslnegotiation=direct")).await;
    let major: u32 = server.server().version().split('.').next().unwrap().parse().unwrap();
    assert_eq!(direct.is_ok(), major >= 17, "version {major}: {direct:?}");
}
