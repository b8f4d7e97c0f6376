//! The connections of SeaORM.

use super::{Driver, Error, Transaction};
use sea_orm::{Database, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};

impl Driver for DatabaseConnection {
    type Transaction<'a> = DatabaseTransaction;

    async fn connect(url: &str) -> Self {
        Database::connect(url).await.unwrap()
    }

    async fn begin(&mut self) -> DatabaseTransaction {
        TransactionTrait::begin(&*self).await.unwrap()
    }

    fn is_own(error: &(dyn Error + 'static)) -> bool {
        error.is::<DbErr>()
    }
}

impl Transaction for DatabaseTransaction {
    type Executor<'a> = &'a Self;

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
