//! Encrypted connections: who is trusted, and what is said about everybody else.

mod modes;
mod own_tables;
mod whole;

use pubsub::{Error, Subscription, Target};
use pubsub_tests::{Authority, Sms, TlsServer, VALID};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connects to a database without our schema.
async fn try_connect(target: impl TryInto<Target, Error: Into<Error>>) -> Result<(), Error> {
    match Subscription::<Sms>::connect(target, "nobody").await {
        Err(Error::SchemaMissing) => Ok(()),
        refused => refused.map(drop),
    }
}

/// Connects, and returns the sentence with which that is refused.
async fn refusal(url: &str) -> String {
    match try_connect(url).await {
        Err(error @ Error::Tls { .. }) => {
            assert_eq!((error.code(), error.is_retryable()), ("tls", false), "{error:?}");
            error.to_string()
        }
        other => panic!("{url}: {other:?}"),
    }
}

#[actix::test]
async fn a_server_of_another_authority_is_refused() {
    let Some(server) = TlsServer::start().await else { return };
    let other = Authority::new(server.server().directory(), "other");
    let refused = refusal(&server.url(&format!("sslrootcert={}", other.file.display()))).await;
    let (file, port) = (other.file.display(), server.server().port());
    assert_eq!(
        refused,
        format!(
            "`db.example:{port}` is not trusted: no authority in `{file}` has certified it. Name the file with the certificate of its \
             authority with `sslrootcert`"
        )
    );
    // Without a word about TLS, a server elsewhere is verified in full.
    let refused = refusal(&server.url("")).await;
    let unknown = refused
        .starts_with(&format!("`db.example:{port}` is not trusted: no authority that this machine trusts"));
    assert!(unknown || refused.starts_with("this machine names no authorities to trust"), "{refused}");
    try_connect(server.trusting_url("")).await.unwrap();
}

#[actix::test]
async fn a_server_with_another_name_is_refused() {
    let Some(server) = TlsServer::start().await else { return };
    let port = server.server().port();
    let refused = refusal(&server.trusting_url("host=shop.example")).await;
    assert!(
        refused.starts_with(&format!(
            "the certificate of `shop.example:{port}` is for db.example: write that name as `host`"
        )),
        "{refused}"
    );
    // An address is a name too.
    let refused = refusal(&server.trusting_url("host=127.0.0.1")).await;
    assert!(refused.starts_with(&format!("the certificate of `127.0.0.1:{port}` is for ")), "{refused}");
    try_connect(server.trusting_url("host=shop.example sslmode=verify-ca")).await.unwrap();
}

#[actix::test]
async fn a_server_with_an_expired_certificate_is_refused() {
    let Some(mut server) = TlsServer::start().await else { return };
    let expired = server.authority.certify(TlsServer::NAME, 2020);
    server.show(&expired).await;
    assert_eq!(
        refusal(&server.trusting_url("")).await,
        format!(
            "the certificate of `db.example:{}` has expired (2020-12-31T00:00:00Z): renew it at the server",
            server.server().port()
        )
    );
}

/// The sentence about a server without TLS, and about one whose TLS a proxy removes.
fn plain(port: u16) -> String {
    format!(
        "`db.example:{port}` answers without TLS: turn on `ssl` at the server, look for a proxy that removes it, or write \
         `sslmode=disable` if you trust the network in between"
    )
}

#[actix::test]
async fn a_server_without_tls_is_refused() {
    let server = pubsub::testing::Server::shared().unwrap();
    let url =
        format!("host=db.example hostaddr=127.0.0.1 port={} user=postgres dbname=postgres", server.port());
    assert_eq!(refusal(&url).await, plain(server.port()));
    try_connect(format!("{url} sslmode=disable")).await.unwrap();
}

#[actix::test]
async fn a_proxy_that_removes_tls_is_refused() {
    let Some(server) = TlsServer::start().await else { return };
    let upstream = ("127.0.0.1", server.server().port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let proxy = actix::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            actix::spawn(async move {
                let mut upstream = TcpStream::connect(upstream).await.unwrap();
                // The request for TLS has 8 bytes. The server never sees it.
                client.read_exact(&mut [0; 8]).await.unwrap();
                client.write_all(b"N").await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
            });
        }
    });
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = server.trusting_url(&format!("port={port} sslmode={mode}"));
        assert_eq!(refusal(&url).await, plain(port), "{mode}");
    }
    // The weak modes are what libpq says that they are.
    try_connect(server.url(&format!("port={port} sslmode=prefer"))).await.unwrap();
    proxy.abort();
}

/// As servers before PostgreSQL 17 do.
#[actix::test]
async fn a_server_without_direct_negotiation_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = actix::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
        }
    });
    let url = format!("host=localhost port={port} user=shop sslmode=require sslnegotiation=direct");
    assert_eq!(
        refusal(&url).await,
        format!(
            "`localhost:{port}` does not begin with TLS: `sslnegotiation=direct` needs PostgreSQL 17 or newer, and a proxy in between \
             that knows it"
        )
    );
    closing.abort();
}

