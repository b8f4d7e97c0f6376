//! `drain`, `fan_out`, `update`, `update_and_settle` and `sleep`: a backlog, handled by one process.
//!
//! The time runs from the start of the worker, whose program is loaded already, until the last handler has returned and the
//! database has no event that is not settled.

use super::turn::{LIMIT, Measured, Turn};
use crate::child::Child;
use crate::job::{Handler, Role};
use anyhow::{Result, ensure};

pub(super) async fn measure(turn: &Turn<'_>) -> Result<Measured> {
    let updates = matches!(turn.workload.handler(), Handler::Update | Handler::UpdateAndSettle);
    if updates {
        turn.database.create_touched(turn.size.events).await?;
    }
    turn.load().await?;
    turn.database.settle_down().await?;
    let mut child = Child::start(turn.contender, &turn.job(Role::Work)).await?;
    let stopwatch = turn.stopwatch(&child);
    child.say("go").await?;
    child.listen("done", LIMIT).await?;
    turn.database.until_none(turn.contender.unsettled, LIMIT).await?;
    let lap = stopwatch.lap(&child, turn.size.events);
    let (calls, distinct) = child.stop().await?;
    let expected = turn.size.events * turn.workload.consumers() as u64;
    ensure!(distinct == expected, "{distinct} of {expected} events were handled");
    let mut repeated = calls - distinct;
    if updates {
        repeated = repeated.max(turn.database.updated_too_often().await?);
    }
    Ok(Measured { figures: vec![Some(lap.rate), lap.client, lap.server], repeated })
}
