//! Arrows between files: one file uses items that another one defines. Imports are followed through re-exports to the
//! definition. There may be neither a circle of files nor an arrow from a lower layer to a higher one.

use crate::modules::{Crate, Path};
use crate::rules::Finding;
use crate::source::File;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An arrow from one file to another, as indices, with the line and the path that make it.
pub(crate) struct Arrow {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) line: usize,
    pub(crate) path: String,
    /// The modules at its two ends.
    pub(crate) ends: [Path; 2],
}

/// The target of a path: a module, or an item that a module defines.
#[derive(Clone)]
enum Place {
    Module(Path),
    Item(Path),
}

/// The longest chain of re-exports that is followed. A longer one is a mistake.
const DEPTH: usize = 16;

/// The arrows in the crate whose root is the file with this index.
pub(crate) fn arrows(files: &[File], root: usize) -> Vec<Arrow> {
    let read = Crate::read(files, root);
    let mut arrows = BTreeMap::new();
    for (path, module) in &read.modules {
        let imports = module.imports.iter().filter(|import| import.name != "*");
        let imports = imports.map(|import| (&import.path, import.line));
        let paths = module.paths.iter().map(|(path, line)| (path, *line));
        for (named, line) in imports.chain(paths) {
            let Some(Place::Item(place)) = read.resolve(path, named, DEPTH) else { continue };
            let (from, to) = (module.file, read.modules[&place].file);
            if from != to {
                let ends = [path.clone(), place];
                let arrow = Arrow { from, to, line, path: named.join("::"), ends };
                arrows.entry((from, to)).or_insert(arrow);
            }
        }
    }
    arrows.into_values().collect()
}

impl Crate {
    fn resolve(&self, from: &Path, path: &[String], depth: usize) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        let mut place = match first.as_str() {
            "crate" => Place::Module(Path::new()),
            "self" => Place::Module(from.clone()),
            "super" => Place::Module(parent(from)?),
            name => self.find(from, name, depth)?,
        };
        for segment in rest {
            place = match place {
                Place::Module(module) if segment == "super" => Place::Module(parent(&module)?),
                Place::Module(module) => self.find(&module, segment, depth).unwrap_or(Place::Item(module)),
                item @ Place::Item(_) => return Some(item),
            };
        }
        Some(place)
    }

    /// Finds a name in a module: a child, an item, or an import.
    fn find(&self, module: &Path, name: &str, depth: usize) -> Option<Place> {
        let depth = depth.checked_sub(1)?;
        let child = module.iter().cloned().chain([name.to_owned()]).collect();
        if self.modules.contains_key(&child) {
            return Some(Place::Module(child));
        }
        let contents = self.modules.get(module)?;
        if contents.items.contains(name) {
            return Some(Place::Item(module.clone()));
        }
        let mut named = contents.imports.iter().filter(|import| import.name == name);
        // `use name::..` itself is no way to find `name`.
        let named = named.find(|import| import.path.first().is_some_and(|first| first != name));
        if let Some(import) = named {
            return self.resolve(module, &import.path, depth);
        }
        let mut globs = contents.imports.iter().filter(|import| import.name == "*");
        globs.find_map(|glob| match self.resolve(module, &glob.path, depth)? {
            Place::Module(target) if target != *module => self.find(&target, name, depth),
            _ => None,
        })
    }
}

fn parent(module: &Path) -> Option<Path> {
    module.split_last().map(|(_, parent)| parent.to_vec())
}

/// The roots of all crates of the project.
pub(crate) fn roots(files: &[File]) -> impl Iterator<Item = usize> {
    let is_root = |file: &File| file.path.ends_with("src/lib.rs") || file.path.ends_with("/main.rs");
    files.iter().enumerate().filter(move |(_, file)| is_root(file)).map(|(index, _)| index)
}

pub(crate) fn circles(files: &[File]) -> Vec<Finding> {
    roots(files).flat_map(|root| circles_of(files, &arrows(files, root))).collect()
}

/// One finding for each set of files that all reach each other: its shortest circle, at the file that comes first.
fn circles_of(files: &[File], arrows: &[Arrow]) -> Vec<Finding> {
    let mut next: BTreeMap<usize, Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(arrow.from).or_default().push(arrow);
    }
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut findings = Vec::new();
    for &start in next.keys() {
        let Some(circle) = shortest_circle(&next, start).filter(|_| !done.contains(&start)) else { continue };
        let mut component = reached(&next, start);
        component.retain(|&other| reached(&next, other).contains(&start));
        done.extend(&component);
        let steps =
            circle.iter().map(|arrow| format!("{}:{} `{}`", files[arrow.from].path, arrow.line, arrow.path));
        let steps = steps.collect::<Vec<_>>().join(" -> ");
        let all = component.iter().map(|&file| files[file].path.as_str()).collect::<Vec<_>>().join(", ");
        let what = format!("a circle of files: {steps}; in circles are {all}");
        findings.push(Finding::new(&files[start].path, circle[0].line, what));
    }
    findings
}

fn reached(next: &BTreeMap<usize, Vec<&Arrow>>, start: usize) -> BTreeSet<usize> {
    let (mut seen, mut pending) = (BTreeSet::new(), vec![start]);
    while let Some(file) = pending.pop() {
        let targets = next.get(&file).into_iter().flatten().map(|arrow| arrow.to);
        pending.extend(targets.filter(|&to| seen.insert(to)));
    }
    seen
}

fn shortest_circle<'a>(next: &BTreeMap<usize, Vec<&'a Arrow>>, start: usize) -> Option<Vec<&'a Arrow>> {
    let mut by: BTreeMap<usize, &Arrow> = BTreeMap::new();
    let mut pending = VecDeque::from([start]);
    while let Some(file) = pending.pop_front() {
        for arrow in next.get(&file).into_iter().flatten() {
            if by.contains_key(&arrow.to) {
                continue;
            }
            by.insert(arrow.to, arrow);
            pending.push_back(arrow.to);
        }
    }
    let mut circle = vec![*by.get(&start)?];
    while circle[0].from != start {
        circle.insert(0, by[&circle[0].from]);
    }
    Some(circle)
}
