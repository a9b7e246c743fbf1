//! A disk in memory that forgets as a real one does: unsynced writes and names survive a power
//! failure in any subset, torn at sectors, as its seed decides.
//!
//! Fault model: crash at any operation that changes something; a failed sync whose pages are then
//! clean in memory and missing on the medium; reads and writes that fail, writes that stop half
//! way; a full disk; bit flips at rest. A sector of 512 bytes is written whole or not at all. The
//! same seed and operations give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

mod faults;
mod inode;

pub use faults::DiskFault;
use faults::Orders;
use inode::{Inode, coin, draw};

const SECTOR_BYTES: usize = 512;

/// See the module. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct MemDisk(Arc<Mutex<Medium>>);

#[derive(Debug)]
struct Medium {
    random: u64,
    /// Names as running programs see them, and as they are certain to survive.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<(PathBuf, NameChange)>,
    inodes: Vec<Inode>,
    free_bytes: u64,
    operations: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<u64>,
    orders: Orders,
    is_down: bool,
    /// Rises with every restart: files opened before belong to a process that is gone.
    boots: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(usize),
    Unlink,
    Rename(PathBuf, usize),
}

impl MemDisk {
    /// An empty disk of 1 GiB.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            random: seed,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            inodes: Vec::new(),
            free_bytes: 1 << 30,
            operations: 0,
            crash_at: None,
            fail_sync_at: None,
            orders: Orders::default(),
            is_down: false,
            boots: 0,
        })))
    }

    /// Fails the `n`-th operation from now that changes something (0 is the next one), and every
    /// one after it, until [`Self::restart`] or [`Self::power_cycle`].
    pub fn crash_after(&self, n: u64) {
        let mut medium = self.0.lock();
        medium.crash_at = Some(medium.operations + n);
    }

    /// Fails the first sync of a file at or after the `n`-th operation from now, once.
    pub fn fail_sync_after(&self, n: u64) {
        let mut medium = self.0.lock();
        medium.fail_sync_at = Some(medium.operations + n);
    }

    /// Lets the `n`-th operation of the fault's kind from now fail (0 is the next one), once.
    pub fn fail_after(&self, fault: DiskFault, n: u64) {
        self.0.lock().orders.order(fault, n);
    }

    /// Takes back every crash and fault that was ordered and has not struck.
    pub fn call_off(&self) {
        let mut medium = self.0.lock();
        medium.crash_at = None;
        medium.fail_sync_at = None;
        medium.orders.cancel();
    }

    /// How often each fault has struck.
    pub fn struck(&self) -> BTreeMap<DiskFault, u64> {
        self.0.lock().orders.struck.clone()
    }

    /// Sets how much room is left.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.lock().free_bytes = bytes;
    }

    /// Fills the disk; how much room there was.
    pub fn take_room(&self) -> u64 {
        std::mem::take(&mut self.0.lock().free_bytes)
    }

    /// Adds so much room.
    pub fn give_room(&self, bytes: u64) {
        self.0.lock().free_bytes += bytes;
    }

    /// Number of operations so far that changed something.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Whether the disk is down after [`Self::crash_after`].
    pub fn is_down(&self) -> bool {
        self.0.lock().is_down
    }

    /// The process died and a new one starts: unsynced writes are still in the page cache.
    pub fn restart(&self) {
        self.call_off();
        let mut medium = self.0.lock();
        medium.is_down = false;
        medium.boots += 1;
    }

    /// The power failed and came back: of what was not synced, the seed decides what is left.
    pub fn power_cycle(&self) {
        self.restart();
        let mut medium = self.0.lock();
        let medium = &mut *medium;
        for inode in &mut medium.inodes {
            inode.lose_power(&mut medium.random);
        }
        for (path, change) in std::mem::take(&mut medium.pending_names) {
            if coin(&mut medium.random) {
                apply(&mut medium.durable_names, path, change);
            }
        }
        medium.names = medium.durable_names.clone();
    }

    /// A file's bytes as a program would read them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let medium = self.0.lock();
        medium.names.get(path).map(|&inode| medium.inodes[inode].cached.clone())
    }

    /// Replaces bytes at rest, as a failing medium does.
    ///
    /// # Panics
    /// When there is no such file or it is shorter.
    pub fn damage(&self, path: &Path, position: usize, bytes: &[u8]) {
        let mut medium = self.0.lock();
        let inode = medium.names[path];
        let inode = &mut medium.inodes[inode];
        inode.cached[position..][..bytes.len()].copy_from_slice(bytes);
        inode.durable.resize(inode.cached.len(), 0);
        inode.durable[position..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Flips one bit at rest.
    ///
    /// # Panics
    /// When there is no such file or it is shorter.
    pub fn flip_bit(&self, path: &Path, position: usize, bit: u8) {
        let byte = self.bytes(path).expect("the file is there")[position];
        self.damage(path, position, &[byte ^ 1 << bit]);
    }

    /// Paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// Every name with length and checksum of its bytes: equal where two disks are.
    pub fn fingerprint(&self) -> String {
        let medium = self.0.lock();
        let mut text = String::new();
        for (path, &inode) in &medium.names {
            let bytes = &medium.inodes[inode].cached;
            let checksum = crc32c::crc32c(bytes);
            writeln!(text, "{} {} {checksum:08x}", path.display(), bytes.len())
                .expect("a String takes all");
        }
        text
    }
}

impl Medium {
    /// Counts an operation that changes something; an error where the disk is or goes down. The
    /// operation that a crash hits may still have happened.
    fn change(&mut self) -> (bool, io::Result<()>) {
        if self.is_down {
            return (false, Err(io::Error::other("the disk is down")));
        }
        let operation = self.operations;
        self.operations += 1;
        if self.crash_at.is_some_and(|at| operation >= at) {
            self.is_down = true;
            return (true, Err(io::Error::other("the disk went down")));
        }
        (true, Ok(()))
    }

    fn rename_pending(&mut self, path: &Path, change: NameChange) {
        apply(&mut self.names, path.to_owned(), change.clone());
        self.pending_names.push((path.to_owned(), change));
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, path: PathBuf, change: NameChange) {
    match change {
        NameChange::Link(inode) => {
            names.insert(path, inode);
        }
        NameChange::Unlink => {
            names.remove(&path);
        }
        NameChange::Rename(from, inode) => {
            names.remove(&from);
            names.insert(path, inode);
        }
    }
}

impl Disk for MemDisk {
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut medium = self.0.lock();
        let (happened, result) = medium.change();
        if happened {
            let replaced = medium.names.get(path).map(|&inode| medium.inodes[inode].cached.len());
            medium.free_bytes += replaced.unwrap_or(0) as u64;
            if len > medium.free_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            medium.free_bytes -= len;
            medium.inodes.push(Inode { cached: vec![0; len as usize], ..Inode::default() });
            let inode = medium.inodes.len() - 1;
            medium.rename_pending(path, NameChange::Link(inode));
        }
        result?;
        let inode = medium.inodes.len() - 1;
        Ok(Arc::new(MemFile { disk: self.clone(), inode, boot: medium.boots }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let medium = self.0.lock();
        let inode = medium.inode(path)?;
        Ok(Arc::new(MemFile { disk: self.clone(), inode, boot: medium.boots }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut medium = self.0.lock();
        let inode = medium.inode(from)?;
        let (happened, result) = medium.change();
        if happened {
            medium.rename_pending(to, NameChange::Rename(from.to_owned(), inode));
        }
        result
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut medium = self.0.lock();
        let inode = medium.inode(path)?;
        let (happened, result) = medium.change();
        if happened {
            medium.free_bytes += medium.inodes[inode].cached.len() as u64;
            medium.rename_pending(path, NameChange::Unlink);
        }
        result
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        // Directories are there; only names of files can be lost.
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let medium = self.0.lock();
        let within = medium.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut medium = self.0.lock();
        let medium = &mut *medium;
        medium.change().1?;
        for (path, change) in std::mem::take(&mut medium.pending_names) {
            if path.parent() == Some(dir) {
                apply(&mut medium.durable_names, path, change);
            } else {
                medium.pending_names.push((path, change));
            }
        }
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.0.lock().free_bytes)
    }
}

struct MemFile {
    disk: MemDisk,
    inode: usize,
    boot: u64,
}

impl MemFile {
    /// Runs a change on the inode, which happens or not as the medium says.
    fn change(&self, change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut medium = self.disk.0.lock();
        if medium.boots != self.boot {
            return Err(io::Error::other("the file was open in a process that is gone"));
        }
        let (happened, result) = medium.change();
        if happened {
            change(&mut medium.inodes[self.inode]);
        }
        result
    }

    /// How much of a write gets to the file, and what the writer is told.
    fn written<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
        let mut medium = self.disk.0.lock();
        if medium.orders.is_due(DiskFault::FailedWrite) {
            return (&[], Err(io::Error::other("the write failed")));
        }
        if medium.orders.is_due(DiskFault::ShortWrite) {
            let len = draw(&mut medium.random) as usize % bytes.len().max(1);
            return (&bytes[..len], Err(io::Error::other("the write stopped half way")));
        }
        (bytes, Ok(()))
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut medium = self.disk.0.lock();
        if medium.orders.is_due(DiskFault::FailedRead) {
            return Err(io::Error::other("the read failed"));
        }
        let bytes = medium.inodes[self.inode].cached.get(position as usize..);
        let bytes = bytes.and_then(|bytes| bytes.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let (bytes, result) = self.written(bytes);
        self.change(|inode| {
            let position = position as usize;
            inode.cached[position..][..bytes.len()].copy_from_slice(bytes);
            inode.pending.push((position, bytes.to_vec()));
        })?;
        result
    }

    fn sync(&self) -> io::Result<()> {
        // A crash may hit before or after it took effect; pending writes that stay say both.
        self.change(|_| ())?;
        let mut medium = self.disk.0.lock();
        let medium = &mut *medium;
        if medium.fail_sync_at.is_some_and(|at| medium.operations > at) {
            medium.fail_sync_at = None;
            medium.orders.note(DiskFault::FailedSync);
            medium.inodes[self.inode].fail_sync(&mut medium.random);
            return Err(io::Error::other("the sync failed"));
        }
        medium.inodes[self.inode].sync();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
