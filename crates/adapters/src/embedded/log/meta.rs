//! What is decided at the first start and holds for the life of the data: the number of partitions.
//!
//! ```text
//! <dir>/log.meta
//!
//! byte  size  all numbers little-endian
//!    0     8  magic "TALLYLOG"
//!    8     2  format version, 1
//!   10     2  number of partitions
//!   12     4  CRC32C of bytes 0 to 11
//! ```

use std::io;
use std::path::Path;

use engine::ports::{ErrorKind, PortError};

use super::batch::u32_at;
use crate::embedded::disk::Disk;

const NAME: &str = "log.meta";
const MAGIC: &[u8; 8] = b"TALLYLOG";
const VERSION: u16 = 1;
const META_BYTES: usize = 16;

pub(super) fn to_bytes(partitions: u16) -> [u8; META_BYTES] {
    let mut bytes = [0; META_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&partitions.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Option<u16> {
    let is_known = version(bytes) == Some(VERSION);
    is_known.then(|| u16::from_le_bytes([bytes[10], bytes[11]]))
}

/// The version that sound bytes say they have, known or not.
fn version(bytes: &[u8]) -> Option<u16> {
    let is_whole = bytes.len() == META_BYTES && crc32c::crc32c(&bytes[..12]) == u32_at(bytes, 12);
    (is_whole && &bytes[..8] == MAGIC).then(|| u16::from_le_bytes([bytes[8], bytes[9]]))
}

/// The number of partitions that a log folder has; none before the first start.
///
/// # Errors
/// `Invalid` where another version wrote the file, `Corrupt` where it is damaged, `Unavailable` where it
/// cannot be read.
pub fn stored_partitions(disk: &dyn Disk, dir: &Path) -> Result<Option<u16>, PortError> {
    let path = dir.join(NAME);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable("read", &path)(error)),
    };
    let mut bytes = vec![0; file.size().map_err(unavailable("read", &path))?.min(64) as usize];
    file.read_at(0, &mut bytes).map_err(unavailable("read", &path))?;
    read(&bytes).map(Some).ok_or_else(|| match version(&bytes) {
        Some(version) => unknown_version(&path, version),
        None => {
            let damaged = "is damaged: restore the data folder from a backup";
            PortError::new(ErrorKind::Corrupt, format!("{} {damaged}", path.display()))
        }
    })
}

/// The error for a sound file whose format this program does not know.
pub(super) fn unknown_version(path: &Path, version: u16) -> PortError {
    let context = format!(
        "{} has format {version}, this program knows only {VERSION}: use the program that wrote it, or \
         a newer one; nothing was changed",
        path.display()
    );
    PortError::new(ErrorKind::Invalid, context)
}

/// Writes the number of partitions, whole or not at all.
pub(super) fn store(disk: &dyn Disk, dir: &Path, partitions: u16) -> Result<(), PortError> {
    let (tmp, path) = (dir.join("log.meta.tmp"), dir.join(NAME));
    let written = disk.create(&tmp, META_BYTES as u64).and_then(|file| {
        file.write_at(0, &to_bytes(partitions))?;
        file.sync()?;
        disk.rename(&tmp, &path)?;
        disk.sync_dir(dir)
    });
    written.map_err(unavailable("write", &path))
}

/// Wraps an error of the disk at start, when nothing can have been lost by it.
pub(super) fn unavailable<'a>(
    act: &'a str,
    path: &'a Path,
) -> impl Fn(io::Error) -> PortError + 'a {
    move |error| {
        let context = format!("cannot {act} {}", path.display());
        PortError::caused(ErrorKind::Unavailable, context, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let hex: String = to_bytes(2).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "54414c4c594c4f470100020002ce5711");
        assert_eq!(read(&to_bytes(1024)), Some(1024));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut later = to_bytes(2);
        later[8] = 2;
        assert_eq!((read(&later), version(&later)), (None, None), "the checksum is of version 1");
        let crc = crc32c::crc32c(&later[..12]);
        later[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!((read(&later), version(&later)), (None, Some(2)));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..META_BYTES * 8 {
            let mut bytes = to_bytes(2);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), None, "bit {bit}");
        }
    }
}
