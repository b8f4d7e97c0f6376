//! Reads the table. What is wrong in one route is reported, and the next one is still read.

use crate::errors::Errors;
use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{ParseBuffer, ParseStream};
use syn::{Attribute, Ident, LitStr, Path, Token, Type, Visibility, braced, bracketed, token};

const TABLE: &str = "write `pub App { Email => [Mailer, AuditLog] }`";
const ROUTE: &str = "write `Email => Mailer`, or `Email => [Mailer, AuditLog]`";

/// What stands in the braces of `routes!`.
pub(super) struct Table {
    /// Where `pubsub` is, as its own macro says.
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
    /// The subscription's name, if it is given one.
    pub(super) subscription: Option<LitStr>,
    pub(super) options: Option<TokenStream>,
}

/// The table; `None` if it has no name under which to go on. Takes every token of `input`.
pub(super) fn table(input: ParseStream<'_>, errors: &mut Errors) -> Option<Table> {
    let table = header(input, errors);
    if let Some(table) = &table
        && errors.is_empty()
        && let Some(token) = rest(input).into_iter().next()
    {
        errors.push(token, format!("`{}` ends here: there is one table in a `routes!`", table.name));
    }
    drop(rest(input));
    table
}

fn header(input: ParseStream<'_>, errors: &mut Errors) -> Option<Table> {
    let krate = input.call(Path::parse_mod_style).ok()?;
    let attrs = input.call(Attribute::parse_outer).map_err(|error| errors.add(error)).ok()?;
    let vis: Visibility = input.parse().map_err(|error| errors.add(error)).ok()?;
    // Whoever writes a `struct` or an `enum` means well: it is one.
    let keyword = input.parse::<Token![struct]>().map(|keyword| keyword.span);
    if let Ok(span) = keyword.or_else(|_| input.parse::<Token![enum]>().map(|keyword| keyword.span)) {
        errors.push(Ident::new("_", span), format!("a table of routes has a name only\n{TABLE}"));
    }
    let Ok(name) = input.parse::<Ident>() else {
        errors.push(next(input), format!("a table of routes begins with its name\n{TABLE}"));
        return None;
    };
    if input.peek(Token![=>]) {
        errors.push(name, format!("a table of routes begins with its name\n{TABLE}"));
        return None;
    }
    if !input.peek(token::Brace) {
        let at = if input.is_empty() { name.clone().into() } else { next(input) };
        errors.push(at, format!("after `{name}` come its routes, in braces\n{TABLE}"));
        return Some(Table { krate, attrs, vis, name, routes: Vec::new() });
    }
    let body = in_braces(input).ok()?;
    let routes = routes(&body, errors);
    Some(Table { krate, attrs, vis, name, routes })
}

fn routes(input: ParseStream<'_>, errors: &mut Errors) -> Vec<Route> {
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

/// One route, up to its comma. `None` after a mistake.
fn route(input: ParseStream<'_>, errors: &mut Errors) -> Option<Route> {
    let Ok(channel) = input.parse::<Type>() else {
        errors.push(next(input), format!("a route begins with the type of a channel\n{ROUTE}"));
        return None;
    };
    if input.parse::<Token![=>]>().is_err() {
        let at = if at_end(input) { quote::quote!(#channel) } else { next(input).into() };
        errors.push(at, format!("after the channel come `=>` and who handles it\n{ROUTE}"));
        return None;
    }
    if at_end(input) {
        errors.push(&channel, format!("after the channel come `=>` and who handles it\n{ROUTE}"));
        return None;
    }
    let targets = if input.peek(token::Bracket) {
        let (bracket, inside) = in_brackets(input).ok()?;
        let list = targets(&inside, errors);
        if list.as_ref().is_some_and(Vec::is_empty) {
            errors.push(
                Ident::new("_", bracket.span.join()),
                "a channel is routed to one handler at least\n\
                 name one, or leave the route out, and publish with `Publisher<Unrouted>`",
            );
            return None;
        }
        list?
    } else {
        vec![target(input, errors)?]
    };
    Some(Route { channel, targets })
}

/// The inside of a list; `None` after a mistake.
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

/// `Mailer`, `Mailer as "mailer"`, `Mailer with SubscribeOptions::new()`, or both.
fn target(input: ParseStream<'_>, errors: &mut Errors) -> Option<Target> {
    let Ok(handler) = input.parse::<Type>() else {
        errors.push(next(input), format!("a channel is routed to the type of a handler\n{ROUTE}"));
        return None;
    };
    if input.peek(token::Paren) || input.peek(token::Brace) {
        errors.push(
            handler,
            "a route names the type of its handler, and not how it is made\n\
             say that at the start: `.routes(App::all().handler(|| ..))`",
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
            errors
                .push(with, "after `with` come options\nwrite `with SubscribeOptions::new().concurrency(4)`");
            return None;
        }
        options = Some(tokens);
    }
    Some(Target { handler, subscription, options })
}

/// The name after `as`.
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

/// Takes the comma before `what`, or the end; reports anything else.
fn comma(input: ParseStream<'_>, what: &str, errors: &mut Errors) {
    if input.is_empty() || input.parse::<Token![,]>().is_ok() {
        return;
    }
    errors.push(next(input), format!("missing `,` before {what}"));
    // What follows may be a route; if it is none, that has been said.
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

/// The next token, which stays; at the end, a token that stands there.
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

/// Takes everything.
fn rest(input: ParseStream<'_>) -> TokenStream {
    input.parse().unwrap_or_default()
}

/// Reads a table from text, for tests.
#[cfg(test)]
pub(super) fn from_text(text: &str) -> (Option<Table>, Errors) {
    let mut errors = Errors::default();
    let tokens: TokenStream = text.parse().expect("balanced tokens");
    let table = syn::parse::Parser::parse2(|input: ParseStream<'_>| Ok(table(input, &mut errors)), tokens);
    (table.expect("every token is taken"), errors)
}
