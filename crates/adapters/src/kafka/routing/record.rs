//! The records of the routing table's topic.
//!
//! ```text
//! a version   key   = 76 'v' | number u32 | writer u64 | attempt u64
//!             value = 01 | place u64 | version (see `model::route`)
//! the clock   key   = 63 'c'
//!             value = 01 | floor i64
//! ```
//!
//! Numbers are little-endian. `place` is the offset that the writer expected: a version that stands
//! elsewhere lost against another record, and is none. Writer and attempt are random and counted, so
//! that no record replaces another one that won.

use model::{RoutingVersion, TimestampMs};

const VERSION: u8 = b'v';
const CLOCK: u8 = b'c';
/// What this program writes and the only thing it reads.
const FORMAT: u8 = 1;

/// Who wrote a version, and when they tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VersionKey {
    /// Its number; the first is 1.
    pub(super) number: u32,
    pub(super) writer: u64,
    pub(super) attempt: u64,
}

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Version(VersionKey),
    Clock,
}

/// A version as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The offset at which it is one.
    pub(super) place: u64,
    pub(super) version: RoutingVersion,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is none of tally's")]
    Key,
    #[error("it is of format {0}, which a newer program writes")]
    Format(u8),
    #[error("its bytes are damaged")]
    Bytes,
    #[error("the broker does not say when it was appended")]
    AppendTime,
}

impl Key {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes {
            [CLOCK] => Ok(Self::Clock),
            [VERSION, rest @ ..] => {
                let (number, rest) = rest.split_first_chunk().ok_or(Unreadable::Key)?;
                let (writer, rest) = rest.split_first_chunk().ok_or(Unreadable::Key)?;
                let attempt = rest.try_into().map_err(|_| Unreadable::Key)?;
                Ok(Self::Version(VersionKey {
                    number: u32::from_le_bytes(*number),
                    writer: u64::from_le_bytes(*writer),
                    attempt: u64::from_le_bytes(attempt),
                }))
            }
            _ => Err(Unreadable::Key),
        }
    }

    pub(super) fn write(self) -> Vec<u8> {
        match self {
            Self::Clock => vec![CLOCK],
            Self::Version(VersionKey { number, writer, attempt }) => {
                let mut out = vec![VERSION];
                out.extend(number.to_le_bytes());
                out.extend(writer.to_le_bytes());
                out.extend(attempt.to_le_bytes());
                out
            }
        }
    }
}

impl Written {
    pub(super) fn read(value: &[u8]) -> Result<Self, Unreadable> {
        let (place, version) = body(value)?.split_first_chunk().ok_or(Unreadable::Bytes)?;
        let version = RoutingVersion::from_bytes(version).map_err(|_| Unreadable::Bytes)?;
        Ok(Self { place: u64::from_le_bytes(*place), version })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.place.to_le_bytes());
        out.extend(self.version.to_bytes());
        out
    }
}

/// The time below which the clock is not, whatever the broker says.
pub(super) fn read_floor(value: &[u8]) -> Result<TimestampMs, Unreadable> {
    let floor = body(value)?.try_into().map_err(|_| Unreadable::Bytes)?;
    Ok(TimestampMs(i64::from_le_bytes(floor)))
}

pub(super) fn write_floor(floor: TimestampMs) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend(floor.0.to_le_bytes());
    out
}

fn body(value: &[u8]) -> Result<&[u8], Unreadable> {
    match value.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((&format, _)) => Err(Unreadable::Format(format)),
        None => Err(Unreadable::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        assert_eq!(Key::Clock.write(), b"c");
        let key = Key::Version(VersionKey { number: 258, writer: 3, attempt: 4 });
        assert_eq!(key.write(), b"v\x02\x01\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0");
        assert_eq!(write_floor(TimestampMs(-2)), b"\x01\xfe\xff\xff\xff\xff\xff\xff\xff");
        let (published, effective) = (TimestampMs(5), TimestampMs(6));
        let version = RoutingVersion { published, effective, partitions: 7, changes: Vec::new() };
        let written = Written { place: 9, version };
        let bytes = b"\x01\x09\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0";
        assert_eq!(written.write(), bytes);
        assert_eq!(Written::read(bytes), Ok(written));
        for len in 1..bytes.len() {
            assert_eq!(Written::read(&bytes[..len]), Err(Unreadable::Bytes), "{len}");
        }
        assert_eq!(Written::read(b"\x02"), Err(Unreadable::Format(2)));
    }

    proptest! {
        /// Whatever the bytes, they are refused or are what would be written.
        #[test]
        fn bytes_are_never_trusted(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            kind in prop_oneof![Just(VERSION), Just(CLOCK), Just(FORMAT)],
        ) {
            let bytes = [&[kind], &bytes[..]].concat();
            if let Ok(key) = Key::read(&bytes) {
                prop_assert_eq!(key.write(), &bytes[..]);
            }
            if let Ok(written) = Written::read(&bytes) {
                prop_assert_eq!(written.write(), &bytes[..]);
            }
            if let Ok(floor) = read_floor(&bytes) {
                prop_assert_eq!(write_floor(floor), bytes);
            }
        }
    }
}
