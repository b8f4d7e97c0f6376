//! Tables of the application's own, on a server with TLS alone.

use pubsub::{Error, Target};
use pubsub_tests::TlsServer;
use std::error::Error as _;

/// Returns an error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[actix::test]
async fn a_client_and_a_pool_of_ones_own_connect_as_the_target_says() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admit("hostssl all all all trust");
    let target = Target::parse(&server.trusting_url("application_name=own")).unwrap();
    let mut client = target.connect().await.unwrap();
    assert_eq!(server.was_encrypted("own"), Some(true));
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("create table own (id integer)").await.unwrap();
    transaction.commit().await.unwrap();
    // Zero connections would wait without end.
    for size in [0, 2] {
        let pooled = target.pool(size).get().await.unwrap();
        assert_eq!(pooled.query_one("select count(*) from own", &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}

#[actix::test]
async fn a_pool_of_ones_own_says_why_it_cannot_connect() {
    let Some(server) = TlsServer::start().await else { return };
    let target = Target::parse(&server.trusting_url("host=shop.example")).unwrap();
    let Err(Error::Tls { message, .. }) = target.connect().await else { panic!("it is refused") };
    let refused = target.pool(1).get().await.unwrap_err();
    assert!(chain(&refused).contains(&message), "{}", chain(&refused));

    let locked = target.password_provider(|| async { Err::<String, _>("the vault is locked") });
    let refused = locked.pool(1).get().await.unwrap_err();
    assert!(chain(&refused).ends_with("the vault is locked"), "{}", chain(&refused));
    assert!(refused.source().is_some());
}
