//! Turns `tracing` into lines that read like a story.
//!
//! The runtime logs the outcome of each delivery through `tracing`, and the handlers' own events inherit the delivery's span. Both
//! fill the same columns. A real application would install `tracing_subscriber::fmt` instead.

use crate::line::Line;
use crate::screen;
use std::fmt::{Debug, Write};
use std::panic::PanicHookInfo;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Installs the subscriber, and a hook that prints a panic as one line instead of a backtrace.
pub(crate) fn install() {
    let narrator = Narrator { started: Instant::now() };
    tracing_subscriber::registry().with(narrator.with_filter(filter_fn(is_told))).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("panicked: {}", in_words(panic))));
}

/// Whether an event or a span is part of the story. Every span is, because it names the delivery of an event.
fn is_told(metadata: &Metadata<'_>) -> bool {
    let most_verbose = if metadata.target().starts_with("quickstart") { Level::INFO } else { Level::WARN };
    metadata.is_span() || *metadata.level() <= most_verbose
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let known = match field.name() {
            "channel" => &mut self.channel,
            "subscription" => &mut self.subscription,
            "event" => &mut self.event,
            "attempt" => &mut self.attempt,
            "message" => &mut self.text,
            "error" => &mut self.error,
            "delay" => &mut self.delay,
            _ => return,
        };
        known.clear();
        // No digits after the point: a delay in whole milliseconds. Writing to a text cannot fail.
        write!(known, "{value:.0?}").unwrap_or_default();
    }
}

struct Narrator {
    started: Instant,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Narrator {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut line = Line::default();
        attributes.record(&mut line);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(line);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let of_span = context.event_span(event).and_then(|span| span.extensions().get::<Line>().cloned());
        let mut line = of_span.unwrap_or_default();
        event.record(&mut line);
        // A panic has had a line of its own.
        if !line.error.is_empty() && !line.error.starts_with("panicked") {
            line.text = format!("{}: {}", line.text, line.error);
        }
        if !line.delay.is_empty() {
            line.text = format!("{}, in {}", line.text, line.delay);
        }
        screen::line(self.started.elapsed(), *event.metadata().level(), &line);
    }
}

fn in_words(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("without words");
    panic
        .location()
        .map_or_else(|| message.to_owned(), |place| format!("{message} ({}:{})", place.file(), place.line()))
}
