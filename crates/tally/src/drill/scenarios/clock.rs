//! The machine's clock set wrong. Up to ten minutes change nothing; beyond that no event is
//! accepted until it is right again, and questions are answered all the while.

use std::path::Path;

use anyhow::Context;

use super::super::account::Comparison;
use super::super::clock::shift_seen;
use super::super::server::Server;
use super::super::stage::Stage;
use super::super::traffic::{Refused, Traffic};
use super::{ensure_equal, watched};

const EVENTS: u64 = 20_000;
const BATCH: u32 = 200;
const MINUTE_MS: i64 = 60_000;
/// What the server says of a clock that it cannot believe.
const OFF: &str = "off from where it should be";

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let file = stage.folder.join("clock");
    set(&file, 0)?;
    stage.launch.flags.extend(["--drill-clock".into(), file.clone().into()]);
    let mut server = stage.start().await?;
    let traffic = stage.traffic()?;
    let send = || watched(&traffic, traffic.send(EVENTS, BATCH));
    send().await?;

    implausible(&traffic, &mut server, &file, -60).await?;
    for shift in [5, 0] {
        plausible(&mut server, &file, shift).await?;
        send().await?;
        traffic.repeat_newest().await?;
    }
    implausible(&traffic, &mut server, &file, 120).await?;
    stage.note(
        "the server's clock set back an hour and forward two: it took no events until the clock was \
         right, and answered questions; five minutes forward and back: changed nothing",
    );

    server.kill().await?;
    set(&file, -60 * MINUTE_MS)?;
    let mut server = stage.listen().await?;
    server.until_not_ready(OFF).await?;
    set(&file, 0)?;
    server.until_ready().await?;
    traffic.repeat_newest().await?;
    send().await?;
    server.kill().await?;
    set(&file, 5 * MINUTE_MS)?;
    let mut server = stage.start().await?;
    traffic.repeat_newest().await?;
    send().await?;
    plausible(&mut server, &file, 0).await?;
    traffic.repeat_newest().await?;
    send().await?;
    stage.note(
        "killed and started again with the clock an hour back, then five minutes forward; what was \
         sent before was repeated after each jump",
    );
    traffic.compare().await
}

/// Renamed into place, so that no half of a number is ever read.
fn set(file: &Path, shift_ms: i64) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, shift_ms.to_string())?;
    std::fs::rename(&new, file).context("cannot set the drill's clock")
}

/// A jump that the server does not believe: events are refused until the clock is right.
async fn implausible(
    traffic: &Traffic,
    server: &mut Server,
    file: &Path,
    minutes: i64,
) -> anyhow::Result<()> {
    set(file, minutes * MINUTE_MS)?;
    server.until_not_ready(OFF).await?;
    let refused = traffic.attempt(traffic.body(BATCH)).await?;
    let is_whole =
        |refused: &Refused| refused.body.events() == BATCH && refused.is_surely_unwritten;
    let refused = refused
        .filter(is_whole)
        .with_context(|| format!("events were accepted with the clock {minutes} minutes off"))?;
    ensure_equal(&traffic.compare().await?, "with the clock off")?;
    set(file, 0)?;
    server.until_ready().await?;
    traffic.deliver(refused.body).await
}

/// A jump that is believed; waits until the server has noticed it.
async fn plausible(server: &mut Server, file: &Path, minutes: i64) -> anyhow::Result<()> {
    let shift_ms = minutes * MINUTE_MS;
    set(file, shift_ms)?;
    server.until("at the new time", async |_| shift_seen(file) == Some(shift_ms)).await?;
    server.readiness().await.map_err(|reason| anyhow::anyhow!("it is not ready: {reason}"))
}
