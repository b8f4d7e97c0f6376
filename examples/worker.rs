//! An actor with state, which is restarted after a panic: `cargo run --example worker`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use actix::{Actor, Context, Handler};
use pubsub::testing::Database;
use pubsub::{Channel, Delivery, Handled, PubSub, publish_all};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;

#[derive(Serialize, Deserialize, Channel)]
#[channel("image.uploaded", backoff(initial = "10ms"))]
struct ImageUploaded {
    path: String,
}

struct Thumbnailer {
    made: u32,
}

impl Actor for Thumbnailer {
    type Context = Context<Self>;
}

impl Handler<Delivery<ImageUploaded>> for Thumbnailer {
    type Result = Handled;

    fn handle(&mut self, image: Delivery<ImageUploaded>, _: &mut Self::Context) -> Handled {
        assert!(image.path != "broken.png" || image.attempt() > 1, "cannot decode {}", image.path);
        self.made += 1;
        println!("{}: thumbnail {} of this actor", image.path, self.made);
        Ok(())
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;
    let pubsub = PubSub::builder(database.url())
        .subscribe::<ImageUploaded, _>("thumbnails", || Thumbnailer { made: 0 })
        .start()
        .await?;
    let paths = ["one.png", "broken.png", "two.png"];
    publish_all(&pubsub, &paths.map(|path| ImageUploaded { path: path.to_owned() })).await?;

    let work_is_done = async {
        while pubsub.handlers()[0].handled < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = work_is_done => println!("Done, after {} restart.", pubsub.handlers()[0].restarts),
        _ = actix_web::rt::signal::ctrl_c() => println!("Interrupted."),
    }
    pubsub.drain(Duration::from_secs(30)).await; // finishes the running deliveries and returns the others
    Ok(())
}
