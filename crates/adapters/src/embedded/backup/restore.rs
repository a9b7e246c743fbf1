//! A data folder made of a backup.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine::ports::{ErrorKind, PortError};
use rustix::fs::{FallocateFlags, fallocate};

use super::files::{Failed, checksum, is_zero, sync_folders};
use super::manifest::{FileEntry, Manifest};
use super::{Heard, listen, make_folder, refused, unfinished};

/// Makes a data folder of a backup; the folder is not there yet, or is empty. Every file is checked
/// before anything is written, and again while it is copied. The data folder gets its name when all of
/// it is durable, so that no server starts on half of it.
///
/// # Errors
/// `Invalid` where it is no backup, `Corrupt` where a file of it is damaged or missing, `Conflict` where
/// the data folder is not empty, `Unavailable` where a disk refuses or `heard` ended it. The data folder
/// is as it was then.
pub fn restore(
    backup: &Path,
    data_dir: &Path,
    heard: &mut Heard<'_>,
) -> Result<Manifest, PortError> {
    let manifest = Manifest::load(backup)?;
    make_folder(data_dir)?;
    let total = manifest.bytes().saturating_mul(2);
    let mut done = 0;
    let mut count = |bytes: &[u8]| {
        done += bytes.len() as u64;
        listen(heard, done, total)
    };
    for entry in &manifest.files {
        check(backup, entry, &mut count)?;
    }
    let unfinished = unfinished(data_dir);
    let cleared = match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(&unfinished),
    };
    cleared.map_err(refused("make", &unfinished))?;
    let copied = manifest
        .files
        .iter()
        .try_for_each(|entry| copy(backup, &unfinished, entry, &mut count))
        .and_then(|()| sync_folders(&unfinished))
        .and_then(|()| fs::rename(&unfinished, data_dir).map_err(refused("name", data_dir)))
        .and_then(|()| sync_folders(data_dir));
    if copied.is_err() {
        // Best effort: the next restoring removes it first.
        let _ = fs::remove_dir_all(&unfinished);
    }
    copied.map(|()| manifest)
}

/// Reads a file of the backup and compares it with the manifest.
fn check(
    backup: &Path,
    entry: &FileEntry,
    heard: &mut dyn FnMut(&[u8]) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let path = backup.join(&entry.path);
    let file = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => damaged(&path, "it is missing"),
        _ => refused("open", &path)(error),
    })?;
    let bytes = file.metadata().map_err(refused("read", &path))?.len();
    if bytes != entry.bytes {
        let what = format!("it has {bytes} bytes and not {}", entry.bytes);
        return Err(damaged(&path, &what));
    }
    match checksum(&file, heard) {
        Ok(found) if found == (entry.bytes, entry.crc32c) => Ok(()),
        Ok(_) => Err(damaged(&path, "its checksum is wrong")),
        Err(Failed::Disk(error)) => Err(refused("read", &path)(error)),
        Err(Failed::Ended(error)) => Err(error),
    }
}

fn copy(
    backup: &Path,
    target: &Path,
    entry: &FileEntry,
    heard: &mut dyn FnMut(&[u8]) -> Result<(), PortError>,
) -> Result<(), PortError> {
    let to = target.join(&entry.path);
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).map_err(refused("make", dir))?;
    }
    let file = File::create(&to).map_err(refused("make", &to))?;
    // The log writes into room that is there: zeros have to take it too.
    match fallocate(&file, FallocateFlags::empty(), 0, entry.bytes.max(1)) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        other => other.map_err(|error| refused("make", &to)(error.into()))?,
    }
    file.set_len(entry.bytes).map_err(refused("make", &to))?;
    let mut at = 0;
    check(backup, entry, &mut |bytes| {
        if !is_zero(bytes) {
            file.write_all_at(bytes, at).map_err(refused("write", &to))?;
        }
        at += bytes.len() as u64;
        heard(bytes)
    })?;
    file.sync_all().map_err(refused("sync", &to))
}

fn damaged(path: &Path, what: &str) -> PortError {
    let context = format!(
        "the backup's file {} is damaged: {what}; nothing was restored, use another backup",
        path.display()
    );
    PortError::new(ErrorKind::Corrupt, context)
}
