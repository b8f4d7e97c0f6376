//! The connections of sqlx.

use super::{Driver, Error, Transaction};
use sqlx::{PgConnection, PgTransaction};

impl Driver for PgConnection {
    type Transaction<'a> = PgTransaction<'a>;

    async fn connect(url: &str) -> Self {
        <Self as sqlx::Connection>::connect(url).await.unwrap()
    }

    async fn begin(&mut self) -> PgTransaction<'_> {
        sqlx::Connection::begin(self).await.unwrap()
    }

    fn is_own(error: &(dyn Error + 'static)) -> bool {
        error.is::<sqlx::Error>()
    }
}

impl Transaction for PgTransaction<'_> {
    type Executor<'a>
        = &'a mut Self
    where
        Self: 'a;

    fn executor(&mut self) -> &mut Self {
        self
    }

    async fn commit(self) {
        self.commit().await.unwrap();
    }

    async fn rollback(self) {
        self.rollback().await.unwrap();
    }
}
