//! The connections of diesel-async.

use super::{Driver, Error, Transaction};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection as _, AsyncPgConnection, TransactionManager as _,
};

/// A transaction, as the closure of a `transaction` sees it.
pub(crate) struct Begun<'a>(&'a mut AsyncPgConnection);

impl Driver for AsyncPgConnection {
    type Transaction<'a> = Begun<'a>;

    const TELLS_SQLSTATE: bool = false;

    async fn connect(url: &str) -> Self {
        Self::establish(url).await.unwrap()
    }

    async fn begin(&mut self) -> Begun<'_> {
        AnsiTransactionManager::begin_transaction(self).await.unwrap();
        Begun(self)
    }

    fn is_own(error: &(dyn Error + 'static)) -> bool {
        error.is::<diesel::result::Error>()
    }
}

impl Transaction for Begun<'_> {
    type Executor<'a>
        = &'a mut AsyncPgConnection
    where
        Self: 'a;

    fn executor(&mut self) -> &mut AsyncPgConnection {
        self.0
    }

    async fn commit(self) {
        AnsiTransactionManager::commit_transaction(self.0).await.unwrap();
    }

    async fn rollback(self) {
        AnsiTransactionManager::rollback_transaction(self.0).await.unwrap();
    }
}
