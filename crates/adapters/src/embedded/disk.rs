//! The disk as the embedded adapters see it: the only way from the log to a file, so that a
//! simulated disk can take its place.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Files and directories.
///
/// What was written is certain to outlive a power failure only after [`DiskFile::sync`]; a created,
/// renamed or removed name only after [`Disk::sync_dir`] of its directory. Until then any part of
/// it may have happened, in any order, in whole sectors of 512 bytes.
pub trait Disk: Send + Sync {
    /// Creates a file of `len` zero bytes with its space reserved, in place of one that is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is no room; then there is no such file.
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of one that is there, at once or not at all.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory and those above it; well where it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written in a directory's file system.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file of fixed size.
pub trait DiskFile: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from a position; an error when the file ends before.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at a position within the file.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// After an error nobody knows what is durable, and a second call that succeeds proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let reserved = match fallocate(&file, FallocateFlags::empty(), 0, len.max(1)) {
            // Some file systems cannot reserve; the size alone must do.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(len),
            other => other.map_err(io::Error::from),
        };
        if let Err(error) = reserved {
            drop(file);
            // What is left of it is of no use; the first error is the one to tell.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The operating system's file system, to look only: what would change anything is refused, and
/// files need not be writable.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyDisk;

impl Disk for ReadOnlyDisk {
    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // The system refuses to write to a file that was opened so.
        Ok(Arc::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, position)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_to_look_only_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"as it was").unwrap();
        let other = dir.path().join("other");
        let refused = [
            ReadOnlyDisk.create(&path, 1).err(),
            ReadOnlyDisk.rename(&path, &other).err(),
            ReadOnlyDisk.remove(&path).err(),
            ReadOnlyDisk.create_dir(&other).err(),
            ReadOnlyDisk.sync_dir(dir.path()).err(),
            ReadOnlyDisk.open(&path).unwrap().write_at(0, b"else").err(),
        ];
        assert!(refused.iter().all(Option::is_some), "{refused:?}");
        let mut bytes = [0; 9];
        ReadOnlyDisk.open(&path).unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"as it was");
        assert_eq!(ReadOnlyDisk.list(dir.path()).unwrap(), ["file"]);
    }
}
