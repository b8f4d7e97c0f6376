//! Connection targets, and those that are refused.

use pubsub::{Error, Target};

fn refusal(text: &str) -> String {
    match Target::parse(text) {
        Err(Error::InvalidUrl { reason }) => reason,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn an_unknown_parameter_is_refused_by_name() {
    for (text, name) in [
        ("postgres://ada:hunter2@db.example/shop?sslmod=require", "sslmod"),
        ("postgres://ada:hunter2@db.example/shop?sslmode=require&sslcrl=a.pem", "sslcrl"),
        ("host=db.example password=hunter2 passfile=.pgpass", "passfile"),
        ("host=db.example password=hunter2 service=shop", "service"),
    ] {
        let reason = refusal(text);
        assert!(
            reason.starts_with(&format!("the parameter `{name}` is unknown; the known ones are ")),
            "{reason}"
        );
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let remote = "host=db.example user=ada";
    for (parameters, begins) in [
        ("sslmode=allow", "`sslmode=allow` is not supported: write `prefer`"),
        (
            "sslmode=verify",
            "`sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full, not `verify`",
        ),
        ("sslmode=verify-ca", "`sslmode=verify-ca` needs `sslrootcert`"),
        ("sslmode=prefer sslrootcert=a.pem", "`sslmode=prefer` trusts whoever answers"),
        ("sslmode=require sslrootcert=system", "`sslrootcert=system` needs `sslmode=verify-full`"),
        ("sslcert=a.pem", "`sslcert` needs `sslkey`"),
        ("sslkey=a.pem", "`sslkey` needs `sslcert`"),
        ("sslmode=disable channel_binding=require", "`channel_binding=require` needs TLS"),
        ("sslmode=prefer sslnegotiation=direct", "`sslnegotiation=direct` needs"),
        ("channel_binding=yes", "`channel_binding` must be one of disable, prefer, require, not `yes`"),
        (
            "target_session_attrs=standby",
            "`target_session_attrs` must be one of any, read-write, primary, read-only",
        ),
        ("port=70000", "a port is not a number"),
        ("port=0", "a port is not a number"),
        ("port=1,2", "there are 2 ports for 1 hosts"),
        ("hostaddr=10.0.0.1,10.0.0.2", "`host` has 1 values for 2 hosts"),
        ("hostaddr=db.example", "`hostaddr` is not an IP address"),
        ("connect_timeout=soon", "the value of `connect_timeout` is not a number"),
    ] {
        let reason = refusal(&format!("{remote} {parameters}"));
        assert!(reason.starts_with(begins), "{parameters}: {reason}");
    }
    assert!(refusal("user=ada").starts_with("it names no host"));
    for (url, parameter) in [
        ("postgres://ada%00:hunter2@localhost/shop", "user"),
        ("postgres://ada:hun%00ter2@localhost/shop", "password"),
        ("postgres://ada@localhost/sh%00op", "dbname"),
        ("host='local\0host'", "host"),
    ] {
        assert_eq!(refusal(url), format!("the value of `{parameter}` has a NUL character"), "{url}");
    }
    // No certificate has such a name, so that every connection would be refused.
    for host in ["db..example", "grüße.example", "-", "a b"] {
        let reason = refusal(&format!("host='{host}'"));
        assert!(
            reason.starts_with(&format!("`{host}` is not a name that a certificate can have")),
            "{reason}"
        );
        Target::parse(&format!("host='{host}' sslmode=disable")).unwrap();
    }
    Target::parse("host=shop_db.example.,xn--gre-6ka8b.example").unwrap();
    let unescaped = refusal("postgres://ada:hun@ter2@db.example/shop");
    assert!(unescaped.starts_with("a host has an `@`") && !unescaped.contains("ter2"), "{unescaped}");
    assert!(
        refusal("mysql://ada@db.example/shop").starts_with("expected a URL that begins with `postgres://`")
    );
}

#[actix::test]
async fn whatever_takes_a_target_takes_its_text() {
    let db = pubsub_tests::TestDatabase::new().await;
    let url = db.url().to_owned();
    let target = Target::parse(&url).unwrap();
    pubsub::migrate(&*url).await.unwrap();
    pubsub::migrate(&url).await.unwrap();
    pubsub::migrate(&target).await.unwrap();
    pubsub::migrate(target.clone()).await.unwrap();
    pubsub::PubSub::builder(&target).start().await.unwrap();
    pubsub::PubSub::builder(url).start().await.unwrap();
    assert!(!format!("{target:?}").contains("postgres@"), "{target:?}");
    let unreadable = pubsub::PubSub::builder("mysql://a/b").start().await.unwrap_err();
    assert_eq!((unreadable.code(), unreadable.is_retryable()), ("invalid_url", false));
    assert_eq!(pubsub::migrate("mysql://a/b").await.unwrap_err().code(), "invalid_url");
}
