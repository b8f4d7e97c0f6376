//! The rules for routes: each subscription has a name, no two of a channel have the same, and no channel is listed twice.

use super::parse::{Route, Routes, Target};
use crate::errors::Errors;
use crate::name;
use quote::ToTokens as _;
use std::collections::HashSet;
use syn::{Ident, Type};

/// Returns the names of the subscriptions, by route and target. Some are missing after an error.
pub(super) fn subscription_names(routes: &Routes, errors: &mut Errors) -> Vec<Vec<String>> {
    let mut listed = HashSet::new();
    for Route { channel, .. } in &routes.routes {
        let spelled = spelled(channel);
        if !listed.insert(spelled.clone()) {
            errors.push(
                channel,
                format!(
                    "`{spelled}` is listed twice\nput all its handlers in one list: `{spelled} => [.., ..]`"
                ),
            );
        }
    }
    routes.routes.iter().map(|route| names_of(route, errors)).collect()
}

fn names_of(route: &Route, errors: &mut Errors) -> Vec<String> {
    let channel = spelled(&route.channel);
    let mut names: Vec<String> = Vec::new();
    for target in &route.targets {
        let Some(name) = name_of(target, errors) else { continue };
        if names.contains(&name) {
            let handler = spelled(&target.handler);
            let message = format!(
                "`{channel}` is routed twice to the subscription `{name}`\n\
                 remove one of the two, or give it another name: `{handler} as \"{name}-2\"`"
            );
            match &target.subscription {
                Some(literal) => errors.push(literal, message),
                None => errors.push(&target.handler, message),
            }
        }
        names.push(name);
    }
    names
}

/// Returns the name of a subscription: the one that the route sets, or that of its handler.
fn name_of(target: &Target, errors: &mut Errors) -> Option<String> {
    let handler = last_word(&target.handler);
    if let Some(literal) = &target.subscription {
        let example = handler.cloned().unwrap_or_else(|| Ident::new("Mailer", literal.span()));
        return match name::check_subscription(&literal.value(), &example) {
            Ok(()) => Some(literal.value()),
            Err(message) => {
                errors.push(literal, message);
                None
            }
        };
    }
    let name = handler.and_then(name::for_handler);
    if name.is_none() {
        let spelled = spelled(&target.handler);
        errors.push(
            &target.handler,
            format!(
                "`{spelled}` cannot name a subscription\n\
                 give the subscription a name of `a-z`, `0-9`, `.`, `_` and `-`: `{spelled} as \"..\"`"
            ),
        );
    }
    name
}

/// Returns the `Mailer` of `crate::handlers::Mailer<Smtp>`.
pub(super) fn last_word(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| &last.ident),
        Type::Group(group) => last_word(&group.elem),
        _ => None,
    }
}

/// Returns a type as the source spells it, for messages and comparisons.
pub(super) fn spelled(ty: &Type) -> String {
    ty.to_token_stream()
        .to_string()
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace(" >", ">")
        .replace(" ,", ",")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// Returns the names in the routes, and the first line of each message.
    fn read(text: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let (routes, mut errors) = parse::from_text(&format!("::pubsub pub App {{ {text} }}"));
        let names = routes.map(|routes| subscription_names(&routes, &mut errors)).unwrap_or_default();
        let messages = errors.messages().into_iter();
        (names, messages.map(|message| message.lines().next().unwrap().to_owned()).collect())
    }

    #[test]
    fn subscriptions_are_named_by_their_handlers_or_by_as() {
        let (names, messages) = read(
            "Email => [Mailer, audit::AuditLog, Forward<Kafka, 3> as \"kafka.eu\" with options(1, 2),],
             events::OrderPaid<u8, u16> => Billing with SubscribeOptions::new().concurrency(4), Sms => Forward<Kafka>",
        );
        assert_eq!(messages, [""; 0]);
        assert_eq!(names, [vec!["mailer", "audit-log", "kafka.eu"], vec!["billing"], vec!["forward"]]);
    }

    #[test]
    fn a_channel_is_routed_once_to_each_subscription() {
        let (_, messages) =
            read("Email => [Mailer, a::Mailer, Audit as \"mailer\"], Sms => Mailer, Email => X");
        assert_eq!(
            messages,
            [
                "`Email` is listed twice",
                "`Email` is routed twice to the subscription `mailer`",
                "`Email` is routed twice to the subscription `mailer`",
            ]
        );
    }

    #[test]
    fn every_wrong_route_is_reported_once() {
        let (names, messages) = read(
            "Email -> Mailer, 17 => Mailer, Sms =>, Fax => [], Pager => [Mailer::new(), Good], Call => Mailer as mailer,
             A => Größe, B => M as \"Bad Name\", C => M with, D => M as \"m\" M2, Last => Good",
        );
        assert_eq!(
            messages,
            [
                "expected `=>` and a handler after the channel",
                "expected the type of a channel",
                "expected `=>` and a handler after the channel",
                "a channel needs at least one handler",
                "a route takes the type of a handler, not a value",
                "the name of a subscription is a string literal",
                "expected options after `with`",
                "missing `,` before the next route",
                "expected `=>` and a handler after the channel",
                "`Größe` cannot name a subscription",
                "the capital `B` at position 1 cannot be part of a subscription's name",
            ]
        );
        assert_eq!(names.last().unwrap(), &["good"]);
    }
}
