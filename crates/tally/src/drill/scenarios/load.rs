//! Steady load with repeats: the baseline, in which nothing goes wrong.

use super::super::account::Comparison;
use super::super::stage::Stage;
use super::watched;

const EVENTS: u64 = 1_000_000;
const BATCH: u32 = 500;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let server = stage.start().await?;
    let traffic = stage.traffic()?;
    watched(&traffic, traffic.send(EVENTS, BATCH)).await?;
    stage.note("steady load; one event in twenty was sent twice on purpose");
    let before = traffic.compare().await?;
    super::ensure_equal(&before, "before the restart")?;
    let (status, _) = server.stop().await?;
    anyhow::ensure!(status.success(), "the server stopped with {status}");
    let _server = stage.start().await?;
    stage.note("then stopped and started again in good order");
    traffic.repeat_newest().await?;
    traffic.compare().await
}
