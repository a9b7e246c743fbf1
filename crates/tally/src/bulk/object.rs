//! An object as something to read: from the front, or anywhere. It remembers whether reading failed
//! because the object store does not answer, which says nothing about the file.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use engine::ports::{ErrorKind, ObjectStore};

use crate::import::ReadAt;

/// Bytes fetched at a time when it is read from the front.
const STEP_BYTES: u64 = 1 << 20;

/// See the module. Clones share what they remember.
#[derive(Clone)]
pub(super) struct ObjectFile {
    objects: Arc<dyn ObjectStore>,
    name: String,
    bytes: u64,
    is_away: Arc<AtomicBool>,
}

impl ObjectFile {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, name: &str, bytes: u64) -> Self {
        Self { objects, name: name.into(), bytes, is_away: Arc::default() }
    }

    /// Whether the object store did not answer.
    pub(super) fn was_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Reads on from the front.
    pub(super) fn reader(&self) -> impl Read + Send + use<> {
        FrontReader { file: self.clone(), at: 0, ahead: Bytes::new() }
    }
}

impl ReadAt for ObjectFile {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, from: u64, len: usize) -> io::Result<Bytes> {
        match self.objects.get_range(&self.name, from..from + len as u64) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(io::Error::new(io::ErrorKind::NotFound, "the file is gone")),
            Err(error) => {
                let is_away = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded);
                self.is_away.fetch_or(is_away, Ordering::Relaxed);
                Err(io::Error::other(error))
            }
        }
    }
}

struct FrontReader {
    file: ObjectFile,
    at: u64,
    ahead: Bytes,
}

impl Read for FrontReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let left = self.file.bytes.saturating_sub(self.at);
            if left == 0 {
                return Ok(0);
            }
            self.ahead = self.file.read_at(self.at, left.min(STEP_BYTES) as usize)?;
            self.at += self.ahead.len() as u64;
        }
        let taken = self.ahead.split_to(out.len().min(self.ahead.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
