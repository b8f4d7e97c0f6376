//! Every form of `routes!`.

use actix::{Actor, Context, Handler};
use pubsub::routing::{Publisher, Unrouted};
use pubsub::{Channel, Delivery, Handled, PubSub, SubscribeOptions};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

mod events {
    use super::*;

    #[derive(Serialize, Deserialize, Channel)]
    #[channel("email")]
    pub struct Email;

    #[derive(Serialize, Deserialize, Channel)]
    #[channel("envelope")]
    pub struct Envelope<T, U> {
        pub content: (T, U),
    }

    /// A channel that is implemented by hand.
    #[derive(Serialize, Deserialize)]
    pub struct Fax;

    impl Channel for Fax {
        const NAME: &'static str = "fax";
    }
}

use events::Email;

/// A handler without `Default`.
struct Mailer {
    host: &'static str,
}

#[derive(Default)]
struct AuditLog;

struct Forward<T>(PhantomData<T>);

impl<T> Default for Forward<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

macro_rules! handler {
    ($handler:ty, $($channel:ty),*) => {
        impl Actor for $handler {
            type Context = Context<Self>;
        }

        $(impl Handler<Delivery<$channel>> for $handler {
            type Result = Handled;

            fn handle(&mut self, _: Delivery<$channel>, _: &mut Self::Context) -> Handled {
                Ok(())
            }
        })*
    };
}

handler!(Mailer, events::Email);
handler!(AuditLog, events::Email, events::Envelope<u8, String>, events::Fax);
handler!(Forward<u8>, events::Email);
handler!(Forward<u16>, events::Email);

pubsub::routes! {
    /// The routes of an application.
    pub App {
        Email => [
            Mailer,
            AuditLog as "audit",
            Forward<u8>,
            Forward<u16> as "forward.wide" with SubscribeOptions::new().concurrency(concurrency(1, 2)).ordered(),
            AuditLog,
        ],
        events::Envelope<u8, String> => AuditLog with SubscribeOptions::new().max_attempts(3),
        events::Fax => AuditLog,
    }
}

pubsub::routes! { Nothing {} }

pubsub::routes!(pub(crate) Little { Email => AuditLog });

/// A module with names that the expansion must not confuse with the real ones.
mod shadowed {
    #![allow(dead_code, non_camel_case_types)]

    mod pubsub {}
    mod core {}
    struct Option;
    struct Handlers;
    struct Publisher;
    struct SubscribeOptions;
    trait Channel {}

    ::pubsub::routes! { pub App { super::Email => super::AuditLog } }
}

fn concurrency(a: usize, b: usize) -> usize {
    a + b
}

async fn publish(session: &tokio_postgres::Client, everywhere: Publisher<Unrouted>) {
    let app: Publisher<App> = App::publisher();
    let events = [Email, Email];
    drop(app.publish(session, &Email).await);
    drop(app.publish_with(session, &Email, &pubsub::PublishOptions::new().key("k")).await);
    drop(app.publish_all(session, &events).await);
    drop(app.publish(session, &events::Envelope { content: (1_u8, String::new()) }).await);
    drop(app.publish(session, &events::Fax).await);
    drop(Publisher::<Little>::new().publish(session, &Email).await);
    drop(everywhere.publish(session, &Email).await);
    drop(everywhere.clone().publish(session, &events::Fax).await);
}

fn main() {
    let url = "postgres://localhost/shop";
    let host = String::from("smtp");
    let all = App::all().handler(|| Mailer { host: "localhost" }).handler(|| AuditLog);
    let builder = PubSub::builder(url).routes(all).routes(Nothing::all()).routes(Nothing::only());
    drop(builder.routes(Little::all()));
    drop(PubSub::builder(url).routes(App::only()));
    drop(PubSub::builder(url).routes(App::only().handler(move || Mailer { host: if host.is_empty() { "" } else { "h" } })));
    drop(PubSub::builder(url).routes(shadowed::App::all()));
    let _ = Mailer { host: "" }.host;
    let _ = publish;
}
