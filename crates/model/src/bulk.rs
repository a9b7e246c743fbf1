//! Files that are to be counted: each lies in object storage, and a control record in the log of
//! partition 0 names it.
//!
//! ```text
//! body = id u128 big-endian | bytes u64 little-endian | length of object u16 little-endian | object
//!      | how
//! ```

use std::fmt;
use std::str::FromStr;

use crate::bucket::TimestampMs;
use crate::partition::Offset;
use crate::record::RecordError;

/// Longest name of an object, in bytes.
pub const OBJECT_BYTES_MAX: usize = 256;
/// Longest description of how a file is read, in bytes.
pub const HOW_BYTES_MAX: usize = 16 << 10;

/// Which file, read how: a digest of both. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u128);

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for BulkId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_id = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 32 && text.bytes().all(is_id) {
            true => u128::from_str_radix(text, 16).map(Self).map_err(|_| ()),
            false => Err(()),
        }
    }
}

/// A file that is to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkObject {
    /// Which file, read how.
    pub id: BulkId,
    /// Its size as stored, in bytes.
    pub bytes: u64,
    /// The name of the object that holds it, at most [`OBJECT_BYTES_MAX`].
    pub object: String,
    /// How it is to be read, for whoever reads it; at most [`HOW_BYTES_MAX`].
    pub how: String,
}

impl BulkObject {
    /// The body of the control record.
    pub fn body(&self) -> Vec<u8> {
        let mut out = self.id.0.to_be_bytes().to_vec();
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&(self.object.len() as u16).to_le_bytes());
        out.extend_from_slice(self.object.as_bytes());
        out.extend_from_slice(self.how.as_bytes());
        out
    }

    /// Reads the body of a control record.
    ///
    /// # Errors
    /// Bytes that are no such body.
    pub fn read(body: &[u8]) -> Result<Self, RecordError> {
        let (id, rest) = body.split_first_chunk().ok_or(RecordError::Length)?;
        let (bytes, rest) = rest.split_first_chunk().ok_or(RecordError::Length)?;
        let (len, rest) = rest.split_first_chunk().ok_or(RecordError::Length)?;
        let len = usize::from(u16::from_le_bytes(*len));
        let (object, how) = rest.split_at_checked(len).ok_or(RecordError::Length)?;
        if object.is_empty() || len > OBJECT_BYTES_MAX || how.len() > HOW_BYTES_MAX {
            return Err(RecordError::Rule("the name or description of an object is too long"));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| RecordError::Text);
        Ok(Self {
            id: BulkId(u128::from_be_bytes(*id)),
            bytes: u64::from_le_bytes(*bytes),
            object: text(object)?,
            how: text(how)?,
        })
    }
}

/// A file that the log named, with the place of its control record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkEntry {
    /// Where the record stands.
    pub offset: Offset,
    /// When it was appended.
    pub append_time: TimestampMs,
    /// What it names.
    pub object: BulkObject,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> BulkObject {
        BulkObject { id: BulkId(0x0102), bytes: 3, object: "a/b".into(), how: "{}".into() }
    }

    #[test]
    fn golden_body() {
        let body = object().body();
        assert_eq!(body, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\0\0\0\0\0\0\0\x03\0a/b{}");
        assert_eq!(BulkObject::read(&body), Ok(object()));
        for cut in 0..body.len() - 2 {
            assert!(BulkObject::read(&body[..cut]).is_err(), "{cut}");
        }
        let none = BulkObject { object: String::new(), ..object() };
        assert!(BulkObject::read(&none.body()).is_err());
        let long = BulkObject { how: "x".repeat(HOW_BYTES_MAX + 1), ..object() };
        assert!(BulkObject::read(&long.body()).is_err());
    }

    #[test]
    fn ids_are_text_of_32_digits() {
        let id = BulkId(0xab);
        assert_eq!(id.to_string(), "000000000000000000000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab", "+00000000000000000000000000000ab", &"A".repeat(32)] {
            assert_eq!(text.parse::<BulkId>(), Err(()));
        }
    }
}
