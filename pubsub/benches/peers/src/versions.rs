//! The versions of the peers, as their lock files pin them.

const CRATES: &str = include_str!("../Cargo.lock");
const NODE: &str = include_str!("../node/package-lock.json");
const PYTHON: &str = include_str!("../python/requirements.txt");

pub(crate) fn of_crate(name: &str) -> Option<String> {
    in_cargo_lock(CRATES, name)
}

pub(crate) fn in_node(package: &str) -> Option<String> {
    let lock: serde_json::Value = serde_json::from_str(NODE).ok()?;
    Some(lock["packages"][format!("node_modules/{package}")]["version"].as_str()?.to_owned())
}

pub(crate) fn in_python(package: &str) -> Option<String> {
    let line = PYTHON.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
    line.map(str::to_owned)
}

fn in_cargo_lock(lock: &str, package: &str) -> Option<String> {
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
    let (_, rest) = entry.split_once("version = \"")?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_lock_file() {
        let lock =
            "[[package]]\nname = \"ab\"\nversion = \"1\"\n[[package]]\nname = \"a\"\nversion = \"2\"\n";
        assert_eq!(in_cargo_lock(lock, "a").as_deref(), Some("2"));
        assert_eq!(in_cargo_lock(lock, "b"), None);
    }
}
