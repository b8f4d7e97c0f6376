//! The story of `--demo`. Every act waits for its effects.

use crate::database::Database;
use crate::events::Email;
use crate::failed::Failed;
use crate::observer::Observer;
use crate::outside::Outside;
use crate::screen::{self, PSQL_INSERT};
use crate::shop::Shop;
use crate::shopper::Shopper;
use crate::summary::Summary;
use pubsub::{EventId, PubSub};
use serde_json::json;
use std::sync::Arc;

/// Tells the story, closes the shop, and sums up.
pub(crate) async fn run(mut shop: Shop, database: &Database) -> Result<(), Failed> {
    let story = Story {
        shopper: Shopper::new(shop.address),
        outside: Arc::clone(&shop.outside),
        observer: Observer::new(shop.pubsub.clone(), database).await?,
        pubsub: shop.pubsub.clone(),
    };
    screen::columns();
    let totals = tokio::select! {
        totals = story.tell(database) => totals,
        closed = &mut shop.serving => {
            closed?;
            return Err("interrupted".into());
        }
    };
    let Story { pubsub, .. } = story;
    shop.close().await?;
    let Totals { published, redriven } = totals?;
    Summary::new(published, redriven, pubsub.handlers()).show()
}

/// The counts that only the story knows.
struct Totals {
    published: i64,
    redriven: u64,
}

struct Story {
    shopper: Shopper,
    pubsub: PubSub,
    outside: Arc<Outside>,
    observer: Observer,
}

impl Story {
    async fn tell(&self, database: &Database) -> Result<Totals, Failed> {
        let before = self.observer.events().await?;
        let (ada, grace) = self.observer.addresses().await?;
        self.sign_up(&ada).await?;
        self.refuse_bad_requests(&ada).await?;
        self.order(&ada).await?;
        self.meet().await?;
        self.insert_by_psql(database).await?;
        let letter = self.fill_a_mailbox(&grace).await?;
        let redriven = self.make_room(letter).await?;
        Ok(Totals { published: self.observer.events().await? - before, redriven })
    }

    async fn sign_up(&self, ada: &str) -> Result<(), Failed> {
        screen::headline("Ada signs up. One transaction stores her and publishes an SMS and an e-mail.");
        let before = self.pubsub.handlers();
        self.shopper.post("/users", &json!({ "name": "Ada", "email": ada }), 201).await?;
        self.observer.handled(&before, "phone-gateway", 1).await?;
        self.observer.handled(&before, "archive", 1).await?;
        self.observer.handled(&before, "mailer", 1).await
    }

    async fn refuse_bad_requests(&self, ada: &str) -> Result<(), Failed> {
        screen::headline("A bad body is refused. A duplicate fails at its commit, and so do its events.");
        let before = self.observer.events().await?;
        let refusal = self.shopper.post("/users", &json!({ "name": "Bob", "email": "bob" }), 400).await?;
        if refusal["fields"][0]["field"] != "email" {
            return Err(format!("the refusal does not name the field: {refusal}").into());
        }
        self.shopper.post("/users", &json!({ "name": "Ada, again", "email": ada }), 409).await?;
        match self.observer.events().await? - before {
            0 => Ok(()),
            events => Err(format!("{events} events were published by requests that were refused").into()),
        }
    }

    async fn order(&self, ada: &str) -> Result<(), Failed> {
        screen::headline(
            "Ada's order is approved: an e-mail to her, a message to the team. Approving twice does nothing.",
        );
        let before = self.pubsub.handlers();
        let order = json!({ "customer": self.observer.user(ada).await?, "item": "an analytical engine" });
        let order = self.shopper.post("/orders", &order, 201).await?;
        let approve = format!("/orders/{}/approve", order["order"]);
        self.shopper.post(&approve, &json!({}), 200).await?;
        self.shopper.post(&approve, &json!({}), 409).await?;
        self.shopper.post("/orders/0/approve", &json!({}), 404).await?;
        self.observer.handled(&before, "mailer", 1).await?;
        self.observer.handled(&before, "archive", 1).await?;
        self.observer.handled(&before, "team-chat", 1).await
    }

    async fn meet(&self) -> Result<(), Failed> {
        screen::headline("A meeting, once with its ends mixed up.");
        let before = self.pubsub.handlers();
        let (nine, ten) = ("2030-01-01T09:00:00Z", "2030-01-01T10:00:00Z");
        self.shopper.post("/meetings", &json!({ "start": ten, "end": nine }), 400).await?;
        self.shopper.post("/meetings", &json!({ "start": nine, "end": ten }), 201).await?;
        self.observer.handled(&before, "calendar", 1).await
    }

    async fn insert_by_psql(&self, database: &Database) -> Result<(), Failed> {
        screen::headline("Somebody with psql inserts a row. No Rust involved.");
        let before = self.pubsub.handlers();
        tracing::info!(channel = "psql", "{PSQL_INSERT}");
        database.connect_as_psql().await?.batch_execute(PSQL_INSERT).await?;
        self.observer.handled(&before, "phone-gateway", 1).await
    }

    async fn fill_a_mailbox(&self, grace: &str) -> Result<EventId, Failed> {
        screen::headline(
            "Grace's mailbox is full. After the last attempt, her e-mail is kept as a dead letter.",
        );
        let before = self.pubsub.handlers();
        self.shopper.post("/users", &json!({ "name": "Grace", "email": grace }), 201).await?;
        self.observer.handled(&before, "phone-gateway", 1).await?;
        self.observer.handled(&before, "archive", 1).await?;
        self.observer.dead_letter(grace).await
    }

    /// Returns how many dead letters were redriven.
    async fn make_room(&self, letter: EventId) -> Result<u64, Failed> {
        screen::headline("She makes room. The dead letter is redriven.");
        self.outside.empty_mailboxes();
        let before = self.pubsub.handlers();
        if !self.pubsub.subscription::<Email>("mailer").redrive_one(letter).await? {
            return Err(format!("event {letter} was no dead letter any more").into());
        }
        self.observer.handled(&before, "mailer", 1).await?;
        Ok(1)
    }
}
