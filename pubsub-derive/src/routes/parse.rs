//! Reads the routes. A mistake in one route does not hide those in the next.

use crate::errors::Errors;
use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{ParseBuffer, ParseStream};
use syn::{Attribute, Ident, LitStr, Path, Token, Type, Visibility, braced, bracketed, token};

const EXAMPLE: &str = "write `pub App { Email => [Mailer, AuditLog] }`";
const EXAMPLE_ROUTE: &str = "write `Email => Mailer`, or `Email => [Mailer, AuditLog]`";

/// The input of `routes!`.
pub(super) struct Routes {
    /// The path of `pubsub`, which its own macro passes on.
    pub(super) krate: Path,
    pub(super) attrs: Vec<Attribute>,
    pub(super) vis: Visibility,
    pub(super) name: Ident,
    pub(super) routes: Vec<Route>,
}

/// `Email => [Mailer, AuditLog]`.
pub(super) struct Route {
    pub(super) channel: Type,
    pub(super) targets: Vec<Target>,
}

/// `Mailer as "mailer" with SubscribeOptions::new()`.
pub(super) struct Target {
    pub(super) handler: Type,
    /// The subscription's name, if the route sets it.
    pub(super) subscription: Option<LitStr>,
    pub(super) options: Option<TokenStream>,
}

/// Reads the routes, and takes every token of `input`. Returns `None` if they have no name.
pub(super) fn routes(input: ParseStream<'_>, errors: &mut Errors) -> Option<Routes> {
    let routes = named_routes(input, errors);
    if let Some(routes) = &routes
        && errors.is_empty()
        && let Some(token) = rest(input).into_iter().next()
    {
        let message = format!(
            "unexpected `{token}` after the routes of `{}`\nwrite a `routes!` for each type",
            routes.name
        );
        errors.push(token, message);
    }
    drop(rest(input));
    routes
}

fn named_routes(input: ParseStream<'_>, errors: &mut Errors) -> Option<Routes> {
    let krate = input.call(Path::parse_mod_style).ok()?;
    let attrs = input.call(Attribute::parse_outer).map_err(|error| errors.add(error)).ok()?;
    let vis: Visibility = input.parse().map_err(|error| errors.add(error)).ok()?;
    // `struct` and `enum` are an easy mistake to make, because the name becomes a type.
    let keyword = input.parse::<Token![struct]>().map(|keyword| keyword.span);
    if let Ok(span) = keyword.or_else(|_| input.parse::<Token![enum]>().map(|keyword| keyword.span)) {
        errors.push(
            Ident::new("_", span),
            format!("the name of the routes needs no `struct` or `enum`\n{EXAMPLE}"),
        );
    }
    let Ok(name) = input.parse::<Ident>() else {
        errors.push(next(input), format!("routes begin with their name\n{EXAMPLE}"));
        return None;
    };
    if input.peek(Token![=>]) {
        errors.push(name, format!("routes begin with their name\n{EXAMPLE}"));
        return None;
    }
    if !input.peek(token::Brace) {
        let at = if input.is_empty() { name.clone().into() } else { next(input) };
        errors.push(at, format!("expected the routes of `{name}` in braces\n{EXAMPLE}"));
        return Some(Routes { krate, attrs, vis, name, routes: Vec::new() });
    }
    let body = in_braces(input).ok()?;
    let routes = list(&body, errors);
    Some(Routes { krate, attrs, vis, name, routes })
}

fn list(input: ParseStream<'_>, errors: &mut Errors) -> Vec<Route> {
    let mut routes = Vec::new();
    while !input.is_empty() {
        match route(input, errors) {
            Some(route) => routes.push(route),
            None => drop(until_comma(input)),
        }
        comma(input, "the next route", errors);
    }
    routes
}

