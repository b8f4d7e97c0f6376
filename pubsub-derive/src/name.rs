//! The rules for the names of channels and subscriptions.

use crate::suggest;
use syn::Ident;
use syn::ext::IdentExt as _;

/// The longest name, in bytes. `NOTIFY` takes no longer ones.
const MAX_BYTES: usize = 63;

const ALLOWED: &str = "a name is made of `a-z`, `0-9`, `.`, `_` and `-`";

/// The first rule that a name breaks.
enum BrokenRule {
    Empty,
    /// It contains a character that is not allowed, at a position from 1.
    Character(char, usize),
    /// It starts with a character that is only allowed later.
    Start(char),
    TooLong,
}

/// Checks the name of a channel. The error says why it is refused, and what to write.
pub(crate) fn check(name: &str, of: &Ident) -> Result<(), String> {
    check_as("channel", name, || for_type(of))
}

/// Checks the name of a subscription, by the same rules.
pub(crate) fn check_subscription(name: &str, handler: &Ident) -> Result<(), String> {
    check_as("subscription", name, || for_handler(handler).unwrap_or_else(|| "mailer".to_owned()))
}

fn check_as(what: &str, name: &str, example: impl Fn() -> String) -> Result<(), String> {
    Err(match broken_rule(name) {
        None => return Ok(()),
        Some(BrokenRule::Empty) => {
            format!("the name of a {what} cannot be empty\nwrite a name, such as `\"{}\"`", example())
        }
        Some(BrokenRule::Character(letter, position)) => format!(
            "{} at position {position} cannot be part of a {what}'s name\n{ALLOWED}{}",
            describe(letter),
            correction(name)
        ),
        Some(BrokenRule::Start(first)) => format!(
            "the name of a {what} cannot start with `{first}`\nit must start with `a-z` or `0-9`{}",
            correction(name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
        ),
        Some(BrokenRule::TooLong) => format!(
            "the name of a {what} is at most {MAX_BYTES} bytes long\nthis one has {}, so shorten it by {}",
            name.len(),
            name.len() - MAX_BYTES
        ),
    })
}

fn broken_rule(name: &str) -> Option<BrokenRule> {
    let Some(first) = name.chars().next() else { return Some(BrokenRule::Empty) };
    let not_allowed = name.chars().zip(1..).find(|(letter, _)| !is_allowed(*letter));
    if let Some((letter, position)) = not_allowed {
        return Some(BrokenRule::Character(letter, position));
    }
    if !first.is_ascii_alphanumeric() {
        return Some(BrokenRule::Start(first));
    }
    (name.len() > MAX_BYTES).then_some(BrokenRule::TooLong)
}

fn is_allowed(letter: char) -> bool {
    matches!(letter, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

fn is_valid(name: &str) -> bool {
    broken_rule(name).is_none()
}

/// Returns `letter` for a message: by its name or number if it is invisible, and in backquotes otherwise.
fn describe(letter: char) -> String {
    match letter {
        ' ' => "the space".to_owned(),
        '`' => "the backquote".to_owned(),
        'A'..='Z' => format!("the capital `{letter}`"),
        _ if letter.is_whitespace() || letter.is_control() => format!("`{}`", letter.escape_unicode()),
        _ => format!("`{letter}`"),
    }
}

/// Returns the end of a message, which offers the name in lower case and without spaces if that makes it valid.
fn correction(name: &str) -> String {
    let corrected = suggest::snake_case(name);
    if is_valid(&corrected) { format!("; write `\"{corrected}\"`") } else { String::new() }
}

/// Returns a valid name for the channel of the type `of`.
pub(crate) fn for_type(of: &Ident) -> String {
    let snake = suggest::snake_case(&of.unraw().to_string());
    let name = snake.trim_start_matches('_');
    // A type's name may be in any script, or only `_`. That of a channel may not.
    if is_valid(name) { name.to_owned() } else { "order_paid".to_owned() }
}

/// Returns the default name of the subscription of the handler type `of`: `AuditLog` is `audit-log`. Returns `None` if it is
/// not a valid name.
pub(crate) fn for_handler(of: &Ident) -> Option<String> {
    let kebab = suggest::snake_case(&of.unraw().to_string()).replace('_', "-");
    let name = kebab.trim_start_matches('-');
    is_valid(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use quote::format_ident;

    /// The pattern by which the database checks names.
    fn pattern() -> &'static str {
        let sql = include_str!("../../migrations/functions/channels.sql");
        let (_, rest) = sql.split_once("declare_channel.name !~ '^").expect("the check of a name");
        rest.split_once("$'").expect("the end of the pattern").0
    }

    proptest! {
        #[test]
        fn a_name_that_the_database_accepts_is_accepted(name in string_regex(pattern()).unwrap()) {
            prop_assert!(is_valid(&name));
        }

        #[test]
        fn any_other_name_is_refused_in_printable_words(name in prop_oneof!["[a-z0-9._-]{0,66}", ".{0,9}", any::<String>()]) {
            // As `pattern` has it.
            let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let is_name = name.starts_with(is_letter)
                && name.len() <= 63
                && name.chars().all(|c| is_letter(c) || ['.', '_', '-'].contains(&c));
            match check(&name, &format_ident!("OrderPaid")) {
                Ok(()) => prop_assert!(is_name),
                Err(message) => prop_assert!(!is_name && !message.replace('\n', "").contains(char::is_control)),
            }
        }
    }

    #[test]
    fn the_database_has_the_same_rule() {
        assert_eq!(pattern(), "[a-z0-9][a-z0-9._-]{0,62}");
    }

    fn message(name: &str) -> String {
        check(name, &format_ident!("OrderPaid")).unwrap_err()
    }

    #[test]
    fn names_of_allowed_characters_are_accepted() {
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
    fn a_character_that_is_not_allowed_is_named() {
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
            "the name of a channel cannot start with `.`\nit must start with `a-z` or `0-9`; write `\"sms\"`"
        );
        assert_eq!(
            message("--"),
            "the name of a channel cannot start with `-`\nit must start with `a-z` or `0-9`"
        );
    }

    #[test]
    fn a_long_name_is_refused_with_the_excess() {
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
