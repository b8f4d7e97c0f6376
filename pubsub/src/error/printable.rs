//! Names in messages.

/// Returns a name for a message: characters that would act on a terminal, or hide the rest, become escapes.
pub(super) fn printable(name: &str) -> String {
    let mut printable = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '\'' | '"' | '\\' => printable.push(letter),
            _ => printable.extend(letter.escape_debug()),
        }
    }
    printable
}
