//! The disk as one process holds it: its files are gone when the process is, it can be slow, and
//! it can lie about syncs where that bug is planted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use adapters::embedded::disk::{Disk, DiskFile};
use adapters::embedded::mem_disk::MemDisk;

use crate::clock::SimClock;

/// One in so many syncs is dropped where that bug is planted.
const SYNCS_TO_ONE_DROPPED: u64 = 3;

/// What a process and its open files share.
#[derive(Debug)]
pub(crate) struct Life {
    is_over: AtomicBool,
    clock: Arc<SimClock>,
    slow_ms: AtomicI64,
    drops_syncs: bool,
    syncs: AtomicU64,
}

impl Life {
    /// The life of a process that begins.
    pub(crate) fn new(clock: Arc<SimClock>, slow_ms: i64, drops_syncs: bool) -> Arc<Self> {
        let (is_over, slow_ms) = (AtomicBool::new(false), AtomicI64::new(slow_ms));
        Arc::new(Self { is_over, clock, slow_ms, drops_syncs, syncs: AtomicU64::new(0) })
    }

    /// Ends it: whatever the process still tries comes to nothing.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// How long each change to the disk takes from now on, in milliseconds.
    pub(crate) fn set_slow(&self, ms: i64) {
        self.slow_ms.store(ms, Ordering::Relaxed);
    }

    fn enter(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the process is gone"));
        }
        Ok(())
    }

    fn change(&self) -> io::Result<()> {
        self.enter()?;
        self.clock.pass(self.slow_ms.load(Ordering::Relaxed));
        Ok(())
    }
}

/// See the module.
pub(crate) struct ProcessDisk {
    /// The disk, which outlives the process.
    pub(crate) disk: MemDisk,
    /// The process.
    pub(crate) life: Arc<Life>,
}

impl ProcessDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ProcessFile { file, life: self.life.clone() })
    }
}

impl Disk for ProcessDisk {
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.life.change()?;
        self.disk.create(path, len).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.life.enter()?;
        self.disk.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.life.change()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.life.change()?;
        self.disk.remove(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.life.change()?;
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.life.enter()?;
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.life.change()?;
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.life.enter()?;
        self.disk.free_bytes(dir)
    }
}

struct ProcessFile {
    file: Arc<dyn DiskFile>,
    life: Arc<Life>,
}

impl DiskFile for ProcessFile {
    fn size(&self) -> io::Result<u64> {
        self.life.enter()?;
        self.file.size()
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        self.life.enter()?;
        self.file.read_at(position, buf)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.life.change()?;
        self.file.write_at(position, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.life.change()?;
        let number = self.life.syncs.fetch_add(1, Ordering::Relaxed);
        if self.life.drops_syncs && number % SYNCS_TO_ONE_DROPPED == 2 {
            return Ok(());
        }
        self.file.sync()
    }
}
