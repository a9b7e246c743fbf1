//! One file of the spool, and beside it how far it is sent:
//!
//! ```text
//! <20 digits>.spool      header and entries, as in `format`
//! <20 digits>.ack        8 bytes: where the first entry that is not sent begins; 4 bytes: CRC32C
//! <20 digits>.damaged    a segment that had bad bytes before good entries, sent as far as it was good
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::format::{self, HEADER_BYTES, Header, StoredEntry};

/// Larger files are not ours: a segment ends with the entry that makes it 8 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A segment, read from the front and written at the end.
#[derive(Debug)]
pub(super) struct Segment {
    id: u64,
    path: PathBuf,
    file: File,
    /// Where the first entry that is not acknowledged begins.
    start: u64,
    /// Behind the last entry that is safe.
    end: u64,
    is_damaged: bool,
}

/// What is left to send of a segment that was there before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) entries: u64,
    pub(super) events: u64,
    pub(super) damaged_bytes: u64,
    pub(super) cut_bytes: u64,
}

/// The ids of the segments in a folder, oldest first.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut ids = Vec::new();
    let files = std::fs::read_dir(folder).map_err(SpoolError::io("list", folder))?;
    for file in files {
        let file = file.map_err(SpoolError::io("list", folder))?;
        let name = file.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".spool"));
        ids.extend(id.and_then(|id| id.parse::<u64>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

fn path(folder: &Path, id: u64, kind: &str) -> PathBuf {
    folder.join(format!("{id:020}.{kind}"))
}

impl Segment {
    /// Makes a segment with its first entry; when this returns both are safe.
    pub(super) fn create(folder: &Path, id: u64, entry: &[u8]) -> Result<Self, SpoolError> {
        let path = path(folder, id, "spool");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(&path).map_err(SpoolError::io("make", &path))?;
        let mut segment = Self { id, path, file, start: HEADER_BYTES, end: 0, is_damaged: false };
        let written =
            segment.append(&[&format::header(), entry].concat()).and_then(|()| sync_folder(folder));
        if let Err(error) = written {
            // Nothing in it was said to be safe.
            let _ = std::fs::remove_file(&segment.path);
            return Err(error);
        }
        Ok(segment)
    }

    /// Reads a segment of an earlier process: what is behind its last sound entry is cut. None, and
    /// no file any more, where there is nothing to send in it.
    pub(super) fn open(folder: &Path, id: u64) -> Result<(Option<Self>, Found), SpoolError> {
        let path = path(folder, id, "spool");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(SpoolError::io("open", &path))?;
        let length = file.metadata().map_err(SpoolError::io("read", &path))?.len();
        if length > FILE_BYTES_MAX {
            let too_large = std::io::Error::other("it is larger than any segment");
            return Err(SpoolError::io("read", &path)(too_large));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).map_err(SpoolError::io("read", &path))?;
        let mut damaged = match format::read_header(&bytes) {
            Header::Good => 0,
            Header::Unknown(version) => {
                return Err(SpoolError::UnknownVersion { file: path, version });
            }
            Header::Bad => HEADER_BYTES,
        };
        let acknowledged = read_acknowledged(folder, id).filter(|at| *at <= length);
        let start = acknowledged.unwrap_or(HEADER_BYTES);
        let (mut found, mut at) = (Found::default(), start as usize);
        while let Some((begin, entry)) = format::find(&bytes, at) {
            damaged += (begin - at) as u64;
            found.damaged_bytes += damaged;
            damaged = 0;
            found.entries += 1;
            found.events += u64::from(entry.events);
            at = entry.end as usize;
        }
        let is_damaged = found.damaged_bytes > 0;
        found.cut_bytes = length.saturating_sub(at as u64);
        let segment = Self { id, path, file, start, end: at as u64, is_damaged };
        if found.entries == 0 {
            segment.remove(folder)?;
            return Ok((None, found));
        }
        if segment.end < length {
            let cut = segment.file.set_len(segment.end).and_then(|()| segment.file.sync_all());
            cut.map_err(SpoolError::io("cut the torn end of", &segment.path))?;
        }
        Ok((Some(segment), found))
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Writes behind everything; when this returns it is safe.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let written = self.file.write_all_at(bytes, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Best left away; if that fails too it is cut at the next start, or sent with its
            // stamp, which is as good as once.
            let _ = self.file.set_len(self.end);
            return Err(SpoolError::io("write", &self.path)(error));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// The first entry that is not acknowledged; bad bytes before it are passed over.
    pub(super) fn next(&mut self) -> Result<Option<StoredEntry>, SpoolError> {
        let read = |bytes: &mut [u8], at| {
            self.file.read_exact_at(bytes, at).map_err(SpoolError::io("read", &self.path))
        };
        if self.start >= self.end {
            return Ok(None);
        }
        let mut head = [0; 12];
        if self.start + head.len() as u64 <= self.end {
            read(&mut head, self.start)?;
            let length = format::entry_bytes(&head).filter(|n| self.start + *n as u64 <= self.end);
            if let Some(length) = length {
                let mut bytes = vec![0; length];
                read(&mut bytes, self.start)?;
                if let Some(entry) = format::decode(&bytes, self.start) {
                    return Ok(Some(entry));
                }
            }
        }
        let mut rest = vec![0; (self.end - self.start) as usize];
        read(&mut rest, self.start)?;
        self.is_damaged = true;
        Ok(format::find(&rest, 0).map(|(_, mut entry)| {
            entry.end += self.start;
            entry
        }))
    }

    /// Everything before this place is sent.
    pub(super) fn acknowledge(&mut self, folder: &Path, end: u64) -> Result<(), SpoolError> {
        self.start = end;
        let path = path(folder, self.id, "ack");
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&end.to_le_bytes());
        bytes[8..].copy_from_slice(&crc32c::crc32c(&end.to_le_bytes()).to_le_bytes());
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path);
        file.and_then(|file| file.write_all_at(&bytes, 0)).map_err(SpoolError::io("write", &path))
    }

    /// All of it is sent. A damaged one stays for people to look at, under another name.
    pub(super) fn remove(self, folder: &Path) -> Result<(), SpoolError> {
        let result = match self.is_damaged {
            true => std::fs::rename(&self.path, path(folder, self.id, "damaged")),
            false => std::fs::remove_file(&self.path),
        };
        result.map_err(SpoolError::io("remove", &self.path))?;
        // Second: without its segment it says nothing, and the other way round all would be sent again.
        let _ = std::fs::remove_file(path(folder, self.id, "ack"));
        Ok(())
    }
}

/// What the file beside a segment says, if it is sound.
fn read_acknowledged(folder: &Path, id: u64) -> Option<u64> {
    let bytes = std::fs::read(path(folder, id, "ack")).ok()?;
    let (at, sum) = bytes.split_first_chunk::<8>()?;
    (*sum == crc32c::crc32c(at).to_le_bytes()).then(|| u64::from_le_bytes(*at).max(HEADER_BYTES))
}

fn sync_folder(folder: &Path) -> Result<(), SpoolError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(SpoolError::io("sync the folder", folder))
}