#[actix::test]
async fn a_client_shows_its_certificate() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admin().await.batch_execute("create role shop login").await.unwrap();
    server.admit("hostssl all all all cert");
    let (shop, other) = (server.authority.certify("shop", VALID), server.authority.certify("other", VALID));
    let stranger = Authority::new(server.server().directory(), "stranger").certify("shop", VALID);
    let url = |certified: &pubsub_tests::Certified| {
        let (certificate, key) = (certified.certificate.display(), certified.key.display());
        server.trusting_url(&format!("user=shop sslcert={certificate} sslkey={key}"))
    };
    try_connect(url(&shop)).await.unwrap();

    let without = try_connect(server.trusting_url("user=shop")).await.unwrap_err();
    let Error::Connect { source, .. } = &without else { panic!("{without:?}") };
    let source: &tokio_postgres::Error = source.downcast_ref().unwrap();
    assert!(source.as_db_error().unwrap().message().contains("client certificate"), "{source:?}");
    // Another role's.
    let refused = try_connect(url(&other)).await.unwrap_err();
    assert_eq!(refused.code(), "28000", "{refused:?}");

    let end = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        match try_connect(url(&stranger)).await.unwrap_err() {
            // The server closes the connection after its reason, which can overtake it.
            error if error.is_retryable() && Instant::now() < end => {}
            error => break error.to_string(),
        }
    };
    assert!(
        refused.starts_with(&format!(
            "`db.example:{}` refuses the certificate of this client (",
            server.server().port()
        )) && refused.contains("name one with `sslcert` and `sslkey`"),
        "{refused}"
    );
}

#[actix::test]
async fn files_that_cannot_be_used_are_named() {
    let Some(server) = TlsServer::start().await else { return };
    let authority = server.authority.file.display();
    let encrypted = server.server().directory().join("encrypted.key");
    // As `openssl` writes them, with or without `-traditional`.
    for kind in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
    ] {
        std::fs::write(&encrypted, kind).unwrap();
        let parameters =
            format!("sslrootcert={authority} sslcert={authority} sslkey={}", encrypted.display());
        let sentence =
            format!("`{}` (sslkey) is encrypted: write it without a passphrase", encrypted.display());
        assert!(refusal(&server.url(&parameters)).await.starts_with(&sentence), "{kind}");
    }
    for (parameters, sentence) in [
        (
            "sslrootcert=/nowhere/ca.crt",
            "`/nowhere/ca.crt` (sslrootcert) cannot be read as certificates in PEM",
        ),
        (
            &*format!("sslrootcert={authority} sslcert=/nowhere/a.crt sslkey=/nowhere/a.key"),
            "`/nowhere/a.crt` (sslcert) cannot be read as certificates in PEM",
        ),
        (
            &*format!("sslrootcert={authority} sslcert={authority} sslkey={authority}"),
            &*format!("`{authority}` (sslkey) cannot be read as a key in PEM"),
        ),
    ] {
        assert_eq!(refusal(&server.url(parameters)).await, sentence);
    }
}

#[actix::test]
async fn the_password_is_bound_to_the_connection() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admin().await.batch_execute("create role shop login password 'secret'").await.unwrap();
    let url = server.trusting_url("user=shop password=secret channel_binding=require");
    // Nobody asks for a password.
    assert_eq!(
        refusal(&url).await,
        format!(
            "`db.example:{}` does not bind the password to the encrypted connection: let it ask for `scram-sha-256` in pg_hba.conf over TLS, \
             or remove `channel_binding=require`",
            server.server().port()
        )
    );
    server.admit("hostssl all all all scram-sha-256");
    try_connect(url).await.unwrap();
    let wrong = try_connect(server.trusting_url("user=shop password=wrong")).await.unwrap_err();
    assert_eq!(wrong.code(), "28P01", "{wrong:?}");
}

#[actix::test]
async fn the_users_own_configuration_decides_whom_to_trust() {
    let Some(server) = TlsServer::start().await else { return };
    let config = |roots: rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    let mut roots = rustls::RootCertStore::empty();
    let of_nobody = config(roots.clone());
    roots.add(server.authority.der().to_vec().into()).unwrap();
    let target = Target::parse(&server.url("")).unwrap();
    try_connect(target.clone().tls(config(roots)).unwrap()).await.unwrap();
    let refused = try_connect(target.tls(of_nobody.clone()).unwrap()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "`db.example:{}` is not trusted: no authority of your `ClientConfig` has certified it",
            server.server().port()
        )
    );
    // Also where nothing would be verified without a configuration.
    let near = Target::parse(&server.url("host=localhost")).unwrap();
    try_connect(&near).await.unwrap();
    try_connect(near.tls(of_nobody.clone()).unwrap()).await.unwrap_err();
    // A plain connection would follow when the server is not trusted.
    for url in [server.trusting_url(""), server.url("sslmode=prefer")] {
        let refused = Target::parse(&url).unwrap().tls(of_nobody.clone()).unwrap_err();
        assert_eq!(refused.code(), "invalid_url");
    }
}
