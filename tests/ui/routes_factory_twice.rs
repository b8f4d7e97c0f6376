//! Two factories for one handler.

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

struct Billing {
    ledger: String,
}

impl Actor for Billing {
    type Context = Context<Self>;
}

impl Handler<Delivery<Email>> for Billing {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Email>, _: &mut Self::Context) -> Handled {
        self.ledger.push('x');
        Ok(())
    }
}

pubsub::routes! {
    pub App { Email => [Mailer, Billing] }
}

fn main() {
    let billing = || Billing { ledger: String::new() };
    drop(pubsub::PubSub::builder("").routes(App::all().handler(billing).handler(billing)));
}
