//! Ids for events whose source has none: the same when the same file is sent again, different for
//! equal lines at different places.
//!
//! An id is a 128-bit hash of the head of the file, the number of the line and its bytes. The head
//! (not the whole file, nor its name) makes equal lines of different files differ, while a log that
//! has grown since keeps the ids of the lines that were there.

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};
use std::hash::Hasher;

/// How much of the uncompressed beginning of a file stands for it.
pub(super) const HEAD_BYTES: usize = 4096;

/// Fixed for ever: another key would make other ids of the same file.
const KEYS: (u64, u64) = (0x7461_6c6c_792d_6964, 0x6672_6f6d_2d6c_696e);

/// Makes the ids of one file.
#[derive(Clone, Debug)]
pub(super) struct IdDeriver {
    head: u128,
}

impl IdDeriver {
    /// For a file that begins so, uncompressed.
    pub(super) fn new(head: &[u8]) -> Self {
        Self { head: digest([head]).as_u128() }
    }

    /// The id of the record at this position: 32 hexadecimal digits. `parts` are the bytes of the
    /// line, or the fields of the row.
    pub(super) fn derive<'a>(
        &self,
        position: u64,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> String {
        let mut hasher = hasher();
        hasher.write(&self.head.to_be_bytes());
        hasher.write(&position.to_be_bytes());
        format!("{:032x}", finish(hasher, parts).as_u128())
    }
}

/// Hashes parts with their lengths, so that moving a byte from one part to the next changes the
/// result.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash128 {
    finish(hasher(), parts)
}

/// A digest of a whole file, bit by bit.
pub(crate) struct Digest(SipHasher13);

impl Digest {
    /// Of nothing.
    pub(crate) fn new() -> Self {
        Self(hasher())
    }

    /// Adds what comes next.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The digest of all that was added.
    pub(crate) fn finish(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}

/// Hashes all that is read.
pub(crate) fn digest_all(mut from: impl std::io::Read) -> std::io::Result<u128> {
    let (mut digest, mut buffer) = (Digest::new(), vec![0; 256 << 10]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(digest.finish()),
            read => digest.add(&buffer[..read]),
        }
    }
}

fn hasher() -> SipHasher13 {
    SipHasher13::new_with_keys(KEYS.0, KEYS.1)
}

fn finish<'a>(mut hasher: SipHasher13, parts: impl IntoIterator<Item = &'a [u8]>) -> Hash128 {
    for part in parts {
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part);
    }
    hasher.finish128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_head_position_and_bytes_and_on_nothing_else() {
        let ids = IdDeriver::new(b"head");
        let id = ids.derive(7, [b"line".as_slice()]);
        assert_eq!(id, IdDeriver::new(b"head").derive(7, [b"line".as_slice()]));
        assert_ne!(id, ids.derive(8, [b"line".as_slice()]));
        assert_ne!(id, ids.derive(7, [b"lines".as_slice()]));
        assert_ne!(id, IdDeriver::new(b"Head").derive(7, [b"line".as_slice()]));
        assert_ne!(
            ids.derive(7, [b"ab".as_slice(), b"c".as_slice()]),
            ids.derive(7, [b"a".as_slice(), b"bc".as_slice()])
        );
    }

    #[test]
    fn ids_never_change_between_versions() {
        let id = IdDeriver::new(b"head").derive(1, [b"line".as_slice()]);
        assert_eq!(id, "17151bb2581adc14e5578a4914c4aa10");
    }
}
