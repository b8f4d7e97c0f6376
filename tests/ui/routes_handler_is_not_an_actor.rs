//! A handler that is not an actor.

use actix::{Actor, Context, Handler};
use pubsub::{Channel, Delivery, Handled};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("email")]
struct Email;

#[derive(Serialize, Deserialize, Channel)]
#[channel("sms")]
struct Sms;

#[derive(Default)]
struct Mailer;

impl Actor for Mailer {
    type Context = Context<Self>;
}

impl Handler<Delivery<Email>> for Mailer {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Email>, _: &mut Self::Context) -> Handled {
        Ok(())
    }
}

struct Nobody;

pubsub::routes! {
    pub App { Email => [Mailer, Nobody as "nobody"] }
}

fn main() {
    drop(Nobody);
}
