//! The clients of tokio-postgres.

use super::{Driver, Error, Transaction};
use tokio_postgres as driver;

impl Driver for driver::Client {
    type Transaction<'a> = driver::Transaction<'a>;

    async fn connect(url: &str) -> Self {
        pubsub_tests::connect(url).await
    }

    async fn begin(&mut self) -> Self::Transaction<'_> {
        self.transaction().await.unwrap()
    }

    fn is_own(error: &(dyn Error + 'static)) -> bool {
        error.is::<driver::Error>()
    }
}

impl Transaction for driver::Transaction<'_> {
    type Executor<'a>
        = &'a Self
    where
        Self: 'a;

    fn executor(&mut self) -> &Self {
        self
    }

    async fn commit(self) {
        self.commit().await.unwrap();
    }

    async fn rollback(self) {
        self.rollback().await.unwrap();
    }
}
