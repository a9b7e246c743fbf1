//! What a crash in the midst of a write leaves behind the end of the log: garbage, and the first
//! half of a batch. The next start cuts it, and loses nothing that was acknowledged.

use anyhow::{Context, ensure};

use super::super::account::Comparison;
use super::super::log_files;
use super::super::stage::Stage;
use super::watched;

/// The kill comes after so many more.
const EVENTS: u64 = 30_000;
const BATCH: u32 = 200;

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let mut server = stage.start().await?;
    let traffic = stage.traffic()?;
    for round in 0..2 {
        let killing = async {
            let wanted = traffic.accepted() + EVENTS;
            server.until("loaded", async |_| traffic.accepted() >= wanted).await?;
            server.kill().await?;
            tear(stage, round == 0).await?;
            stage.start().await
        };
        server = watched(&traffic, traffic.send_during(BATCH, killing)).await?;
        super::ensure_equal(&traffic.compare().await?, "after a torn tail")?;
    }
    stage.note(
        "killed twice under load; garbage, then half a batch written behind the last write of every \
         log file: `tally log verify` called it a torn tail, the next start cut it",
    );
    traffic.repeat_newest().await?;
    drop(server);
    traffic_after_restart(stage).await
}

async fn traffic_after_restart(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let _server = stage.start().await?;
    stage.traffic()?.compare().await
}

/// Writes behind the last batch of each partition, and has it judged.
async fn tear(stage: &mut Stage, with_garbage: bool) -> anyhow::Result<()> {
    let mut torn = 0;
    for segments in log_files::partitions(&stage.launch.data_dir)? {
        let newest = segments.last().context("a partition has no file")?;
        let Some(batch) = newest.batches.last() else { continue };
        let mut tail = if with_garbage {
            (0..400 + stage.random.next() % 4000).map(|_| stage.random.next() as u8).collect()
        } else {
            let batch = log_files::read(&newest.path, batch.position, batch.end)?;
            batch[..batch.len() / 2].to_vec()
        };
        // The file keeps its size, whatever is torn.
        let room = newest.path.metadata()?.len().saturating_sub(batch.end);
        tail.truncate(usize::try_from(room)?);
        log_files::write(&newest.path, batch.end, &tail)?;
        torn += usize::from(!tail.is_empty());
    }
    let verified = stage.verify_log().await?;
    let kinds: Vec<_> = verified.findings.iter().map(|found| found["kind"].clone()).collect();
    let is_torn = |kind: &serde_json::Value| kind == "torn_tail";
    ensure!(
        verified.status == Some(0) && kinds.len() == torn && kinds.iter().all(is_torn),
        "{torn} tails were torn, but `tally log verify` ended with {:?} and found {kinds:?}",
        verified.status
    );
    Ok(())
}