/// Reads one route, up to its comma. Returns `None` after a mistake.
fn route(input: ParseStream<'_>, errors: &mut Errors) -> Option<Route> {
    let Ok(channel) = input.parse::<Type>() else {
        errors.push(next(input), format!("expected the type of a channel\n{EXAMPLE_ROUTE}"));
        return None;
    };
    if input.parse::<Token![=>]>().is_err() {
        let at = if at_end(input) { quote::quote!(#channel) } else { next(input).into() };
        errors.push(at, format!("expected `=>` and a handler after the channel\n{EXAMPLE_ROUTE}"));
        return None;
    }
    if at_end(input) {
        errors.push(&channel, format!("expected `=>` and a handler after the channel\n{EXAMPLE_ROUTE}"));
        return None;
    }
    let targets = if input.peek(token::Bracket) {
        let (bracket, inside) = in_brackets(input).ok()?;
        let list = targets(&inside, errors);
        if list.as_ref().is_some_and(Vec::is_empty) {
            errors.push(
                Ident::new("_", bracket.span.join()),
                "a channel needs at least one handler\n\
                 name one, or leave the channel out and publish with `Publisher<Unrouted>`",
            );
            return None;
        }
        list?
    } else {
        vec![target(input, errors)?]
    };
    Some(Route { channel, targets })
}

/// Reads the contents of a list. Returns `None` after a mistake.
fn targets(input: ParseStream<'_>, errors: &mut Errors) -> Option<Vec<Target>> {
    let mut targets = Some(Vec::new());
    while !input.is_empty() {
        match (target(input, errors), &mut targets) {
            (Some(target), Some(targets)) => targets.push(target),
            (Some(_), None) => {}
            (None, targets) => {
                *targets = None;
                drop(until_comma(input));
            }
        }
        comma(input, "the next handler", errors);
    }
    targets
}

/// Reads `Mailer`, `Mailer as "mailer"`, `Mailer with SubscribeOptions::new()`, or both.
fn target(input: ParseStream<'_>, errors: &mut Errors) -> Option<Target> {
    let Ok(handler) = input.parse::<Type>() else {
        errors.push(next(input), format!("expected the type of a handler\n{EXAMPLE_ROUTE}"));
        return None;
    };
    if input.peek(token::Paren) || input.peek(token::Brace) {
        errors.push(
            handler,
            "a route takes the type of a handler, not a value\n\
             make the value where the runtime starts: `.routes(App::all().handler(|| ..))`",
        );
        return None;
    }
    let mut subscription = None;
    if input.parse::<Token![as]>().is_ok() {
        subscription = Some(name(input, errors)?);
    }
    let mut options = None;
    if input.peek(Ident) && input.fork().parse::<Ident>().is_ok_and(|word| word == "with") {
        let with = input.parse::<Ident>().ok()?;
        let tokens = until_comma(input);
        if tokens.is_empty() {
            errors.push(
                with,
                "expected options after `with`\nwrite `with SubscribeOptions::new().concurrency(4)`",
            );
            return None;
        }
        options = Some(tokens);
    }
    Some(Target { handler, subscription, options })
}

/// Reads the name after `as`.
fn name(input: ParseStream<'_>, errors: &mut Errors) -> Option<LitStr> {
    if let Ok(name) = input.parse::<LitStr>() {
        return Some(name);
    }
    let at = if at_end(input) { None } else { Some(next(input)) };
    let write = match &at {
        Some(TokenTree::Ident(word)) => format!("`as \"{word}\"`"),
        _ => "a name in quotes, such as `as \"mailer\"`".to_owned(),
    };
    let message = format!("the name of a subscription is a string literal\nwrite {write}");
    match at {
        Some(token) => errors.push(token, message),
        None => errors.add(input.error(message)),
    }
    None
}

/// Takes the comma before `what`, or the end of the input. Reports anything else.
fn comma(input: ParseStream<'_>, what: &str, errors: &mut Errors) {
    if input.is_empty() || input.parse::<Token![,]>().is_ok() {
        return;
    }
    errors.push(next(input), format!("missing `,` before {what}"));
    // A route may follow. Anything else is reported already.
    if !input.peek(Ident) {
        drop(until_comma(input));
        drop(input.parse::<Token![,]>());
    }
}

fn in_braces(input: ParseStream<'_>) -> syn::Result<ParseBuffer<'_>> {
    let inside;
    braced!(inside in input);
    Ok(inside)
}

fn in_brackets(input: ParseStream<'_>) -> syn::Result<(token::Bracket, ParseBuffer<'_>)> {
    let inside;
    let bracket = bracketed!(inside in input);
    Ok((bracket, inside))
}

fn at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// Returns the next token without taking it, or an invented token at the end.
fn next(input: ParseStream<'_>) -> TokenTree {
    let fork = input.fork();
    fork.parse().unwrap_or_else(|_| TokenTree::Ident(Ident::new("_", input.span())))
}

/// Takes everything before the next comma.
fn until_comma(input: ParseStream<'_>) -> TokenStream {
    let mut taken = TokenStream::new();
    while !at_end(input) {
        taken.extend(input.parse::<TokenTree>().ok());
    }
    taken
}

/// Takes all remaining tokens.
fn rest(input: ParseStream<'_>) -> TokenStream {
    input.parse().unwrap_or_default()
}

/// Reads routes from text, for tests.
#[cfg(test)]
pub(super) fn from_text(text: &str) -> (Option<Routes>, Errors) {
    let mut errors = Errors::default();
    let tokens: TokenStream = text.parse().expect("balanced tokens");
    let routes = syn::parse::Parser::parse2(|input: ParseStream<'_>| Ok(routes(input, &mut errors)), tokens);
    (routes.expect("every token is taken"), errors)
}
