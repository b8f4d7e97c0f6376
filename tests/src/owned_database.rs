//! A database as a cautious administrator sets it up: a plain role owns it, and others have what they were granted.

use crate::connect;
use pubsub::testing::{Database, Server};
use tokio_postgres::Client;

/// A database whose schema a plain role has migrated, on the throwaway server: roles belong to the whole server, and end
/// with it.
#[derive(Debug)]
pub struct OwnedDatabase {
    database: Database,
    /// Tells the roles of this database from those of others.
    suffix: String,
    /// A connection of the owner's.
    pub owner: Client,
    /// A connection of the superuser's.
    pub admin: Client,
}

impl OwnedDatabase {
    /// A fresh database, migrated by a role that may create in it, and nothing else.
    pub async fn new() -> Self {
        let server = tokio::task::spawn_blocking(Server::shared).await.expect("a thread").expect("a server");
        let database = Database::empty_on(&server.url("postgres")).await.expect("a database for the test");
        let suffix = database.name().rsplit('_').next().expect("a name has a last part").to_owned();
        let admin = connect(database.url()).await;
        let owner = create_role(&admin, "owner", &suffix).await;
        let grant = format!("grant create on database {} to {owner}", database.name());
        admin.batch_execute(&grant).await.expect("the owner may create schemas");
        let url = url_as(&database, &owner);
        pubsub::migrate(&url).await.expect("a plain role can migrate");
        let owner = connect(&url).await;
        Self { database, suffix, owner, admin }
    }

    /// A role that may log in; returns its name.
    pub async fn role(&self, what: &str) -> String {
        create_role(&self.admin, what, &self.suffix).await
    }

    /// A role with the rights of these audiences.
    pub async fn role_for(&self, what: &str, audiences: &[&str]) -> String {
        let role = self.role(what).await;
        for audience in audiences {
            let grant = format!("select pubsub.grant_{audience}($1::text::name)");
            self.owner.execute(&grant, &[&role]).await.expect("the owner grants");
        }
        role
    }

    /// The database's URL for a role.
    pub fn url(&self, role: &str) -> String {
        url_as(&self.database, role)
    }

    /// A connection of a role's.
    pub async fn connect(&self, role: &str) -> Client {
        connect(&self.url(role)).await
    }
}

async fn create_role(admin: &Client, what: &str, suffix: &str) -> String {
    let role = format!("{what}_{suffix}");
    admin.batch_execute(&format!("create role {role} login")).await.expect("a role");
    role
}

fn url_as(database: &Database, role: &str) -> String {
    database.url().replacen("//postgres@", &format!("//{role}@"), 1)
}
