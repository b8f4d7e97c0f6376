//! One turn of a contender in a workload, on a database of its own.

mod handling;
mod latency;
mod publishing;
mod turn;

use crate::child::Child;
use crate::contender::Contender;
use crate::database::Database;
use crate::job::{Handler, Role};
use crate::workload::Workload;
use anyhow::Result;
use pubsub::testing::Server;
use turn::Turn;
pub(crate) use turn::{Measured, Size};

/// Lets a contender have its turn.
pub(crate) async fn play(
    server: &Server,
    contender: &Contender,
    workload: Workload,
    size: Size,
    name: &str,
) -> Result<Measured> {
    let database = Database::create(server, name).await?;
    let turn = Turn { server, database, contender, workload, size };
    let mut install = turn.job(Role::Install);
    install.handler = Handler::Nothing;
    Child::install(contender, &install).await?;
    let measured = match workload {
        Workload::Publish1 | Workload::Publish8 | Workload::Publish64 | Workload::Bulk => {
            publishing::measure(&turn).await?
        }
        Workload::Latency100 | Workload::Latency2000 | Workload::Latency5000 => {
            latency::measure(&turn).await?
        }
        _ => handling::measure(&turn).await?,
    };
    turn.database.drop().await?;
    Ok(measured)
}
