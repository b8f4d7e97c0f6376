//! The account that runs PostgreSQL for root, because PostgreSQL refuses to run as root.

use super::Error;
use std::fs;

/// The accounts, in order of preference. `_postgres` is Apple's.
const NAMES: [&str; 3] = ["postgres", "_postgres", "nobody"];

const PASSWD: &str = "/etc/passwd";

/// An unprivileged account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The account that must run PostgreSQL. `None` unless this process runs as root.
    pub(super) fn for_postgres() -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string(PASSWD).map_err(Error::system(format!("read {PASSWD}")))?;
        Self::choose(&passwd).map(Some).ok_or(Error::NoAccount)
    }

    fn choose(passwd: &str) -> Option<Self> {
        let named =
            |name: &&str| passwd.lines().filter_map(Self::parse).find(|account| account.name == *name);
        NAMES.iter().find_map(named)
    }

    /// Reads `name:password:uid:gid:…`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        (uid != 0).then_some(Self { name, uid, gid })
    }
}

/// macOS writes the ids of `nobody` as -2.
fn id(field: &str) -> Option<u32> {
    field.parse().ok().or_else(|| field.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_and_root_never_chosen() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:\npostgres:x:101:104::/:/bin/sh\n";
        let account = Account::choose(passwd).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("postgres", 101, 104));
        assert_eq!(Account::choose("postgres:x:0:0::/:/bin/sh\n"), None);
    }

    #[test]
    fn the_negative_uid_of_nobody_on_macos_is_understood() {
        let passwd = "# comment\nnobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n";
        assert_eq!(Account::choose(passwd).unwrap().uid, u32::MAX - 1);
    }
}
