//! The server of the databases, and the URLs of its databases.

use super::{Error, Server};
use crate::store::Target;
use std::env;

/// The environment variable with the server to use instead of starting one.
const VARIABLE: &str = "DATABASE_URL";

/// Returns the URL of the server for this process's tests: the environment variable `DATABASE_URL`, or else
/// [`Server::shared`].
///
/// # Errors
/// As [`Server::start`].
pub async fn server_url() -> Result<String, Error> {
    choose(env::var(VARIABLE).ok()).await
}

async fn choose(given: Option<String>) -> Result<String, Error> {
    match given {
        Some(url) if !url.is_empty() => Ok(url),
        _ => {
            let start = tokio::task::spawn_blocking(|| Server::shared().map(|server| server.url("postgres")));
            start.await.map_err(|error| Error::system("start a server")(error.into()))?
        }
    }
}

/// Returns another database on the same server.
pub(super) fn with_database(server: &Target, database: &str) -> Target {
    server.with_database(database, &url_with_database(server.text(), database))
}

/// Returns `url` with another database. `url` may have either of PostgreSQL's notations: `postgres://…` or `host=…
/// dbname=…`.
fn url_with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // The last value of a name counts.
        return format!("{url} dbname={database}");
    };
    let (rest, parameters) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let server = rest.split_once('/').map_or(rest, |(server, _)| server);
    let query = parameters.map_or(String::new(), |parameters| format!("?{parameters}"));
    format!("{scheme}://{server}/{database}{query}")
}

/// Returns `url` for people to read: without its password, in either notation.
pub(super) fn without_password(url: &str) -> String {
    const SHOWN: &str = "***";
    let Some((scheme, rest)) = url.split_once("://") else {
        let before = url.split_once("password").map_or(url, |(before, _)| before);
        // The rest may be a part of the password.
        return if before == url { url.to_owned() } else { format!("{before}password={SHOWN} ..") };
    };
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    let server = match server.rsplit_once('@') {
        Some((account, server)) => {
            let user = account.split_once(':').map(|(user, _)| format!("{user}:{SHOWN}"));
            format!("{}@{server}", user.as_deref().unwrap_or(account))
        }
        None => server.to_owned(),
    };
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let shown = parameters.map(|parameter| match parameter.split_once('=') {
        Some(("password", _)) => format!("password={SHOWN}"),
        _ => parameter.to_owned(),
    });
    let query = shown.collect::<Vec<_>>().join("&");
    format!("{scheme}://{server}{}{query}", if query.is_empty() { "" } else { "?" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn database_url_is_used_when_set() {
        let url = "postgres://ada@db.example.com/app";
        assert_eq!(choose(Some(url.to_owned())).await.unwrap(), url);
    }

    #[tokio::test]
    async fn without_database_url_a_server_is_started() {
        let own = Server::shared().unwrap().url("postgres");
        assert_eq!(choose(None).await.unwrap(), own);
        assert_eq!(choose(Some(String::new())).await.unwrap(), own);
    }

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let replaced = |url| url_with_database(url, "new");
        assert_eq!(replaced("postgres://ada:secret@host:5433/old"), "postgres://ada:secret@host:5433/new");
        assert_eq!(replaced("postgresql://host"), "postgresql://host/new");
        assert_eq!(replaced("postgres://host/?sslmode=disable"), "postgres://host/new?sslmode=disable");
        assert_eq!(
            replaced("postgres://host?host=/run/postgresql"),
            "postgres://host/new?host=/run/postgresql"
        );
        assert_eq!(replaced("host=/tmp user=ada dbname=old"), "host=/tmp user=ada dbname=old dbname=new");
    }

    #[test]
    fn a_shown_url_has_no_password() {
        for (url, shown) in [
            ("postgres://ada:hunter2@host:5433/app", "postgres://ada:***@host:5433/app"),
            ("postgres://ada:hun@ter2@host/app?a=b", "postgres://ada:***@host/app?a=b"),
            (
                "postgres:///app?user=ada&password=hunter2&host=/run",
                "postgres:///app?user=ada&password=***&host=/run",
            ),
            ("postgres://ada@host/app", "postgres://ada@host/app"),
            ("host=/tmp user=ada", "host=/tmp user=ada"),
            ("host=/tmp user=ada password = 'hunter2 x' dbname=app", "host=/tmp user=ada password=*** .."),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn the_last_database_of_a_keyword_string_counts() {
        let config: tokio_postgres::Config =
            url_with_database("host=/tmp dbname=old", "new").parse().unwrap();
        assert_eq!(config.get_dbname(), Some("new"));
    }
}
