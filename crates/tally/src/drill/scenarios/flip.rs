//! A bit that flips on the disk in what was acknowledged: the server says so, with file and place,
//! and counts nothing wrong. Put back, everything is there. In an index, which is only a cache, it
//! changes nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use api::client::ClientError;

use super::super::account::Comparison;
use super::super::log_files::{self, Segment};
use super::super::server::Start;
use super::super::stage::Stage;
use super::{ensure_equal, watched};

/// Enough for a sealed file in the larger partition.
const EVENTS: u64 = 320_000;
const BATCH: u32 = 500;
/// Small requests at the end: each says in its batch that what is before it is durable.
const LATER_EVENTS: u64 = 200;

/// Where a bit is flipped.
struct Spot {
    path: PathBuf,
    partition: usize,
    position: u64,
    bit: u64,
}

pub(super) async fn play(stage: &mut Stage) -> anyhow::Result<Comparison> {
    let server = stage.start().await?;
    let traffic = stage.traffic()?;
    watched(&traffic, traffic.send(EVENTS, BATCH)).await?;
    traffic.send(LATER_EVENTS, 10).await?;
    ensure_equal(&traffic.compare().await?, "before any flip")?;
    let (status, _) = server.stop().await?;
    ensure!(status.success(), "the server stopped with {status}");

    flip_index(stage).await?;
    let (sealed, newest) = spots(stage)?;
    for (spot, which) in [(sealed, "a sealed log file"), (newest, "the newest log file")] {
        let name = name(&spot.path);
        log_files::flip(&spot.path, spot.position, spot.bit)?;
        verify_names(stage, &spot).await?;
        let how = start_names(stage, &spot).await?;
        log_files::flip(&spot.path, spot.position, spot.bit)?;
        stage.note(format!(
            "one bit flipped in {which} ({name}): `tally log verify` found it, {how}, naming file \
             and offset; put back"
        ));
    }
    let _server = stage.start().await?;
    traffic.repeat_newest().await?;
    traffic.compare().await
}

/// Partition and file, which is what a person looks for.
fn name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Flips a bit of every index, and compares.
async fn flip_index(stage: &mut Stage) -> anyhow::Result<()> {
    let mut flipped = 0;
    for segment in log_files::partitions(&stage.launch.data_dir)?.iter().flatten() {
        let index = segment.path.with_extension("index");
        let Ok(metadata) = index.metadata() else { continue };
        let position = stage.random.next() % metadata.len();
        log_files::flip(&index, position, stage.random.next())?;
        flipped += 1;
    }
    ensure!(flipped > 0, "no log file was sealed, and none has an index");
    let server = stage.start().await?;
    ensure_equal(&stage.traffic()?.compare().await?, "after a flip in an index")?;
    server.stop().await?;
    stage.note("one bit flipped in an index: changed nothing");
    Ok(())
}

/// A place in a sealed file and one in the newest file, both in what was acknowledged.
fn spots(stage: &mut Stage) -> anyhow::Result<(Spot, Spot)> {
    let partitions = log_files::partitions(&stage.launch.data_dir)?;
    let largest = (0..partitions.len()).max_by_key(|&n| partitions[n].len());
    let partition = largest.context("there is no partition")?;
    let segments = &partitions[partition];
    ensure!(segments.len() > 1, "no log file was sealed");
    let sealed = &segments[0];
    let newest = segments.iter().rev().find(|segment| segment.batches.len() > 3);
    let newest = newest.context("no file has batches")?;
    let mut spot = |segment: &Segment, batches: usize| {
        let batch = segment.batches[stage.random.next() as usize % batches];
        let position = batch.position + stage.random.next() % (batch.end - batch.position);
        let bit = stage.random.next() % 8;
        Spot { path: segment.path.clone(), partition, position, bit }
    };
    let in_sealed = spot(sealed, sealed.batches.len());
    // A flip in the very last write cannot be told from a torn one; see the fault model.
    let in_newest = spot(newest, newest.batches.len() / 2);
    Ok((in_sealed, in_newest))
}

async fn verify_names(stage: &Stage, spot: &Spot) -> anyhow::Result<()> {
    let verified = stage.verify_log().await?;
    ensure!(verified.status == Some(1), "`tally log verify` ended with {:?}", verified.status);
    let path = spot.path.display().to_string();
    let is_named = |found: &serde_json::Value| found["kind"] == "damage" && found["file"] == path;
    ensure!(
        verified.findings.iter().any(is_named),
        "`tally log verify` does not name {path}: {:?}",
        verified.findings
    );
    Ok(())
}

/// Starts a server on the damage: it must not start, or stop the partition. Gives which.
async fn start_names(stage: &mut Stage, spot: &Spot) -> anyhow::Result<String> {
    let (how, said) = match stage.launch.start().await? {
        Start::Refused(status, said) => {
            ensure!(status.code() == Some(1), "the server ended with {status}: {said}");
            ("the server refused to start".to_owned(), said)
        }
        Start::Serving(mut server) => {
            let stopped = format!("partition {} has stopped", spot.partition);
            server.until_not_ready(&stopped).await?;
            match stage.traffic()?.compare().await {
                Ok(found) => ensure_equal(&found, "beside a stopped partition")?,
                Err(error) => match error.downcast_ref::<ClientError>() {
                    Some(ClientError::Problem { problem, .. }) if problem.status == 503 => {}
                    _ => return Err(error.context("a question beside a stopped partition")),
                },
            }
            let (status, said) = server.stop().await?;
            ensure!(status.code() == Some(1), "with a stopped partition it ended with {status}");
            ("the server stopped that partition".to_owned(), said)
        }
    };
    let path = spot.path.display().to_string();
    if !said.contains(&path) || !said.contains("offset") {
        bail!("the server does not name {path} and the offset: {said}");
    }
    Ok(how)
}
