//! Whole runtimes on a server that takes only encrypted connections.

use super::try_connect;
use pubsub::testing::Database;
use pubsub::{Error, PubSub, Target, publish};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, TlsServer, in_child_process, probe, sending, until};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[actix::test]
async fn a_url_alone_is_enough_for_a_server_with_only_tls() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admit("hostssl all all all trust");
    let database = Database::create_on(server.trusting_url("")).await.unwrap();
    pubsub::migrate(database.url()).await.unwrap();
    let (sender, mut received) = probe();
    let handler = sending::<Sms, _>(sender, |sms| sms.msg.clone());
    let pubsub = PubSub::builder(database.url()).subscribe_fn("one", handler).start().await.unwrap();
    publish(&pubsub, &Sms::new("encrypted")).await.unwrap();
    assert_eq!(received.next().await, "encrypted");
    // To work, to beat and to listen.
    let connections = "select count(*) >= 3 and bool_and(s.ssl)
                         from pg_stat_activity a join pg_stat_ssl s using (pid) where a.application_name = 'pubsub'";
    assert!(server.admin().await.query_one(connections, &[]).await.unwrap().get::<_, bool>(0));
    assert!(pubsub::schema::export(database.url(), pubsub::schema::SchemaFormat::TypeScript).await.is_ok());
    pubsub::admin::rebase(database.target()).await.unwrap();
}

/// The state of a provider of passwords that change.
#[derive(Debug, Default)]
struct Tokens {
    current: Mutex<String>,
    asked: AtomicUsize,
}

#[actix::test]
async fn the_password_provider_is_asked_for_each_connection() {
    let Some(mut server) = TlsServer::start().await else { return };
    let admin = server.admin().await;
    admin.batch_execute("create role shop superuser login password 'first'").await.unwrap();
    drop(admin);
    server.admit("hostssl all all all scram-sha-256");
    let tokens = Arc::new(Tokens { current: Mutex::new("first".to_owned()), ..Tokens::default() });
    let provider = {
        let tokens = Arc::clone(&tokens);
        move || {
            tokens.asked.fetch_add(1, Ordering::Relaxed);
            let token = tokens.current.lock().unwrap().clone();
            async move { Ok::<_, std::io::Error>(token) }
        }
    };
    // The provider takes precedence.
    let target = Target::parse(&server.trusting_url("user=shop password=wrong")).unwrap();
    let database = Database::create_on(target.password_provider(provider)).await.unwrap();
    let (sender, mut received) = probe();
    let handler = sending::<Sms, _>(sender, |sms| sms.msg.clone());
    let builder = PubSub::builder(database.target()).connections(2);
    let pubsub = builder.subscribe_fn("one", handler).start().await.unwrap();
    publish(&pubsub, &Sms::new("first")).await.unwrap();
    assert_eq!(received.next().await, "first");

    let admin = server.admin().await;
    admin.batch_execute("alter role shop password 'second'").await.unwrap();
    "second".clone_into(&mut tokens.current.lock().unwrap());
    let before = tokens.asked.load(Ordering::Relaxed);
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'shop'";
    let ended = admin.query(terminate, &[]).await.unwrap().len();
    assert!(ended >= 3, "{ended}");
    // The runtime comes back by itself, to beat and to listen.
    let is_back = "select count(*) >= 2 from pg_stat_activity where usename = 'shop'";
    until(&admin, is_back).await;
    // The pool learns of a connection's end only when that is used.
    let end = Instant::now() + DEADLINE;
    while let Err(error) = publish(&pubsub, &Sms::new("second")).await {
        assert!(error.is_retryable() && Instant::now() < end, "{error:?}");
    }
    assert_eq!(received.next().await, "second");
    assert!(tokens.asked.load(Ordering::Relaxed) >= before + 3);
}

#[actix::test]
async fn a_password_that_cannot_be_had_is_an_error_of_its_own() {
    let target = Target::parse("postgres://shop@127.0.0.1:1/shop").unwrap();
    let refused =
        PubSub::builder(target.password_provider(|| async { Err::<String, _>("the vault is sealed") }));
    let refused = refused.start().await.unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), ("password", true), "{refused:?}");
    assert_eq!(std::error::Error::source(&refused).unwrap().to_string(), "the vault is sealed");
}

#[actix::test]
async fn each_host_is_compared_with_its_own_name() {
    let Some(server) = TlsServer::start().await else { return };
    let port = server.server().port();
    let hosts = |names: &str, ports: &str| {
        let addresses = names.split(',').map(|_| "127.0.0.1").collect::<Vec<_>>().join(",");
        server.trusting_url(&format!("host={names} hostaddr={addresses} port={ports}"))
    };
    try_connect(hosts("shop.example,db.example", &port.to_string())).await.unwrap();
    try_connect(hosts("shop.example,db.example", &format!("1,{port}"))).await.unwrap();
    let refused = try_connect(hosts("db.example,shop.example", &format!("1,{port}"))).await.unwrap_err();
    let message = refused.to_string();
    assert!(message.starts_with(&format!("the certificate of `shop.example:{port}` is for")), "{message}");
    // The first server is named too.
    assert!(
        message.contains(
            ". There is no connection to `db.example:1` at 127.0.0.1 (error connecting to server: "
        ),
        "{message}"
    );
    let read_only = server.trusting_url("target_session_attrs=read-only");
    let refused = try_connect(read_only).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
    try_connect(server.trusting_url("target_session_attrs=primary")).await.unwrap();
}

#[actix::test]
async fn the_authorities_of_the_machine_are_trusted() {
    let Some(server) = TlsServer::start().await else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "tls::whole::connect_in_another_process", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &server.authority.file)
        .env_remove("SSL_CERT_DIR");
    let child = ChildProcess::run(command, &server.url(""));
    assert_eq!(child.next().await, "connected");
}

#[actix::test]
#[ignore = "runs in another process, for the test above"]
async fn connect_in_another_process() {
    let Some((url, report)) = in_child_process() else { return };
    try_connect(&url).await.unwrap();
    try_connect(format!("{url} sslmode=verify-full sslrootcert=system")).await.unwrap();
    report("connected");
}
