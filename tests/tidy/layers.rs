//! Layers of a crate: no arrow from a lower one to a higher one, and none between actors.

use crate::graph::{Arrow, arrows};
use crate::rules::Finding;
use crate::source::File;

/// A layer: its module, and the modules that it may use beside itself.
type Layer = (&'static str, &'static [&'static str]);

/// The layers of each crate, from the lowest to the highest, by the crate's root.
const LAYERS: &[(&str, &[Layer])] = &[
    (
        "pubsub/src/lib.rs",
        &[
            ("panics", &[]),
            ("error", &[]),
            ("config", &[]),
            ("observe", &["panics"]),
            ("contract", &[]),
            ("model", &["contract", "error", "panics"]),
            ("policy", &["model"]),
            ("store", &["policy", "model", "contract", "error"]),
            ("actors", &["store", "policy", "model", "contract", "observe", "error", "panics"]),
            ("runtime", &["actors", "store", "policy", "model", "contract", "observe", "config", "error"]),
            ("testing", &["runtime", "store", "model", "observe", "error", "panics"]),
        ],
    ),
    (
        "pubsub-derive/src/lib.rs",
        &[
            ("errors", &[]),
            ("limits", &[]),
            ("suggest", &[]),
            ("name", &["suggest"]),
            ("read", &["errors", "name", "suggest"]),
            ("check", &["read", "errors", "limits", "name", "suggest"]),
            ("write", &["check", "read"]),
            ("lock_file", &["check", "read", "errors"]),
            ("routes", &["errors", "name"]),
            ("derive", &["write", "lock_file", "check", "read", "errors"]),
        ],
    ),
];

/// The modules of actors that all actors share.
const SHARED: &[&str] = &["message", "handler_link", "arbiter_thread", "fault_log"];

/// The arrows and the layers of each crate, without the arrows of its root: a root re-exports from all layers.
fn crates(files: &[File]) -> impl Iterator<Item = (Vec<Arrow>, &'static [Layer])> {
    LAYERS.iter().filter_map(|(root, layers)| {
        let root = files.iter().position(|file| file.path == *root)?;
        let mut arrows = arrows(files, root);
        arrows.retain(|arrow| arrow.from != root);
        Some((arrows, *layers))
    })
}

pub(crate) fn layers(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (arrows, layers) in crates(files) {
        for Arrow { from, line, path, ends: [user, used], .. } in arrows {
            let user = user.first().map_or("", String::as_str);
            let used = used.first().map_or("the root", String::as_str);
            let allowed = layers.iter().find(|(layer, _)| *layer == user).map(|(_, allowed)| allowed);
            let what = match allowed {
                None => format!("`{user}` is in no layer: add it to LAYERS"),
                Some(allowed) if used == user || allowed.contains(&used) => continue,
                Some(_) => format!("`{user}` may not use `{path}`, which is in `{used}`"),
            };
            findings.push(Finding::new(&files[from].path, line, what));
        }
    }
    findings
}

pub(crate) fn actors(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (arrows, _) in crates(files) {
        for Arrow { from, line, path, ends, .. } in arrows {
            let [Some(user), Some(used)] = ends.map(|end| actor(&end)) else { continue };
            if user != used && !SHARED.contains(&&*used) {
                let what = format!("`{user}` may not use `{path}`, which is in `{used}`");
                findings.push(Finding::new(&files[from].path, line, what));
            }
        }
    }
    findings
}

/// The module of an actor that a module is in.
fn actor(module: &[String]) -> Option<String> {
    let (layer, rest) = module.split_first()?;
    rest.first().filter(|_| layer == "actors").cloned()
}

#[test]
fn a_layer_uses_lower_layers_only() {
    for (_, layers) in LAYERS {
        for (place, (layer, allowed)) in layers.iter().enumerate() {
            let is_lower = |used: &&str| layers[..place].iter().any(|(lower, _)| lower == used);
            assert!(allowed.iter().all(is_lower), "{layer} may use a layer that is not below it");
        }
    }
}
