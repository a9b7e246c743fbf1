//! Files on their way into a backup or out of it: found, copied with their checksum, made durable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine::ports::PortError;

use super::manifest::FileEntry;
use super::{Heard, listen, odd_name, refused};

/// Bytes in memory at a time. Stretches of zeros of this size take no room in a backup.
const CHUNK_BYTES: usize = 256 << 10;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Files that are gathered in a folder.
pub(super) struct Copying<'f, 'h> {
    pub(super) folder: &'f Path,
    pub(super) entries: Vec<FileEntry>,
    /// Bytes so far, and all in all.
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) heard: &'f mut Heard<'h>,
}

impl Copying<'_, '_> {
    /// Copies a file to a path in the folder, durable but for its name; only so many bytes of its
    /// front where that is said, and zeros up to its size.
    pub(super) fn copy(
        &mut self,
        from: &Path,
        path: &str,
        kept: Option<u64>,
    ) -> Result<(), PortError> {
        let to = self.folder.join(path);
        let source = File::open(from).map_err(refused("open", from))?;
        let bytes = source.metadata().map_err(refused("read", from))?.len();
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir).map_err(refused("make", dir))?;
        }
        let target = File::create(&to).map_err(refused("make", &to))?;
        let kept = kept.map_or(bytes, |kept| kept.min(bytes));
        let mut crc = 0;
        let mut at = 0;
        let mut buf = vec![0; CHUNK_BYTES];
        while at < bytes {
            let len = (bytes - at).min(CHUNK_BYTES as u64) as usize;
            let from_source = kept.saturating_sub(at).min(len as u64) as usize;
            buf[from_source..len].fill(0);
            let read = source.read_exact_at(&mut buf[..from_source], at);
            read.map_err(refused("read", from))?;
            crc = crc32c::crc32c_append(crc, &buf[..len]);
            if buf[..len] != ZEROS[..len] {
                target.write_all_at(&buf[..len], at).map_err(refused("write", &to))?;
            }
            at += len as u64;
            if from_source > 0 {
                self.done += from_source as u64;
                listen(self.heard, self.done, self.total)?;
            }
        }
        target.set_len(bytes).map_err(refused("write", &to))?;
        target.sync_all().map_err(refused("sync", &to))?;
        self.entries.push(FileEntry { path: path.into(), bytes, crc32c: crc });
        Ok(())
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
    }

    /// What was copied to a path is to be copied again.
    pub(super) fn forget(&mut self, path: &str) {
        self.entries.retain(|entry| entry.path != path);
    }
}

/// Takes up what is in the folder already, below a folder of it, and makes it durable.
pub(super) fn add_tree(copying: &mut Copying<'_, '_>, name: &str) -> Result<(), PortError> {
    let dir = copying.folder.join(name);
    for path in find(&dir)? {
        let file = dir.join(&path);
        let opened = File::open(&file).map_err(refused("open", &file))?;
        opened.sync_all().map_err(refused("sync", &file))?;
        let (bytes, crc32c) =
            checksum(&opened, &mut |_| Ok(())).map_err(|failed| match failed {
                Failed::Disk(error) => refused("read", &file)(error),
                Failed::Ended(error) => error,
            })?;
        copying.entries.push(FileEntry { path: format!("{name}/{path}"), bytes, crc32c });
        listen(copying.heard, copying.done, copying.total)?;
    }
    Ok(())
}

/// Why a file was not read to its end.
pub(super) enum Failed {
    Disk(io::Error),
    Ended(PortError),
}

/// Size and checksum of a file from where it stands on. `heard` hears of every chunk.
pub(super) fn checksum(
    mut file: &File,
    heard: &mut dyn FnMut(&[u8]) -> Result<(), PortError>,
) -> Result<(u64, u32), Failed> {
    let mut buf = vec![0; CHUNK_BYTES];
    let (mut bytes, mut crc) = (0, 0);
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok((bytes, crc)),
            Ok(len) => {
                crc = crc32c::crc32c_append(crc, &buf[..len]);
                bytes += len as u64;
                heard(&buf[..len]).map_err(Failed::Ended)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failed::Disk(error)),
        }
    }
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(CHUNK_BYTES).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// The files below a folder, as paths with `/` between names; none where it is not there.
pub(super) fn find(dir: &Path) -> Result<Vec<String>, PortError> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // Never there, or gone since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refused("list", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(refused("list", &path))?;
            let name = entry.file_name().into_string().map_err(|_| odd_name(&entry.path()))?;
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type().map_err(refused("list", &path))?;
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() {
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes the names in a folder durable, and in all below it, and its own.
pub(super) fn sync_folders(dir: &Path) -> Result<(), PortError> {
    for entry in fs::read_dir(dir).map_err(refused("list", dir))? {
        let entry = entry.map_err(refused("list", dir))?;
        if entry.file_type().map_err(refused("list", dir))?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(dir)?;
    dir.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(dir: &Path) -> Result<(), PortError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(refused("sync", dir))
}
