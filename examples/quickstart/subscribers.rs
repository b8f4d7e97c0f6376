//! The handlers: plain actix actors, and closures.
//!
//! A `tracing` event inside a delivery carries the delivery's channel, subscription, event and attempt, which fill the columns of
//! the output.

use crate::events::{Email, InstantMessage, Scheduling, Sms};
use crate::outside::Outside;
use actix::{Actor, Context, Handler, ResponseFuture};
use pubsub::{Builder, Delivery, Handled};
use std::sync::Arc;
use tracing::{Instrument, info};

/// Adds the subscriptions. Two of them are on `email`, and each gets every e-mail.
pub(crate) fn subscribe(builder: Builder, outside: &Arc<Outside>) -> Builder {
    let (for_phones, for_mail) = (Arc::clone(outside), Arc::clone(outside));
    builder
        .subscribe::<Sms, _>("phone-gateway", move || PhoneGateway {
            outside: Arc::clone(&for_phones),
            sent: 0,
        })
        .subscribe::<Email, _>("mailer", move || Mailer { outside: Arc::clone(&for_mail) })
        .subscribe::<Scheduling, _>("calendar", || Calendar)
        .subscribe_fn("archive", archive)
        .subscribe_fn("team-chat", chat)
}

/// Sends text messages. It has a bug and panics once. Then the factory makes a fresh actor.
struct PhoneGateway {
    outside: Arc<Outside>,
    /// State of this actor, which a restart resets.
    sent: u32,
}

impl Actor for PhoneGateway {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for PhoneGateway {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
        assert!(!self.outside.bug_strikes(), "a bug of the kind that nobody can reproduce");
        self.sent += 1;
        info!("text message no. {} of this actor: {}", self.sent, sms.msg);
        Ok(())
    }
}

/// Sends e-mails through a provider. `?` on its error means: retry after the backoff.
struct Mailer {
    outside: Arc<Outside>,
}

impl Actor for Mailer {
    type Context = Context<Self>;
}

impl Handler<Delivery<Email>> for Mailer {
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, email: Delivery<Email>, _: &mut Self::Context) -> Self::Result {
        let outside = Arc::clone(&self.outside);
        let sending = async move {
            outside.mail(&email.receiver).await?;
            info!("e-mail ({}) to {}", email.email_type, email.receiver);
            Ok(())
        };
        Box::pin(sending.in_current_span())
    }
}

/// Puts meetings into calendars.
struct Calendar;

impl Actor for Calendar {
    type Context = Context<Self>;
}

impl Handler<Delivery<Scheduling>> for Calendar {
    type Result = Handled;

    fn handle(&mut self, meeting: Delivery<Scheduling>, _: &mut Self::Context) -> Self::Result {
        info!("meeting from {} to {}", meeting.start, meeting.end);
        Ok(())
    }
}

/// Keeps a copy of every e-mail, whether the mailer succeeds or not.
fn archive(email: Delivery<Email>) -> impl Future<Output = Handled> {
    async move {
        info!("copy of the e-mail ({}) to {}", email.email_type, email.receiver);
        Ok(())
    }
    .in_current_span()
}

/// Writes to the team's chat.
fn chat(message: Delivery<InstantMessage>) -> impl Future<Output = Handled> {
    async move {
        info!("in the team's chat: {}", message.msg);
        Ok(())
    }
    .in_current_span()
}
