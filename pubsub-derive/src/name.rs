//! The rules for the name of a channel.

use crate::suggest;
use syn::Ident;
use syn::ext::IdentExt as _;

/// Longest name, in bytes: what `NOTIFY` takes as a channel name.
const MAX_BYTES: usize = 63;

const ALLOWED: &str = "a name is made of `a-z`, `0-9`, `.`, `_` and `-`";

/// The first rule that a name breaks.
enum Fault {
    Empty,
    /// A character that no name may contain, and its position from 1.
    Stray(char, usize),
    Start(char),
    TooLong,
}

/// Refuses a name that cannot be a channel's, with a sentence that says why and what to write.
pub(crate) fn check(name: &str, of: &Ident) -> Result<(), String> {
    check_as("channel", name, || for_type(of))
}

/// Refuses a name that cannot be a subscription's. The rules are the same.
pub(crate) fn check_subscription(name: &str, handler: &Ident) -> Result<(), String> {
    check_as("subscription", name, || for_handler(handler).unwrap_or_else(|| "mailer".to_owned()))
}

fn check_as(what: &str, name: &str, example: impl Fn() -> String) -> Result<(), String> {
    Err(match fault(name) {
        None => return Ok(()),
        Some(Fault::Empty) => {
            format!("the name of a {what} cannot be empty\nwrite a name, such as `\"{}\"`", example())
        }
        Some(Fault::Stray(letter, position)) => format!(
            "{} at position {position} cannot be part of a {what}'s name\n{ALLOWED}{}",
            describe(letter),
            correction(name)
        ),
        Some(Fault::Start(first)) => format!(
            "the name of a {what} cannot start with `{first}`\nit starts with `a-z` or `0-9`{}",
            correction(name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
        ),
        Some(Fault::TooLong) => format!(
            "the name of a {what} is at most {MAX_BYTES} bytes long\nthis one has {}, so shorten it by {}",
            name.len(),
            name.len() - MAX_BYTES
        ),
    })
}

fn fault(name: &str) -> Option<Fault> {
    let Some(first) = name.chars().next() else { return Some(Fault::Empty) };
    let stray = name.chars().zip(1..).find(|(letter, _)| !is_allowed(*letter));
    if let Some((letter, position)) = stray {
        return Some(Fault::Stray(letter, position));
    }
    if !first.is_ascii_alphanumeric() {
        return Some(Fault::Start(first));
    }
    (name.len() > MAX_BYTES).then_some(Fault::TooLong)
}

fn is_allowed(letter: char) -> bool {
    matches!(letter, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

fn is_valid(name: &str) -> bool {
    fault(name).is_none()
}

/// What to call `letter` in a message: an invisible one by its name or number, the others in backquotes.
fn describe(letter: char) -> String {
    match letter {
        ' ' => "the space".to_owned(),
        '`' => "the backquote".to_owned(),
        'A'..='Z' => format!("the capital `{letter}`"),
        _ if letter.is_whitespace() || letter.is_control() => format!("`{}`", letter.escape_unicode()),
        _ => format!("`{letter}`"),
    }
}

/// The end of a message that offers the name in lower case and without spaces, if that makes it a valid one.
fn correction(name: &str) -> String {
    let corrected = suggest::snake_case(name);
    if is_valid(&corrected) { format!("; write `\"{corrected}\"`") } else { String::new() }
}

/// A valid name for the channel of the type `of`.
pub(crate) fn for_type(of: &Ident) -> String {
    let snake = suggest::snake_case(&of.unraw().to_string());
    let name = snake.trim_start_matches('_');
    // A type may be named in any script, or nothing but `_`; a channel may not.
    if is_valid(name) { name.to_owned() } else { "order_paid".to_owned() }
}

/// The name of the subscription that the handler type `of` has unless it is given another: `AuditLog` is `audit-log`.
/// `None` if its letters are not those of a name.
pub(crate) fn for_handler(of: &Ident) -> Option<String> {
    let kebab = suggest::snake_case(&of.unraw().to_string()).replace('_', "-");
    let name = kebab.trim_start_matches('-');
    is_valid(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::format_ident;

    fn message(name: &str) -> String {
        check(name, &format_ident!("OrderPaid")).unwrap_err()
    }

    #[test]
    fn names_of_the_alphabet_are_accepted() {
        for name in ["a", "7", "sms", "user.email", "order-paid", "a_b.c-d9", &"x".repeat(63)] {
            assert!(is_valid(name), "{name}");
        }
    }

    #[test]
    fn an_empty_name_offers_one() {
        assert_eq!(
            message(""),
            "the name of a channel cannot be empty\nwrite a name, such as `\"order_paid\"`"
        );
    }

    #[test]
    fn a_stray_character_is_named_with_its_position() {
        let cases = [
            ("user email", "the space at position 5", Some("user_email")),
            ("OrderPaid", "the capital `O` at position 1", Some("order_paid")),
            ("Order Paid", "the capital `O` at position 1", Some("order_paid")),
            ("order/paid", "`/` at position 6", None),
            ("größe", "`ö` at position 3", None),
            ("tab\t", "`\\u{9}` at position 4", Some("tab")),
            ("a`b", "the backquote at position 2", None),
        ];
        for (name, start, correction) in cases {
            let message = message(name);
            assert!(message.starts_with(start), "{message}");
            let offered = message.rsplit_once("; write ").map(|(_, offered)| offered.to_owned());
            assert_eq!(offered, correction.map(|name| format!("`\"{name}\"`")), "{message}");
        }
    }

    #[test]
    fn a_name_starts_with_a_letter_or_a_digit() {
        assert_eq!(
            message(".sms"),
            "the name of a channel cannot start with `.`\nit starts with `a-z` or `0-9`; write `\"sms\"`"
        );
        assert_eq!(
            message("--"),
            "the name of a channel cannot start with `-`\nit starts with `a-z` or `0-9`"
        );
    }

    #[test]
    fn a_long_name_says_by_how_much() {
        let message = message(&"x".repeat(70));
        assert!(message.ends_with("at most 63 bytes long\nthis one has 70, so shorten it by 7"), "{message}");
    }

    #[test]
    fn the_name_for_a_type_is_always_valid() {
        for (of, name) in
            [("OrderPaid", "order_paid"), ("Größe", "order_paid"), ("_Sms", "sms"), ("__", "order_paid")]
        {
            assert_eq!(for_type(&format_ident!("{of}")), name);
        }
        assert_eq!(for_type(&format_ident!("r#type")), "type");
    }

    #[test]
    fn a_handler_names_its_subscription() {
        for (of, name) in
            [("Mailer", "mailer"), ("AuditLog", "audit-log"), ("SMSGate", "sms-gate"), ("_X", "x")]
        {
            assert_eq!(for_handler(&format_ident!("{of}")).as_deref(), Some(name));
        }
        assert_eq!(for_handler(&format_ident!("Größe")), None);
    }
}
