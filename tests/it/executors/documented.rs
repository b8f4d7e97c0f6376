//! `docs/drivers.md` is true: its programs run, and its table is that of the dependencies.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const DOCUMENT: &str = include_str!("../../../docs/drivers.md");

/// Programs of the document, each with the connection that it takes. They commit a user and an event together.
macro_rules! programs {
    ($($driver:ident, $file:literal, $url:ident => $connection:expr;)*) => {$(
        mod $driver {
            use pubsub_tests::{Sms, TestDatabase};

            include!(concat!("snippets/", $file));

            #[actix::test]
            async fn is_as_documented() {
                let program = concat!("```rust\n", include_str!(concat!("snippets/", $file)), "```\n");
                assert!(super::DOCUMENT.contains(program), "docs/drivers.md does not show {}", $file);
                let db = TestDatabase::new().await;
                let (_pubsub, mut received) = db.receive("one").await;
                db.client.batch_execute("create table users (name text)").await.unwrap();
                let $url = db.url();
                sign_up($connection, "Ada").await.unwrap();
                assert_eq!(received.next().await, "Welcome, Ada!");
                assert_eq!(db.count("select count(*) from users where name = 'Ada'").await, 1);
            }
        }
    )*};
}

programs!(
    on_tokio_postgres, "tokio_postgres.rs", url => &mut pubsub_tests::connect(url).await;
    on_deadpool_postgres, "deadpool_postgres.rs", url => &crate::executors::driver::deadpool_postgres::pool(url);
    on_sqlx, "sqlx.rs", url => &sqlx::PgPool::connect(url).await.unwrap();
    on_sea_orm, "sea_orm.rs", url => &sea_orm::Database::connect(url).await.unwrap();
    on_diesel_async, "diesel_async.rs", url => &mut AsyncPgConnection::establish(url).await.unwrap();
    on_another_driver, "other.rs", url => &mut pubsub_tests::connect(url).await;
);

/// The cells of the document's table: the driver, its feature, and its oldest Rust.
fn table() -> Vec<[String; 3]> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `") || line.starts_with("| any"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        [cells[1], cells[2], cells[4]].map(str::to_owned)
    })
    .collect()
}

/// The packages that cargo knows.
struct Packages {
    /// By the package's id.
    by_id: BTreeMap<String, Value>,
    dependencies: BTreeMap<String, Vec<String>>,
}

impl Packages {
    fn read() -> Self {
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]).current_dir(workspace);
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let is_built =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|of| of["kind"] != "dev");
        let dependencies = |node: &Value| {
            let built = list(&node["deps"]).into_iter().filter(is_built);
            built.map(|dependency| dependency["pkg"].as_str().unwrap().to_owned()).collect()
        };
        Self {
            by_id: list(&metadata["packages"]).into_iter().map(|package| (id(&package), package)).collect(),
            dependencies: list(&metadata["resolve"]["nodes"])
                .iter()
                .map(|node| (id(node), dependencies(node)))
                .collect(),
        }
    }

    fn named(&self, name: &str) -> &Value {
        self.by_id.values().find(|package| package["name"] == name).unwrap()
    }

    /// The newest of the oldest versions of Rust that a package and those below it declare, as major and minor.
    fn oldest_rust(&self, name: &str) -> (u32, u32) {
        let mut open = vec![self.named(name)["id"].as_str().unwrap()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.dependencies[id].iter().map(String::as_str));
            }
        }
        let declared = seen.into_iter().filter_map(|id| self.by_id[id]["rust_version"].as_str());
        declared.map(rust).max().unwrap()
    }
}

fn rust(version: &str) -> (u32, u32) {
    let (major, rest) = version.split_once('.').unwrap();
    let minor = rest.split_once('.').map_or(rest, |(minor, _)| minor);
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn the_table_of_drivers_tells_the_oldest_rust() {
    let packages = Packages::read();
    let ours = packages.named("pubsub");
    let own = rust(ours["rust_version"].as_str().unwrap());
    let rows = table();
    assert_eq!(rows.len(), 6, "{rows:?}");
    for [driver, feature, oldest] in &rows {
        let needed = if driver.starts_with("any") { own } else { packages.oldest_rust(driver).max(own) };
        assert_eq!(rust(oldest), needed, "{driver}");
        if feature != "none needed" {
            assert!(ours["features"].get(feature).is_some(), "{feature}");
        }
    }
    let names: BTreeSet<&str> = rows.iter().map(|[_, feature, _]| feature.as_str()).collect();
    let others = ["actix-web-4"];
    let of_drivers = ours["features"].as_object().unwrap().keys();
    let of_drivers = of_drivers.filter(|name| name.contains('-') && !others.contains(&name.as_str()));
    for feature in of_drivers {
        assert!(names.contains(feature.as_str()), "docs/drivers.md lacks {feature}");
    }
}
