//! Backups of a data folder, taken while the server runs, and their restoring.
//!
//! ```text
//! <folder>/
//!   store/           a counter store of its own, with the rows of one flush
//!   details/         item details
//!   log/             the log up to what was durable a moment later, without its caches
//!   archive/         as it was after that, where there is one
//!   manifest.json    every file with size and CRC32C; written last
//! ```
//!
//! The store comes first, then the log: every checkpoint lies within the log then, and a start on the
//! copy counts the rest again. A folder without a manifest is no backup, so one that broke off is
//! none.

mod files;
mod manifest;
mod restore;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use engine::ports::{Clock, ErrorKind, PortError};
use model::PartitionId;

use self::files::{Copying, add_tree, find, sync_folders};
pub use self::manifest::{FileEntry, MANIFEST, Manifest, PartitionEntry};
pub use self::restore::restore;
use super::details::EmbeddedDetails;
use super::disk::{Disk, RealDisk};
use super::log::{EmbeddedLog, PinnedLog};
use super::routing::ROUTING_FILE;
use super::store::{EmbeddedStore, FREE_BYTES_MIN};

/// This data folder's name in its archive.
const ARCHIVE_OWNER: &str = "archive-owner";
/// How often the archive is gone through again when it changes meanwhile.
const ARCHIVE_PASSES: usize = 8;

/// What is backed up.
pub struct Source<'a> {
    /// The counters.
    pub store: &'a EmbeddedStore,
    /// The events.
    pub log: &'a EmbeddedLog,
    /// What is known of items.
    pub details: &'a EmbeddedDetails,
    /// The folder of all of them, and of the archive.
    pub data_dir: &'a Path,
    /// For the times in the manifest.
    pub clock: &'a dyn Clock,
}

/// How far a backup or a restoring is, in bytes. The total is an estimate until the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// So many are done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// Hears how far it is, and ends it with [`ControlFlow::Break`].
pub type Heard<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Makes a folder for a backup; well where it is there and empty.
///
/// # Errors
/// `Conflict` where it holds anything, `Unavailable` where the disk refuses.
pub fn make_folder(folder: &Path) -> Result<(), PortError> {
    std::fs::create_dir_all(folder).map_err(refused("make", folder))?;
    let mut entries = std::fs::read_dir(folder).map_err(refused("list", folder))?;
    if entries.next().is_some() {
        let context =
            format!("{} is not empty: name a folder that is, or a new one", folder.display());
        return Err(PortError::new(ErrorKind::Conflict, context));
    }
    Ok(())
}

/// Writes a backup into a folder, which must be empty. Every event that was acknowledged before this
/// is called is in it. When this returns all of it is durable; after an error, as after a crash, there
/// is no manifest in the folder.
///
/// # Errors
/// `Conflict` where the folder is not empty, `Unavailable` where a disk refuses or is too full, or
/// where `heard` ended it, `Corrupt` where stored bytes are wrong.
pub fn backup(
    source: &Source<'_>,
    folder: &Path,
    heard: &mut Heard<'_>,
) -> Result<Manifest, PortError> {
    make_folder(folder)?;
    let result = write(source, folder, heard);
    if result.is_err() {
        clear(folder);
    }
    result
}

