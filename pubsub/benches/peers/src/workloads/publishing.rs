//! `publish_1`, `publish_8`, `publish_64` and `bulk`: a publisher alone, while no process runs.

use super::turn::{LIMIT, Measured, Turn};
use crate::child::Child;
use crate::job::Role;
use crate::workload::Workload;
use anyhow::{Context, Result};

pub(super) async fn measure(turn: &Turn<'_>) -> Result<Measured> {
    let role = if turn.workload == Workload::Bulk { Role::Bulk } else { Role::Publish };
    let mut child = Child::start(turn.contender, &turn.job(role)).await?;
    turn.database.settle_down().await?;
    let stopwatch = turn.stopwatch(&child);
    child.say("go").await?;
    let numbers = child.listen("done", LIMIT).await?;
    let published = *numbers.first().context("`done` without a number")?;
    let lap = stopwatch.lap(&child, published);
    child.wait().await?;
    turn.expect_published(published).await?;
    Ok(Measured { figures: vec![Some(lap.rate), lap.client, lap.server], repeated: 0 })
}
