//! A database as a cautious administrator sets it up: a plain role owns it, and other roles have only their grants.

use crate::connect;
use pubsub::testing::{Database, Server};
use tokio_postgres::Client;

/// A database whose schema was migrated by a plain role. It is on the throwaway server, because roles belong to the whole
/// server and end with it.
#[derive(Debug)]
pub struct OwnedDatabase {
    database: Database,
    /// Distinguishes the roles of this database from those of others.
    suffix: String,
    /// The owner's connection.
    pub owner: Client,
    /// The superuser's connection.
    pub admin: Client,
}

impl OwnedDatabase {
    /// Creates a database, and migrates it as a role that may only create in it.
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

    /// Creates a role that may log in, and returns its name.
    pub async fn role(&self, what: &str) -> String {
        create_role(&self.admin, what, &self.suffix).await
    }

    /// Creates a role with the rights of these audiences.
    pub async fn role_for(&self, what: &str, audiences: &[&str]) -> String {
        let role = self.role(what).await;
        for audience in audiences {
            let grant = "select pubsub.grant_rights($1::text::name, $2)";
            self.owner.execute(grant, &[&role, audience]).await.expect("the owner grants");
        }
        role
    }

    /// Returns the database's URL for its owner.
    pub async fn owner_url(&self) -> String {
        let owner = self.owner.query_one("select current_user::text", &[]).await.expect("a name");
        self.url(owner.get(0))
    }

    /// The database's URL for a role.
    pub fn url(&self, role: &str) -> String {
        url_as(&self.database, role)
    }

    /// Connects as a role.
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
