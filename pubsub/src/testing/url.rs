//! The server of the databases, and the URLs of its databases.

use super::{Error, Server, docker};
use crate::store::Target;
use std::env;

/// The environment variable with the server to use instead of starting one.
const VARIABLE: &str = "DATABASE_URL";

/// Returns the URL of the server for this process's tests: the environment variable `DATABASE_URL`, or else
/// [`Server::shared`], or else one
/// in a container of Docker.
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
            let start = || Server::shared().map(|server| server.url("postgres")).or_else(in_container);
            let start = tokio::task::spawn_blocking(start);
            start.await.map_err(|error| Error::system("start a server")(error.into()))?
        }
    }
}

/// The server in a container, where no server was found.
fn in_container(error: Error) -> Result<String, Error> {
    let Error::NotFound { mut tried } = error else { return Err(error) };
    docker::shared_url().map_err(|refusal| {
        tried.push(format!("Docker: {refusal}"));
        Error::NotFound { tried }
    })
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
    // As a target is read: up to the first `@`, even behind a `?`. One that stands in a password, and should not, hides more.
    let (account, server) =
        rest.split_once('@').map_or((None, rest), |(account, rest)| (Some(account), rest));
    // Then the `@` is in a parameter, perhaps the password.
    if account.is_some_and(|account| account.contains('/') && account.contains('?')) {
        return format!("{scheme}://{SHOWN}");
    }
    let (server, query) = server.split_once('?').unwrap_or((server, ""));
    let server = match account {
        Some(account) => {
            let (user, password) = account.split_once(':').map_or((account, ""), |(user, _)| (user, ":***"));
            let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
            format!("{}{password}@{server}", if user.chars().all(is_plain) { user } else { SHOWN })
        }
        None => server.to_owned(),
    };
    let parameters = query.split('&').filter_map(|parameter| match parameter.split_once('=') {
        Some(("password", _)) => Some(format!("password={SHOWN}")),
        // Others may be a part of a password, or its name in another spelling.
        Some((name, _)) => PARAMETERS.contains(&name).then(|| parameter.to_owned()),
        None => None,
    });
    let query = parameters.collect::<Vec<_>>().join("&");
    format!("{scheme}://{server}{}{query}", if query.is_empty() { "" } else { "?" })
}

/// The parameters of a URL that are shown.
const PARAMETERS: [&str; 7] = ["host", "hostaddr", "port", "user", "dbname", "sslmode", "sslrootcert"];

/// Whether a character is part of an ordinary user's name.
fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || "_-.%".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    const PASSWORD: &str = "hunter2";

    /// URLs and connection strings whose only secret is the password.
    fn with_passwords() -> impl Strategy<Value = String> {
        let odd = || prop_oneof![2 => "[ -~]{0,3}", 1 => Just(String::new())];
        let server = select(vec!["host", "host:5433", "a,b", "[::1]:1", "", "%2Frun"]);
        let path = select(vec!["/app", "", "/"]);
        let query = select(vec![
            "",
            "?sslmode=disable",
            "?password=hunter2",
            "?pass%77ord=hunter2",
            "?port=1&password=x&dbname=hunter2",
            "?user=ada&password=hunter2&host=/run",
            "?password=hunter2&sslmode=disable",
        ]);
        let url = ("[a-z]{0,3}", odd(), odd(), server, path, query).prop_map(
            |(user, before, after, server, path, query)| {
                format!("postgres://{user}:{before}{PASSWORD}{after}@{server}{path}{query}")
            },
        );
        let bare = (select(vec!["host", ""]), query_of_password())
            .prop_map(|(server, query)| format!("postgresql://{server}/app?{query}"));
        let words = (odd(), odd()).prop_map(|(before, after)| {
            let value = format!("{before}{PASSWORD}{after}").replace(['\\', '\''], "");
            format!("host=/tmp user=ada password='{value}' dbname=app")
        });
        prop_oneof![url, bare, words]
    }

    fn query_of_password() -> impl Strategy<Value = String> {
        (select(vec!["password", "pass%77ord", "%70assword"]), "[!-~]{0,3}", "[!-~]{0,3}")
            .prop_map(|(name, before, after)| format!("user=ada&{name}={before}{PASSWORD}{after}"))
    }

    proptest! {
        #[test]
        fn what_parses_is_shown_without_its_password(url in with_passwords()) {
            let shown = without_password(&url);
            // Only what a target reads as the password is one.
            let is_secret = Target::parse(&url).is_ok_and(|target| {
                let password = target.config().get_password();
                password.is_some_and(|password| password.windows(7).any(|piece| piece == PASSWORD.as_bytes()))
            });
            prop_assert!(!is_secret || !shown.contains(PASSWORD), "{}", shown);
        }
    }

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
            ("postgres://ada:hun@ter2@host/app?port=7&a=b", "postgres://ada:***@host/app?port=7"),
            ("postgres://ada:hun?ter2@host/app", "postgres://ada:***@host/app"),
            ("postgres://ada:hun/ter2@host/app", "postgres://ada:***@host/app"),
            ("postgres://host/app?pass%77ord=hunter2", "postgres://host/app"),
            ("postgres://host/app?user=ada&password=@hunter2", "postgres://***"),
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
        let target = Target::parse(&url_with_database("host=/tmp dbname=old", "new")).unwrap();
        assert_eq!(target.config().get_dbname(), Some("new"));
    }
}
