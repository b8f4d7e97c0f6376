//! The benchmark of the peers stays apart: no other command builds the libraries that it measures.

use crate::project;
use std::fs;

const PEERS: &str = "pubsub/benches/peers";

#[test]
fn the_peers_are_a_workspace_of_their_own() {
    let (root, _) = project();
    let read = |path: &str| {
        let path = root.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let peers = read(&format!("{PEERS}/Cargo.toml"));
    assert!(peers.lines().any(|line| line == "[workspace]"), "{PEERS} is not the root of a workspace");
    assert!(
        read("Cargo.toml").contains(&format!("exclude = [\"{PEERS}\"]")),
        "the workspace does not exclude {PEERS}"
    );
    assert!(
        read("pubsub/Cargo.toml").contains("exclude = [\"benches/peers\"]"),
        "the package does not exclude them"
    );
    let (ours, theirs) = (read("Cargo.lock"), read(&format!("{PEERS}/Cargo.lock")));
    for peer in ["apalis-postgres", "awa", "fang", "graphile_worker", "pgmq", "riverqueue", "sqlxmq"] {
        let line = format!("name = \"{peer}\"\n");
        assert!(theirs.contains(&line), "the lock file of {PEERS} does not pin {peer}");
        assert!(!ours.contains(&line), "the lock file of the workspace has {peer}");
    }
}
