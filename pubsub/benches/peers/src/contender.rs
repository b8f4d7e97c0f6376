//! A contender: its program, the workloads that it can do, its settings, and what it lacks.

use crate::library::Library;
use crate::versions;
use crate::workload::Workload;

/// A contender.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// The number of events in the database after publishing, times their consumers, before any is handled.
    pub(crate) published: &'static str,
    /// The number of events that are not settled yet, times their consumers.
    pub(crate) unsettled: &'static str,
    /// The workloads that it cannot do, with the reason.
    pub(crate) refuses: &'static [(Workload, &'static str)],
    /// The settings, where its documentation advises others than the defaults.
    pub(crate) settings: &'static [Setting],
    /// The things that ours has and it has not.
    pub(crate) lacks: &'static [&'static str],
}

/// A setting, and the place that advises it.
pub(crate) struct Setting {
    pub(crate) setting: &'static str,
    pub(crate) source: &'static str,
}

/// The program of a contender.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// This program itself.
    Rust(&'static dyn StaticLibrary),
    /// A script in the directory `node`, and the package whose version is measured.
    Node { script: &'static str, package: &'static str },
    /// A script in the directory `python`, and the package whose version is measured.
    Python { script: &'static str, package: &'static str },
}

/// A library that lives as long as the program.
pub(crate) trait StaticLibrary: Library + Sync {}

impl<L: Library + Sync> StaticLibrary for L {}

impl Contender {
    pub(crate) fn refusal(&self, workload: Workload) -> Option<&'static str> {
        let refused = self.refuses.iter().find(|(refused, _)| *refused == workload);
        refused.map(|(_, reason)| *reason)
    }

    /// The version that is measured. `None` if it is this project's own.
    pub(crate) fn version(&self) -> Option<String> {
        match self.program {
            Program::Rust(_) => versions::of_crate(self.name),
            Program::Node { package, .. } => versions::in_node(package),
            Program::Python { package, .. } => versions::in_python(package),
        }
    }
}
