//! The two notations of a target: a URL, and libpq's `name=value` pairs.

use crate::error::{Error, invalid_url};
use percent_encoding::percent_decode_str;

/// The names and values of a target, in their order. Of two with one name, the last counts.
pub(super) type Pairs = Vec<(String, Vec<u8>)>;

/// Reads a target in either notation. No error repeats a value, because it may be a part of the password.
pub(super) fn read(text: &str) -> Result<Pairs, Error> {
    match ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => url(rest),
        None => keywords(text),
    }
}

/// Reads a URL without its scheme, as leniently as libpq does: a password may have any character but `@` and `/`.
fn url(text: &str) -> Result<Pairs, Error> {
    let mut pairs = Pairs::new();
    let before_path = text.find('/').unwrap_or(text.len());
    let (account, rest) = match text[..before_path].find('@') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => ("", text),
    };
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, database) = place.split_once('/').unwrap_or((place, ""));
    let (hosts, ports) = hosts_and_ports(servers)?;
    for (name, value) in
        [("user", user), ("password", password), ("host", &*hosts), ("port", &*ports), ("dbname", database)]
    {
        if !value.is_empty() {
            pairs.push((name.to_owned(), decoded(value)?));
        }
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) =
            parameter.split_once('=').ok_or_else(|| invalid_url("a parameter after `?` has no `=`"))?;
        let name = String::from_utf8_lossy(&decoded(name)?).into_owned();
        pairs.push((name, decoded(value)?));
    }
    Ok(pairs)
}

/// Splits `host:port,host:port`. Ports that are not given stay empty.
fn hosts_and_ports(servers: &str) -> Result<(String, String), Error> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for server in servers.split(',') {
        let (host, port) = match server.strip_prefix('[') {
            Some(server) => {
                let unclosed = || invalid_url("an address in `[` has no `]`");
                let (host, port) = server.split_once(']').ok_or_else(unclosed)?;
                if !port.is_empty() && !port.starts_with(':') {
                    return Err(invalid_url(
                        "an address in `[` and `]` is followed by something else than `:` and a port",
                    ));
                }
                (host, port.strip_prefix(':').unwrap_or_default())
            }
            None => server.split_once(':').unwrap_or((server, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    let without_ports = ports.iter().all(|port| port.is_empty());
    Ok((hosts.join(","), if without_ports { String::new() } else { ports.join(",") }))
}

/// Decodes a part of a URL. A `%` that stands for itself is refused, as libpq does, because only some of them could be told.
fn decoded(text: &str) -> Result<Vec<u8>, Error> {
    let is_code =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|letter| letter.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_code) {
        return Err(invalid_url(
            "a `%` is not followed by two hexadecimal digits: write one that stands for itself as `%25`",
        ));
    }
    Ok(percent_decode_str(text).collect())
}

/// Reads `name=value` pairs. Spaces separate them; a value with spaces is in single quotes, and a backslash takes the next
/// character as it is.
fn keywords(text: &str) -> Result<Pairs, Error> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        let name = name.trim_end();
        if name.len() == rest.trim_end().len() || name.contains(char::is_whitespace) {
            return Err(invalid_url(
                "expected a URL that begins with `postgres://`, or pairs of the form `name=value`",
            ));
        }
        let (value, after) = keyword_value(value.trim_start())?;
        pairs.push((name.to_owned(), value.into_bytes()));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Reads a value. Returns the text after it.
fn keyword_value(text: &str) -> Result<(String, &str), Error> {
    let (text, quoted) = text.strip_prefix('\'').map_or((text, false), |text| (text, true));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            character if !quoted && character.is_whitespace() => return Ok((value, &text[at..])),
            character => value.push(character),
        }
    }
    if quoted { Err(invalid_url("a value in quotes has no closing quote")) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let text_of = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        read(text).unwrap().iter().map(|(name, value)| (name.clone(), text_of(value))).collect()
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let all = "postgresql://ada:p%40ss?w@one:1,[::1]:2,three/the%20shop?sslmode=require&host=four&options=-c%20a=b";
        let read = expected(&[
            ("user", "ada"),
            ("password", "p@ss?w"),
            ("host", "one,::1,three"),
            ("port", "1,2,"),
            ("dbname", "the shop"),
            ("sslmode", "require"),
            ("host", "four"),
            ("options", "-c a=b"),
        ]);
        assert_eq!(pairs(all), read);
        assert_eq!(
            pairs("postgres:///?host=/run/x&user=a@b"),
            expected(&[("host", "/run/x"), ("user", "a@b")])
        );
        assert_eq!(pairs("postgres://%2Frun%2Fx/y"), expected(&[("host", "/run/x"), ("dbname", "y")]));
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        let read =
            expected(&[("host", "a,b"), ("password", "it's \\ secret"), ("user", "a b"), ("port", "1")]);
        assert_eq!(pairs(r" host = a,b password='it\'s \\ secret' user=a\ b  port=1 "), read);
        assert_eq!(pairs(""), expected(&[]));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_its_values() {
        for text in
            ["hunter2", "user=ada hunter2", "password='hunter2", "a hunter2=3", "mysql://a:hunter2@b/c"]
        {
            let refused = read(text).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{text}: {refused}");
        }
        for url in ["postgres://[::1/x", "postgres://[::1]5432/x"] {
            assert!(read(url).unwrap_err().to_string().contains("an address in `["), "{url}");
        }
        for password in ["hunter2%", "hunter2%4", "100%sure", "%hunter2", "%%41"] {
            let refused = read(&format!("postgres://ada:{password}@db.example/x")).unwrap_err().to_string();
            assert!(
                refused.ends_with("write one that stands for itself as `%25`") && !refused.contains(password),
                "{refused}"
            );
        }
        read("postgres://a/x?hunter2").unwrap_err();
    }
}
