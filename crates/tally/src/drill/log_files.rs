//! The log's files as the drill damages them: where batches lie, and bytes put in their place.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use adapters::embedded::disk::ReadOnlyDisk;
use adapters::embedded::log::inspect::{Piece, View, inspect};
use adapters::embedded::log::stored_partitions;
use anyhow::Context;
use model::{Offset, PartitionId};

/// One file of a partition's log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) batches: Vec<Place>,
}

/// Where a batch lies: from its first byte up to the first behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) end: u64,
}

/// The files of every partition, oldest first.
///
/// # Errors
/// When there is no log.
pub(crate) fn partitions(data_dir: &Path) -> anyhow::Result<Vec<Vec<Segment>>> {
    let dir = data_dir.join("log");
    let count = stored_partitions(&ReadOnlyDisk, &dir)?.context("the folder holds no log")?;
    let view = View { disk: &ReadOnlyDisk, dir: &dir, is_served: false, from: Offset(0) };
    let mut partitions = Vec::new();
    for partition in (0..count).map(PartitionId) {
        let mut segments: Vec<Segment> = Vec::new();
        inspect(view, partition, &mut |piece| {
            match piece {
                Piece::Segment { path, .. } => {
                    segments.push(Segment { path, batches: Vec::new() });
                }
                Piece::Batch { position, end, .. } => {
                    let newest = segments.last_mut().expect("batches follow their segment");
                    newest.batches.push(Place { position, end });
                }
                Piece::Finding(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        partitions.push(segments);
    }
    Ok(partitions)
}

/// The bytes of a file from a position up to an end.
pub(crate) fn read(path: &Path, position: u64, end: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - position)?];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, position));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// Puts bytes into a file.
pub(crate) fn write(path: &Path, position: u64, bytes: &[u8]) -> anyhow::Result<()> {
    let file = File::options().write(true).open(path);
    let written = file.and_then(|file| file.write_all_at(bytes, position));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Flips one bit of a byte. Done twice, it is as it was.
pub(crate) fn flip(path: &Path, position: u64, bit: u64) -> anyhow::Result<()> {
    let byte = read(path, position, position + 1)?[0];
    write(path, position, &[byte ^ 1 << (bit % 8)])
}