fn write(source: &Source<'_>, folder: &Path, heard: &mut Heard<'_>) -> Result<Manifest, PortError> {
    let begun = source.clock.now().wall.to_string();
    let details_bytes = source.details.disk_bytes()?;
    let store_bytes = source.store.disk_bytes()?;
    let archive = source.data_dir.join("archive");
    let mut total =
        store_bytes + details_bytes + log_bytes(&source.log.pin()?) + tree_bytes(&archive)?;
    check_room(folder, total)?;

    let store_dir = folder.join("store");
    let mut of_rows = |rows: u64| listen(heard, rows.min(store_bytes), total);
    let snapshot = source.store.copy_to(&store_dir, &mut of_rows)?;
    let mut copying = Copying { folder, entries: Vec::new(), done: store_bytes, total, heard };
    add_tree(&mut copying, "store")?;
    source.details.copy_to(&folder.join("details"))?;
    add_tree(&mut copying, "details")?;
    copying.done += details_bytes;

    let pinned = source.log.pin()?;
    // It has grown since.
    total = total.max(store_bytes + details_bytes + log_bytes(&pinned));
    copying.total = total;
    let mut partitions = Vec::with_capacity(pinned.partitions.len());
    for of_log in &pinned.partitions {
        let checkpoint = snapshot.checkpoint(of_log.partition)?;
        let entry = PartitionEntry::new(of_log, checkpoint)?;
        partitions.push(entry);
    }
    drop(snapshot);
    copy_log(&pinned, &source.data_dir.join("log"), &mut copying)?;
    drop(pinned);
    copy_archive(source.data_dir, &partitions, &mut copying)?;
    let mut files = copying.entries;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    sync_folders(folder)?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        program: concat!("tally ", env!("CARGO_PKG_VERSION")).into(),
        begun,
        finished: source.clock.now().wall.to_string(),
        partitions,
        files,
    };
    manifest.store(folder)?;
    listen(heard, total, total)?;
    Ok(manifest)
}

fn copy_log(
    pinned: &PinnedLog<'_>,
    dir: &Path,
    copying: &mut Copying<'_, '_>,
) -> Result<(), PortError> {
    // After the records that were routed by it, and before the number of partitions: a table never
    // names partitions that the copy has not.
    match copying.copy(&dir.join(ROUTING_FILE), &format!("log/{ROUTING_FILE}"), None) {
        Err(error) if !is_gone(&error) => return Err(error),
        _ => {}
    }
    copying.copy(&dir.join("log.meta"), "log/log.meta", None)?;
    for partition in &pinned.partitions {
        for file in &partition.files {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| odd_name(&file.path))?;
            let path = format!("log/{}/{name}", partition.partition);
            copying.copy(&file.path, &path, Some(file.kept_bytes))?;
        }
    }
    Ok(())
}

/// Copies the archive, whose files never change but come and go, and the small ones that name them.
/// Those that name others are taken first: what they name is there then, unless it was removed since,
/// and then all of it is gone through again.
///
/// Raw events behind the end of the copied log are left out: the restored log goes on there with
/// others.
fn copy_archive(
    data_dir: &Path,
    partitions: &[PartitionEntry],
    copying: &mut Copying<'_, '_>,
) -> Result<(), PortError> {
    let owner = data_dir.join(ARCHIVE_OWNER);
    match copying.copy(&owner, ARCHIVE_OWNER, None) {
        Err(error) if !is_gone(&error) => return Err(error),
        _ => {}
    }
    let archive = data_dir.join("archive");
    for _ in 0..ARCHIVE_PASSES {
        let mut paths = find(&archive)?;
        // Names that object_store has for what is being written.
        paths.retain(|path| !path.contains('#') && !is_behind(path, partitions));
        let names_others = |path: &str| !path.ends_with(".parquet");
        paths.sort_by_key(|path| !names_others(path));
        let mut is_whole = true;
        for path in &paths {
            let name = format!("archive/{path}");
            if names_others(path) {
                copying.forget(&name);
            } else if copying.has(&name) {
                continue;
            }
            match copying.copy(&archive.join(path), &name, None) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => is_whole = false,
                Err(error) => return Err(error),
            }
        }
        if is_whole {
            return Ok(());
        }
    }
    let context = "the archive changes faster than it can be copied: try again later";
    Err(PortError::new(ErrorKind::Unavailable, context))
}

