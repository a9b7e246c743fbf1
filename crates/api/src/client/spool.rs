//! Requests on disk, first in, first out: what could not be sent is kept here until it can be.
//!
//! A folder of segment files, layout in [`format`]; one process owns it by a lock. An entry is safe
//! once [`Spool::append`] returns: written and fsynced, its file's name too. How far the oldest
//! segment is sent stands beside it and is not fsynced: an entry sent again is not counted again,
//! because it has the same stamp. A segment is removed when all of it is sent.

mod format;
mod segment;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub(super) use format::{Entry, StoredEntry};
use segment::Segment;

/// A segment is closed at this size, or a quarter of the room where that is less.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Why the spool does not take or give an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// It holds as many bytes as it may.
    #[error("the spool is full")]
    Full,
    /// Another process uses the folder.
    #[error("the spool {folder} is in use by another process; give each its own folder", folder = folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that a later version wrote.
    #[error(
        "{file} has format {version}, this program knows only {known}: use the program that wrote it, \
         or a newer one",
        file = file.display(),
        known = format::VERSION
    )]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The disk failed.
    #[error("cannot {act} {file}", file = file.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SpoolError {
    fn io<'a>(act: &'static str, file: &'a Path) -> impl FnOnce(std::io::Error) -> Self + use<'a> {
        move |source| Self::Io { act, file: file.to_owned(), source }
    }
}

/// What a spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) damaged_bytes: u64,
    pub(super) cut_bytes: u64,
}

/// A spool. Everything but the figures blocks: call it where that is allowed.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
    /// Entries that are not acknowledged, readable without the lock.
    pending: AtomicU64,
    /// Hears of each entry that came or went.
    pub(super) changed: Notify,
    /// Held until it is released.
    lock: Mutex<Option<File>>,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    /// Whether the newest segment takes more.
    is_open: bool,
    next_id: u64,
    pending_events: u64,
    damaged_bytes: u64,
    cut_bytes: u64,
}

impl Spool {
    /// Opens a folder, made if need be, and reads what an earlier process left there. Torn ends of
    /// files are cut; damage before good entries is counted, and the file is kept as `.damaged`.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        std::fs::create_dir_all(folder).map_err(SpoolError::io("make the folder", folder))?;
        let lock = lock(folder)?;
        let mut state = State::default();
        let mut pending = 0;
        for id in segment::list(folder)? {
            state.next_id = state.next_id.max(id + 1);
            let (segment, found) = Segment::open(folder, id)?;
            pending += found.entries;
            state.pending_events += found.events;
            state.damaged_bytes += found.damaged_bytes;
            state.cut_bytes += found.cut_bytes;
            state.segments.extend(segment);
        }
        let spool = Self {
            folder: folder.to_owned(),
            max_bytes,
            state: Mutex::new(state),
            pending: AtomicU64::new(pending),
            changed: Notify::new(),
            lock: Mutex::new(Some(lock)),
        };
        if pending == 0 {
            spool.clear(&mut spool.state())?;
        }
        Ok(spool)
    }

    /// Lets another open the folder; nothing may be done with this one any more.
    pub(super) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state();
        let bytes = state.segments.iter().map(Segment::bytes).sum();
        Figures {
            events: state.pending_events,
            bytes,
            damaged_bytes: state.damaged_bytes,
            cut_bytes: state.cut_bytes,
        }
    }

    /// Adds an entry behind all others; when this returns it is safe.
    pub(super) fn append(&self, entry: &Entry<'_>) -> Result<(), SpoolError> {
        let bytes = format::encode(entry);
        let length = bytes.len() as u64;
        let mut state = self.state();
        let held: u64 = state.segments.iter().map(Segment::bytes).sum();
        if held + length + format::HEADER_BYTES > self.max_bytes {
            return Err(SpoolError::Full);
        }
        let segment_bytes = SEGMENT_BYTES.min(self.max_bytes / 4);
        let fits = |segment: &&mut Segment| segment.bytes() + length <= segment_bytes;
        let is_open = state.is_open;
        let written = match state.segments.back_mut().filter(|_| is_open).filter(fits) {
            Some(segment) => segment.append(&bytes),
            None => {
                let id = state.next_id;
                state.next_id += 1;
                Segment::create(&self.folder, id, &bytes).map(|new| {
                    state.segments.push_back(new);
                })
            }
        };
        // What a failed write left is unknown: the next entry goes to a new file.
        state.is_open = written.is_ok();
        written?;
        state.pending_events += u64::from(entry.events);
        self.pending.fetch_add(1, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The oldest entry that is not acknowledged.
    pub(super) fn peek(&self) -> Result<Option<StoredEntry>, SpoolError> {
        let mut state = self.state();
        loop {
            if self.is_empty() {
                return Ok(None);
            }
            let Some(segment) = state.segments.front_mut() else {
                // Damage took what was still counted on.
                state.pending_events = 0;
                self.pending.store(0, Ordering::Release);
                self.changed.notify_waiters();
                return Ok(None);
            };
            if let Some(entry) = segment.next()? {
                return Ok(Some(entry));
            }
            let is_last = state.segments.len() == 1;
            if is_last {
                state.is_open = false;
            }
            if let Some(segment) = state.segments.pop_front() {
                segment.remove(&self.folder)?;
            }
        }
    }

    /// The entry that [`Spool::peek`] gave is settled.
    pub(super) fn acknowledge(&self, entry: &StoredEntry) -> Result<(), SpoolError> {
        let mut state = self.state();
        state.pending_events = state.pending_events.saturating_sub(u64::from(entry.events));
        let front = state.segments.front_mut();
        let mut noted = front.map_or(Ok(()), |front| front.acknowledge(&self.folder, entry.end));
        if self.pending.load(Ordering::Acquire) == 1 {
            noted = noted.and(self.clear(&mut state));
        }
        // Settled, also where that could not be noted: it is sent again after a restart at worst, with
        // its stamp. Last: whoever sees an empty spool overtakes nothing.
        self.pending.fetch_sub(1, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
        noted
    }

    /// Removes all segments; all of them are sent.
    fn clear(&self, state: &mut State) -> Result<(), SpoolError> {
        state.is_open = false;
        while let Some(segment) = state.segments.pop_front() {
            segment.remove(&self.folder)?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(folder: &Path) -> Result<File, SpoolError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(SpoolError::io("make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(SpoolError::io("lock", &path)(source)),
    }
}

#[cfg(test)]
mod tests;
