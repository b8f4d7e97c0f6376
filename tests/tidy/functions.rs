//! Rules about the length of functions.

use crate::modules::tokens;
use crate::rules::Found;
use crate::source::File;

const MAX_RUST_LINES: usize = 70;
const MAX_SQL_LINES: usize = 80;

pub(crate) fn length(file: &File) -> Vec<Found> {
    let (functions, limit) = if file.is(".rs") {
        (rust_functions(file), MAX_RUST_LINES)
    } else if file.path.starts_with("migrations/") && file.is(".sql") {
        (sql_functions(file), MAX_SQL_LINES)
    } else {
        return Vec::new();
    };
    let long = functions.into_iter().filter(|function| function.lines > limit);
    long.map(|function| (function.line, format!("`{}` has {} lines", function.name, function.lines)))
        .collect()
}

pub(crate) struct Function {
    pub(crate) name: String,
    /// Its first line.
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The functions of a file of Rust that are not unit tests.
fn rust_functions(file: &File) -> Vec<Function> {
    let tokens = tokens(file);
    let mut functions = Vec::new();
    for (at, &(line, token)) in tokens.iter().enumerate() {
        let name = tokens.get(at + 1).filter(|(_, name)| token == "fn" && *name != "(");
        let Some(&(_, name)) = name else { continue };
        let (mut braces, mut brackets) = (0, 0);
        let is_last = |&(_, token): &(usize, &str)| {
            match token {
                "{" => braces += 1,
                "}" => braces -= 1,
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets -= 1,
                _ => {}
            }
            braces == 0 && brackets <= 0 && [";", "}"].contains(&token)
        };
        let last = tokens[at..].iter().copied().find(is_last);
        if let Some((last, _)) = last {
            functions.push(Function { name: name.to_owned(), line, lines: last + 1 - line });
        }
    }
    functions
}

/// The functions and procedures of a file of SQL.
pub(crate) fn sql_functions(file: &File) -> Vec<Function> {
    let lines: Vec<&str> = file.code.lines().collect();
    let name = |code: &str| {
        let rest = code.strip_prefix("create ")?;
        let rest = rest.strip_prefix("or replace ").unwrap_or(rest);
        let rest = rest.strip_prefix("function ").or_else(|| rest.strip_prefix("procedure "))?;
        Some(rest.split('(').next().unwrap_or_default().to_owned())
    };
    let mut functions = Vec::new();
    for (at, name) in lines.iter().enumerate().filter_map(|(at, code)| Some((at, name(code)?))) {
        let (mut quotes, mut is_atomic) = (0, false);
        let is_last = |code: &&str| {
            quotes += code.matches("$$").count();
            is_atomic |= code.starts_with("begin atomic");
            quotes % 2 == 0
                && if is_atomic { code.starts_with("end;") } else { code.trim_end().ends_with(';') }
        };
        let last = lines[at..].iter().position(is_last).unwrap_or(0);
        functions.push(Function { name, line: at + 1, lines: last + 1 });
    }
    functions
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_last() {
    let rust = "fn a(\n    b: [u8; 2],\n) {\n    { c }\n}\ntrait D { fn e(f: fn()); }\n";
    let rust = rust_functions(&File::new("a.rs", rust));
    let measured: Vec<_> =
        rust.iter().map(|function| (&*function.name, function.line, function.lines)).collect();
    assert_eq!(measured, [("a", 1, 5), ("e", 6, 1)]);

    let sql = "create or replace function a(b integer) returns integer\nas $$\nselect 1;\n$$;\n\
               create procedure c()\nreturn 1;\ncreate function d()\nbegin atomic\n    select 1;\nend;\n";
    let sql = sql_functions(&File::new("migrations/functions/a.sql", sql));
    let measured: Vec<_> =
        sql.iter().map(|function| (&*function.name, function.line, function.lines)).collect();
    assert_eq!(measured, [("a", 1, 4), ("c", 5, 2), ("d", 7, 4)]);
}
