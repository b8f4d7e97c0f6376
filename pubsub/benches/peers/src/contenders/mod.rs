//! The contenders: ours, the bare table below all of them, and the peers.

mod apalis;
mod awa;
mod bare;
mod fang;
mod graphile_worker;
mod node;
mod ours;
mod pgmq;
mod python;
mod river;
mod sqlxmq;

use crate::contender::Contender;

/// All contenders. The first is ours, with which the others are compared.
pub(crate) fn all() -> [Contender; 13] {
    [
        ours::ACTOR,
        ours::CLOSURE,
        bare::CONTENDER,
        graphile_worker::CONTENDER,
        river::CONTENDER,
        apalis::CONTENDER,
        awa::CONTENDER,
        sqlxmq::CONTENDER,
        fang::CONTENDER,
        pgmq::CONTENDER,
        node::GRAPHILE_WORKER,
        node::PG_BOSS,
        python::PGQUEUER,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_has_a_name_of_its_own() {
        let names: std::collections::HashSet<&str> = all().iter().map(|contender| contender.name).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn the_version_of_every_peer_is_known() {
        let ours = ["pubsub", "pubsub-async", "bare insert"];
        for contender in all().iter().filter(|contender| !ours.contains(&contender.name)) {
            assert!(contender.version().is_some(), "{}", contender.name);
        }
    }
}
