//! Printing. `anstream` leaves out colours in files and with `NO_COLOR`.

use crate::line::Line;
use anstyle::{AnsiColor, Style};
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::Level;

/// The insert that psql runs in the demo.
pub(crate) const PSQL_INSERT: &str =
    r#"INSERT INTO db_events (channel, payload) VALUES ('sms', '{ "msg": "yoloooo!" }')"#;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const TROUBLE: Style = AnsiColor::Yellow.on_default();
const LOSS: Style = AnsiColor::Red.on_default();

/// Prints a line.
pub(crate) fn print(text: impl Display) {
    // A reader who has gone away ends the output, not the shop.
    writeln!(anstream::stdout(), "{text}").unwrap_or_default();
}

/// Prints a fact after its name.
pub(crate) fn say(name: &str, fact: &str) {
    print(format_args!("{DIM}{name:>14}{DIM:#}  {fact}"));
}

/// Prints a headline.
pub(crate) fn headline(text: &str) {
    print(format_args!("\n{BOLD}{text}{BOLD:#}"));
}

/// Prints the names of the columns of [`line`].
pub(crate) fn columns() {
    let names = columns_of("seconds", "channel", "subscription", "event", "attempt");
    print(format_args!("\n{DIM}{names}  what happened{DIM:#}"));
}

/// Prints one line of the story.
pub(crate) fn line(at: Duration, level: Level, line: &Line) {
    let style = match level {
        Level::ERROR => LOSS,
        Level::WARN => TROUBLE,
        _ => PLAIN,
    };
    let Line { channel, subscription, event, attempt, text, .. } = line;
    let columns = columns_of(&format!("{:.3}", at.as_secs_f64()), channel, subscription, event, attempt);
    print(format_args!("{DIM}{columns}{DIM:#}  {style}{text}{style:#}"));
}

fn columns_of(seconds: &str, channel: &str, subscription: &str, event: &str, attempt: &str) -> String {
    format!("{seconds:>7}  {channel:17}  {subscription:13}  {event:>5}  {attempt:>7}")
}

/// Prints the error that ends the quickstart.
pub(crate) fn fail(why: &str) {
    writeln!(anstream::stderr(), "{LOSS}quickstart: {why}{LOSS:#}").unwrap_or_default();
}

/// Commands to try while the shop is open. They are not indented, because a here-document must end at the margin.
pub(crate) fn invite(address: SocketAddr, psql: &str) {
    let url = format!("http://{address}");
    let post = "curl -H 'content-type: application/json'";
    headline("Try it from another terminal");
    print(format_args!(
        r#"
{post} {url}/users -d '{{ "name": "Ada", "email": "ada@example.com" }}'
{post} {url}/orders -d '{{ "customer": 1, "item": "an analytical engine" }}'
curl -X POST {url}/orders/1/approve
{post} {url}/meetings -d '{{ "start": "2030-01-01T09:00:00Z", "end": "2030-01-01T10:00:00Z" }}'
curl {url}/ready
"#
    ));
    print(format_args!("{DIM}A mailbox that is full: four attempts, then a dead letter.{DIM:#}\n"));
    print(format_args!(r#"{post} {url}/users -d '{{ "name": "Grace", "email": "grace@full.example" }}'"#));
    print(format_args!("\n{DIM}From psql, or anything else that speaks SQL:{DIM:#}\n"));
    print(format_args!("{psql} <<'SQL'\n{PSQL_INSERT}\nSQL"));
    print(format_args!("\n{DIM}Ctrl-C finishes the running deliveries, and ends.{DIM:#}"));
    columns();
}