/// Whether a raw file goes on behind the end of its partition's log. Its name ends in
/// `p<partition>-<from>-<to>.parquet`.
fn is_behind(path: &str, partitions: &[PartitionEntry]) -> bool {
    let name = path.rsplit('/').next().and_then(|name| name.strip_prefix('p'));
    let name = name.filter(|_| path.starts_with("raw/"));
    let Some(numbers) = name.and_then(|name| name.strip_suffix(".parquet")) else { return false };
    let numbers: Vec<u64> = numbers.split('-').map_while(|number| number.parse().ok()).collect();
    let [partition, _, to] = numbers[..] else { return false };
    let of_it = partitions.iter().find(|entry| u64::from(entry.partition) == partition);
    of_it.is_none_or(|entry| to > entry.durable_offset)
}

fn is_gone(error: &PortError) -> bool {
    let source = error.source.as_deref().and_then(|e| e.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn log_bytes(pinned: &PinnedLog<'_>) -> u64 {
    let files = pinned.partitions.iter().flat_map(|partition| &partition.files);
    files.map(|file| file.kept_bytes).sum()
}

fn tree_bytes(dir: &Path) -> Result<u64, PortError> {
    let mut total = 0;
    for path in find(dir)? {
        // One that is gone by now takes no room.
        total += std::fs::metadata(dir.join(path)).map_or(0, |metadata| metadata.len());
    }
    Ok(total)
}

/// Refuses where the disk would be so full afterwards that a server on it had to stop.
fn check_room(folder: &Path, bytes: u64) -> Result<(), PortError> {
    let free = RealDisk.free_bytes(folder).map_err(refused("measure", folder))?;
    let needed = bytes.saturating_add(2 * FREE_BYTES_MIN);
    if free >= needed {
        return Ok(());
    }
    let context = format!(
        "a backup in {} needs {needed} bytes free on the disk, room that stays free included; {free} \
         are: make room or name a folder on another disk",
        folder.display()
    );
    Err(PortError::new(ErrorKind::Unavailable, context))
}

/// Removes what a backup that failed has written. Best effort: without a manifest it is no backup.
fn clear(folder: &Path) {
    for name in [MANIFEST, manifest::UNFINISHED, ARCHIVE_OWNER] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    for name in ["store", "details", "log", "archive"] {
        let _ = std::fs::remove_dir_all(folder.join(name));
    }
}

/// Tells how far it is; an error where that is to be the end.
fn listen(heard: &mut Heard<'_>, done: u64, total: u64) -> Result<(), PortError> {
    match heard(Progress { done: done.min(total), total }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(PortError::new(ErrorKind::Unavailable, "it was ended before it was done"))
        }
    }
}

fn refused<'a>(act: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> PortError + 'a {
    move |error| {
        let context = format!("cannot {act} {}", path.display());
        PortError::caused(ErrorKind::Unavailable, context, error)
    }
}

fn odd_name(path: &Path) -> PortError {
    let context = format!("{} has a name that is not UTF-8", path.display());
    PortError::new(ErrorKind::Invalid, context)
}

impl PartitionEntry {
    /// The copy must go as far as what is counted, or a start on it would be refused.
    fn new(
        of_log: &super::log::PinnedPartition,
        checkpoint: Option<model::Checkpoint>,
    ) -> Result<Self, PortError> {
        let PartitionId(partition) = of_log.partition;
        let checkpoint_offset = checkpoint.map_or(0, |checkpoint| checkpoint.next_offset.0);
        let bounds = of_log.bounds;
        if checkpoint_offset > bounds.durable_offset.0 {
            let context = format!(
                "partition {partition} is counted up to offset {checkpoint_offset}, but its log ends \
                 at {}: is somebody else writing to this folder?",
                bounds.durable_offset
            );
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        Ok(Self {
            partition,
            log_epoch: bounds.log_epoch,
            start_offset: bounds.start_offset.0,
            checkpoint_offset,
            durable_offset: bounds.durable_offset.0,
        })
    }
}

/// The folder beside another in which it is made before it gets its name.
fn unfinished(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    folder.with_file_name(name)
}
