//! The number of partitions, and whether more than it says how events are routed to them.
//!
//! ```text
//! <dir>/log.meta
//!
//! byte  size  all numbers little-endian
//!    0     8  magic "TALLYLOG"
//!    8     2  format version: 1, or 2 where the routing table has more than its first version
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
/// A program that knows only the first would route by the number of partitions alone.
const VERSION_ROUTED: u16 = 2;
const META_BYTES: usize = 16;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Meta {
    /// Number of partitions.
    pub(in crate::embedded) partitions: u16,
    /// Whether there must be a routing table beside it.
    pub(in crate::embedded) is_routed: bool,
}

pub(super) fn to_bytes(Meta { partitions, is_routed }: Meta) -> [u8; META_BYTES] {
    let mut bytes = [0; META_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    let version = if is_routed { VERSION_ROUTED } else { VERSION };
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    bytes[10..12].copy_from_slice(&partitions.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn read(bytes: &[u8]) -> Option<Meta> {
    let is_routed = match version(bytes)? {
        VERSION => false,
        VERSION_ROUTED => true,
        _ => return None,
    };
    Some(Meta { partitions: u16::from_le_bytes([bytes[10], bytes[11]]), is_routed })
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
    Ok(stored(disk, dir)?.map(|meta| meta.partitions))
}

/// What a log folder says; none before the first start.
///
/// # Errors
/// See [`stored_partitions`].
pub(in crate::embedded) fn stored(disk: &dyn Disk, dir: &Path) -> Result<Option<Meta>, PortError> {
    let path = dir.join(NAME);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable("read", &path)(error)),
    };
    let mut bytes = vec![0; file.size().map_err(unavailable("read", &path))?.min(64) as usize];
    file.read_at(0, &mut bytes).map_err(unavailable("read", &path))?;
    read(&bytes).map(Some).ok_or_else(|| match version(&bytes) {
        Some(version) => unknown_version(&path, version, VERSION_ROUTED),
        None => {
            let damaged = "is damaged: restore the data folder from a backup";
            PortError::new(ErrorKind::Corrupt, format!("{} {damaged}", path.display()))
        }
    })
}

/// The error for a sound file of a format above the newest that this program knows.
pub(in crate::embedded) fn unknown_version(path: &Path, version: u16, newest: u16) -> PortError {
    let context = format!(
        "{} has format {version}, this program knows only those up to {newest}: use the program that \
         wrote it, or a newer one; nothing was changed",
        path.display()
    );
    PortError::new(ErrorKind::Invalid, context)
}

/// Writes what is there from now on, whole or not at all.
pub(in crate::embedded) fn store(disk: &dyn Disk, dir: &Path, meta: Meta) -> Result<(), PortError> {
    let (tmp, path) = (dir.join("log.meta.tmp"), dir.join(NAME));
    let written = disk.create(&tmp, META_BYTES as u64).and_then(|file| {
        file.write_at(0, &to_bytes(meta))?;
        file.sync()?;
        disk.rename(&tmp, &path)?;
        disk.sync_dir(dir)
    });
    written.map_err(unavailable("write", &path))
}

/// Wraps an error of the disk at start, when nothing can have been lost by it.
pub(in crate::embedded) fn unavailable<'a>(
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
        let meta = |partitions, is_routed| Meta { partitions, is_routed };
        let hex: String = to_bytes(meta(2, false)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "54414c4c594c4f470100020002ce5711");
        for meta in [meta(1024, false), meta(1024, true)] {
            assert_eq!(read(&to_bytes(meta)), Some(meta));
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut later = to_bytes(Meta { partitions: 2, is_routed: false });
        later[8] = 3;
        assert_eq!((read(&later), version(&later)), (None, None), "the checksum is of version 1");
        let crc = crc32c::crc32c(&later[..12]);
        later[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!((read(&later), version(&later)), (None, Some(3)));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..META_BYTES * 8 {
            let mut bytes = to_bytes(Meta { partitions: 2, is_routed: false });
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), None, "bit {bit}");
        }
    }
}
