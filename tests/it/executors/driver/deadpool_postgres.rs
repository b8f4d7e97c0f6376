//! The pooled clients of deadpool.

use super::{Driver, Error, Transaction};
use deadpool_postgres as driver;

pub(crate) fn pool(url: &str) -> driver::Pool {
    let manager = driver::Manager::new(url.parse().unwrap(), tokio_postgres::NoTls);
    driver::Pool::builder(manager).build().unwrap()
}

impl Driver for driver::Client {
    type Transaction<'a> = driver::Transaction<'a>;

    async fn connect(url: &str) -> Self {
        pool(url).get().await.unwrap()
    }

    async fn begin(&mut self) -> Self::Transaction<'_> {
        self.transaction().await.unwrap()
    }

    fn is_own(error: &(dyn Error + 'static)) -> bool {
        error.is::<tokio_postgres::Error>()
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
