//! A server with TLS.

use crate::authority::{Authority, Certified};
use crate::connect;
use crate::installation::note_not_run;
use pubsub::testing::{Mode, Options, Server};
use std::fs;
use tokio_postgres::Client;

/// The line of `pg_hba.conf` that lets everybody in over TCP.
const ANYBODY: &str = "host all all all trust";

/// The year with which certificates end that are valid.
pub const VALID: i32 = 4000;

/// A server with TLS, whose certificate is for `db.example`.
#[derive(Debug)]
pub struct TlsServer {
    server: Server,
    /// The authority that has certified the server, and whom it asks about its clients.
    pub authority: Authority,
}

impl TlsServer {
    /// The name in the server's certificate.
    pub const NAME: &str = "db.example";

    /// Starts a server that everybody may connect to, encrypted or not. `None` if this machine's PostgreSQL was built without TLS:
    /// the calling test returns at once, and is noted as one that was not run.
    pub async fn start() -> Option<Self> {
        let settings = vec![("log_connections".to_owned(), "on".to_owned())];
        let starting = || Server::start_with(Options { settings, ..Options::default() });
        let server = tokio::task::spawn_blocking(starting).await.expect("a thread").expect("a server");
        let authority = Authority::new(server.directory(), "authority");
        let mut server = Self { server, authority };
        let library = "select coalesce(nullif(current_setting('ssl_library'), ''), 'none')";
        if server.admin().await.query_one(library, &[]).await.expect("an answer").get::<_, &str>(0) == "none"
        {
            note_not_run("a PostgreSQL with TLS");
            return None;
        }
        let certified = server.authority.certify(Self::NAME, VALID);
        server.show(&certified).await;
        Some(server)
    }

    /// Lets the server show another certificate.
    pub async fn show(&mut self, certified: &Certified) {
        let settings = [
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", certified.certificate.display().to_string()),
            ("ssl_key_file", certified.key.display().to_string()),
            ("ssl_ca_file", self.authority.file.display().to_string()),
        ];
        let admin = self.admin().await;
        for (name, value) in settings {
            let set = format!("alter system set {name} = '{value}'");
            admin.batch_execute(&set).await.expect("a superuser may set it");
        }
        self.restart();
    }

    /// Lets in whom these lines of `pg_hba.conf` let in.
    pub fn admit(&mut self, lines: &str) {
        let file = self.server.directory().join("data/pg_hba.conf");
        fs::write(file, format!("local all all trust\n{lines}\n")).expect("a file of the server");
        self.restart();
    }

    /// Lets in everybody.
    pub fn admit_anybody(&mut self) {
        self.admit(ANYBODY);
    }

    // A reload would not say when it has taken place.
    fn restart(&mut self) {
        self.server.restart(Mode::Fast).expect("the server starts again");
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Connects as the superuser through the socket, where there is no TLS.
    pub async fn admin(&self) -> Client {
        let (directory, port) = (self.server.directory().display(), self.server.port());
        connect(&format!("host={directory} port={port} user=postgres dbname=postgres")).await
    }

    /// The server by the name in its certificate, which makes it one elsewhere, with more parameters. Another `host` or `user`
    /// among them takes precedence.
    pub fn url(&self, parameters: &str) -> String {
        let (name, port) = (Self::NAME, self.server.port());
        format!("host={name} hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres {parameters}")
    }

    /// Like [`url`](Self::url), and trusts the server's authority.
    pub fn trusting_url(&self, parameters: &str) -> String {
        self.url(&format!("sslrootcert={} {parameters}", self.authority.file.display()))
    }

    /// Whether the last connection of an application was encrypted. `None` if it has not connected.
    pub fn was_encrypted(&self, application: &str) -> Option<bool> {
        let log = fs::read_to_string(self.server.directory().join("log")).expect("the server's log");
        let named = format!("application_name={application} ");
        let connected =
            |line: &&str| line.contains("connection authorized") && format!("{line} ").contains(&named);
        Some(log.lines().rfind(connected)?.contains("SSL enabled"))
    }
}
