//! Ids for events that carry none: random, or derived from what a retry repeats.

use std::hash::Hasher;

use model::TimestampMs;
use model::limits::ID_BYTES_MAX;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Where the ids of a request's events come from.
#[derive(Clone, Debug)]
pub(crate) enum IdSource {
    /// UUIDv7: the time of arrival, then random bits that begin at random for each request and are
    /// counted up within it.
    Random {
        /// The random bits of the request.
        bits: u128,
    },
    /// From the `Idempotency-Key` header: a hash of the key, then the index of the event.
    Derived {
        /// Hash of the key as 32 hexadecimal digits.
        prefix: String,
    },
}

impl IdSource {
    /// Ids that no other request gets.
    pub(crate) fn random() -> Self {
        Self::Random { bits: rand::random() }
    }

    /// Ids that a request with the same key gets again: `<32 hexadecimal digits>-<index>`.
    pub(crate) fn from_key(key: &[u8]) -> Self {
        Self::Derived { prefix: format!("{:032x}", hash([key])) }
    }

    /// Whether a repeat of the request gets the same ids.
    pub(crate) fn are_repeated(&self) -> bool {
        matches!(self, Self::Derived { .. })
    }

    /// The id of the event at an index of the request.
    pub(crate) fn next(&self, index: u32, now: TimestampMs) -> String {
        match self {
            Self::Random { bits } => {
                let bytes = bits.wrapping_add(u128::from(index)).to_be_bytes();
                let random = bytes[6..].try_into().expect("10 of 16 bytes");
                let millis = u64::try_from(now.0).unwrap_or(0);
                let uuid = uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid();
                uuid.hyphenated().to_string()
            }
            Self::Derived { prefix } => format!("{prefix}-{index}"),
        }
    }
}

/// The id of a CloudEvent, whose identity is its source and id together: `source id` where that is
/// printable ASCII of at most 64 characters, else the hash of both as 32 hexadecimal digits. A
/// source is a URI reference, so that the space between them is not ambiguous; a source that has
/// one is hashed.
pub(crate) fn cloud_event_id(source: &str, id: &str) -> String {
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| (0x21..0x7f).contains(&b));
    if is_plain(source) && is_plain(id) && source.len() + 1 + id.len() <= ID_BYTES_MAX {
        return format!("{source} {id}");
    }
    format!("{:032x}", hash([source.as_bytes(), id.as_bytes()]))
}

/// A 128-bit hash that is the same in every process: a retry after a restart must meet its
/// original.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hasher = SipHasher24::new();
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_uuid_v7_and_differ() {
        let (one, other) = (IdSource::random(), IdSource::random());
        let now = TimestampMs(1_795_255_200_123);
        let ids = [one.next(0, now), one.next(1, now), other.next(0, now)];
        for id in &ids {
            let uuid: uuid::Uuid = id.parse().unwrap();
            assert_eq!(uuid.get_version_num(), 7);
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }

    #[test]
    fn derived_ids_repeat_and_never_change() {
        let now = TimestampMs(5);
        assert_eq!(IdSource::from_key(b"a").next(3, now), IdSource::from_key(b"a").next(3, now));
        assert_ne!(IdSource::from_key(b"a").next(3, now), IdSource::from_key(b"b").next(3, now));
        assert!(IdSource::from_key(b"a").next(99_999, now).len() <= ID_BYTES_MAX);
    }

    #[test]
    fn cloud_event_ids_tell_sources_apart() {
        assert_eq!(cloud_event_id("/a", "1"), "/a 1");
        assert_ne!(cloud_event_id("/a", "1"), cloud_event_id("/b", "1"));
        assert_ne!(cloud_event_id("a b", "c"), cloud_event_id("a", "b c"));
        assert_eq!(cloud_event_id(&"x".repeat(80), "1").len(), 32);
        assert_eq!(cloud_event_id("/ü", "1").len(), 32);
    }
}
