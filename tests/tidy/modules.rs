//! The modules of a crate, read from its text: the items that each defines, its imports and the paths in its code.

use crate::source::File;
use std::collections::{BTreeMap, BTreeSet};

/// A path as it is written: `crate::a::b`, `super::c`, `d`. A leading `::` is an empty first segment.
pub(crate) type Path = Vec<String>;

/// An imported name. The name of a glob import is `*`.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) line: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The index of the file that contains the module.
    pub(crate) file: usize,
    pub(crate) items: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// Paths in the code, with their lines.
    pub(crate) paths: Vec<(Path, usize)>,
}

/// A crate: its modules by their path from the root. The root's path is empty.
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<Path, Module>,
}

impl Crate {
    /// Reads the crate whose root is the file `root`, an index into `files`.
    pub(crate) fn read(files: &[File], root: usize) -> Self {
        let by_path = files.iter().enumerate().map(|(index, file)| (file.path.as_str(), index)).collect();
        let mut modules = BTreeMap::new();
        let mut pending = vec![(Path::new(), root)];
        while let Some((path, file)) = pending.pop() {
            let tokens = tokens(&files[file]);
            let mut reader =
                Reader { tokens, at: 0, file, path, modules: &mut modules, children: Vec::new() };
            reader.read();
            let children = std::mem::take(&mut reader.children);
            let found = |path: Path| Some((path.clone(), child_file(&files[file].path, &path, &by_path)?));
            pending.extend(children.into_iter().filter_map(found));
        }
        Self { modules }
    }
}

/// Returns the file of the module `path` that the file `parent` declares.
fn child_file(parent: &str, path: &[String], files: &BTreeMap<&str, usize>) -> Option<usize> {
    let (directory, name) = parent.rsplit_once('/')?;
    let stem = name.trim_end_matches(".rs");
    let (child, outer) = path.split_last()?;
    let directory = match stem {
        "lib" | "main" | "mod" => directory.to_owned(),
        _ => format!("{directory}/{stem}"),
    };
    // A module that is declared inside of an inline module lies in a directory of the inline module's name.
    let inline = outer.last().filter(|outer| !directory.ends_with(&format!("/{outer}")));
    let directories = [Some(directory.clone()), inline.map(|inline| format!("{directory}/{inline}"))];
    let candidates = directories
        .into_iter()
        .flatten()
        .flat_map(|directory| [format!("{directory}/{child}.rs"), format!("{directory}/{child}/mod.rs")]);
    candidates.filter_map(|candidate| files.get(candidate.as_str()).copied()).next()
}

/// A token of Rust: a word, `::`, or another character.
pub(crate) type Token<'a> = (usize, &'a str);

