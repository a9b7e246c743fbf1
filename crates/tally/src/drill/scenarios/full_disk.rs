//! A file system that runs full under load: events are refused before they are accepted, questions
//! are answered, and when there is room again everything goes on by itself.

use anyhow::{Context, ensure};

use super::super::account::Comparison;
use super::super::disk::{Ballast, DISK_BYTES, small_disk};
use super::super::stage::Stage;
use super::super::traffic::{Refused, Traffic};
use super::{ensure_equal, watched};

const EVENTS: u64 = 60_000;
const BATCH: u32 = 1000;
/// By then the log has filled every file that it had made ahead.
const EVENTS_UNTIL_FULL: u64 = 2_000_000;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let disk = stage.folder.join("small-disk");
    std::fs::create_dir(&disk)?;
    let words = small_disk(&disk).await?;
    stage.launch.command.splice(..0, words);
    stage.launch.data_dir = disk.join("data");
    let mut server = stage.start().await?;
    let traffic = stage.traffic()?;
    watched(&traffic, traffic.send(EVENTS, BATCH)).await?;

    let ballast = Ballast::fill(server.pid()?, &disk)?;
    let filling = fill_up(&traffic, &ballast);
    let refused = watched(&traffic, filling).await?;
    if refused.iter().all(|refused| refused.is_surely_unwritten) {
        ensure_equal(&traffic.compare().await?, "with the disk full")?;
    }
    let mut later = Vec::new();
    for Refused { body, .. } in refused {
        let events = body.events();
        let again = traffic.attempt(body).await?;
        let again = again.filter(|again| again.body.events() == events);
        later.push(again.context("events were accepted on a full disk")?.body);
    }
    ballast.remove()?;
    server.until_ready().await?;
    for body in later {
        traffic.deliver(body).await?;
    }
    watched(&traffic, traffic.send(EVENTS, BATCH)).await?;
    stage.note(format!(
        "a file system of {} MiB filled to the last page under load: events were refused before \
         they were accepted, questions were answered; with room again it went on by itself",
        DISK_BYTES >> 20
    ));
    traffic.repeat_newest().await?;
    traffic.compare().await
}

/// Sends until events are refused; gives those, which the account has not.
async fn fill_up(traffic: &Traffic, ballast: &Ballast) -> anyhow::Result<Vec<Refused>> {
    let mut refused = Vec::new();
    let until = traffic.accepted() + EVENTS_UNTIL_FULL;
    while refused.len() < 3 {
        ensure!(
            traffic.accepted() < until,
            "events are still accepted with {} bytes free",
            ballast.free_bytes()?
        );
        ballast.top_up()?;
        refused.extend(traffic.attempt(traffic.body(BATCH)).await?);
    }
    Ok(refused)
}