/// The tokens of a file's code without its unit tests.
pub(crate) fn tokens(file: &File) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, code) in file.lines() {
        let mut rest = code.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                _ => word,
            };
            tokens.push((line, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads one file.
struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    file: usize,
    /// The path of the module that is being read.
    path: Path,
    modules: &'a mut BTreeMap<Path, Module>,
    /// The modules that are declared and not inline.
    children: Vec<Path>,
}

impl Reader<'_> {
    fn read(&mut self) {
        // The depths of braces at which the inline modules began.
        let (mut depth, mut inline) = (0, Vec::new());
        self.module();
        while let Some(&(line, token)) = self.tokens.get(self.at) {
            let next = self.token(1).to_owned();
            match token {
                "mod" if self.token(2) == "{" => {
                    self.path.push(next);
                    self.module();
                    inline.push(depth);
                    depth += 1;
                    self.at += 2;
                }
                "mod" if self.token(2) == ";" => {
                    let child = self.path.iter().cloned().chain([next]).collect();
                    self.children.push(child);
                    self.at += 2;
                }
                "use" if next != "<" => {
                    self.at += 1;
                    self.imports(Path::new());
                    continue;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union"
                    if depth == inline.len() =>
                {
                    self.module().items.insert(next);
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        self.path.pop();
                    }
                }
                _ if next == "::" && token.chars().all(is_word) => {
                    let path = self.path_in_code();
                    self.module().paths.push((path, line));
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn module(&mut self) -> &mut Module {
        let file = self.file;
        self.modules.entry(self.path.clone()).or_insert_with(|| Module { file, ..Module::default() })
    }

    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |(_, token)| token)
    }

    /// Reads a path in the code, up to its last word.
    fn path_in_code(&mut self) -> Path {
        let mut path = vec![self.token(0).to_owned()];
        if self.at > 0 && self.tokens[self.at - 1].1 == "::" {
            path.insert(0, String::new());
        }
        while self.token(1) == "::" && self.token(2).chars().all(is_word) && !self.token(2).is_empty() {
            path.push(self.token(2).to_owned());
            self.at += 2;
        }
        path
    }

    /// Reads a tree of imports, up to what follows it.
    fn imports(&mut self, mut path: Path) {
        loop {
            let (line, token) = self.tokens.get(self.at).copied().unwrap_or((0, ""));
            self.at += 1;
            match token {
                "::" if path.is_empty() => path.push(String::new()),
                "::" => {}
                "{" => {
                    while !["}", ""].contains(&self.token(0)) {
                        self.imports(path.clone());
                        self.at += usize::from(self.token(0) == ",");
                    }
                    self.at += 1;
                    return;
                }
                "*" => return self.import("*", path, line),
                "self" if !path.is_empty() => {
                    let name = path.last().cloned().unwrap_or_default();
                    return self.import(&name, path, line);
                }
                _ => path.push(token.to_owned()),
            }
            if token != "::" && self.token(0) != "::" {
                let name = path.last().cloned().unwrap_or_default();
                return self.import(&name, path, line);
            }
        }
    }

    fn import(&mut self, name: &str, path: Path, line: usize) {
        let mut name = name.to_owned();
        if self.token(0) == "as" {
            name = self.token(1).to_owned();
            self.at += 2;
        }
        self.module().imports.push(Import { name, path, line });
    }
}

#[test]
fn imports_are_read_with_their_braces_and_aliases() {
    let text = "use crate::a::{self, b::{C, D as E}, f::*};\nuse ::g::H;\npub(crate) use super::i;\n";
    let files = [File::new("x/src/lib.rs", text)];
    let read = Crate::read(&files, 0);
    let imports = &read.modules[&Path::new()].imports;
    let imports: Vec<_> = imports.iter().map(|import| (&*import.name, import.path.join("::"))).collect();
    let expected = [
        ("a", "crate::a"),
        ("C", "crate::a::b::C"),
        ("E", "crate::a::b::D"),
        ("*", "crate::a::f"),
        ("H", "::g::H"),
        ("i", "super::i"),
    ];
    assert_eq!(imports, expected.map(|(name, path)| (name, path.to_owned())));
}

#[test]
fn modules_are_found_inline_and_in_their_files() {
    let files = [
        File::new(
            "x/src/lib.rs",
            "mod a;\nmod b { pub struct B; mod c { fn d() { a::f::<T>() } } }\nfn e() {}",
        ),
        File::new("x/src/a.rs", "mod g;"),
        File::new("x/src/a/g.rs", "const H: u8 = super::I;"),
    ];
    let read = Crate::read(&files, 0);
    let paths: Vec<_> = read.modules.iter().map(|(path, module)| (path.join("::"), module.file)).collect();
    let expected = [("", 0), ("a", 1), ("a::g", 2), ("b", 0), ("b::c", 0)];
    assert_eq!(paths, expected.map(|(path, file)| (path.to_owned(), file)));
    assert_eq!(read.modules[&Path::new()].items, BTreeSet::from(["e".to_owned()]));
    let nested = &read.modules[&vec!["b".to_owned(), "c".to_owned()]];
    assert_eq!(nested.paths, [(vec!["a".to_owned(), "f".to_owned()], 2)]);
}
