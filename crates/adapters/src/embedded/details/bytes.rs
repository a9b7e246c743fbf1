//! The bytes of item details.
//!
//! ```text
//! format    46 'F'                            → u32 big-endian, 1
//! details   49 'I' | item                     → head | text* | created? | count | attribute*
//! channel   43 'C' | channel | 00 | item      → nothing
//! followed  50 'P'                            → next offset u64 | source, where they follow a topic
//!
//! head      = one byte; bit 0 title, 1 channel, 2 channel_name, 3 created: whether it is there
//! text      = length u16 | bytes; title, channel and channel_name in this order
//! created   = i64, milliseconds since 1970
//! count     = number of attributes, one byte
//! attribute = key as text | value as text, in the order of the keys
//! ```
//!
//! Numbers are big-endian. Items and channels hold no control characters, so a zero byte ends them.

use model::{ItemDetails, TimestampMs};

/// What this program writes and the only thing it reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The key of the format record.
pub(super) const FORMAT: [u8; 1] = [b'F'];

/// The key of what says how far a topic was followed.
pub(super) const FOLLOWED: [u8; 1] = [b'P'];

const ITEM: u8 = b'I';
const CHANNEL: u8 = b'C';

const TITLE: u8 = 1;
const IN_CHANNEL: u8 = 2;
const CHANNEL_NAME: u8 = 4;
const CREATED: u8 = 8;

/// Why bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the bytes end too early or too late")]
    Length,
    #[error("unknown marks")]
    Marks,
    #[error("a text is not UTF-8")]
    Text,
    #[error("what it says breaks a rule of item details")]
    Rule,
    #[error("an item is in a channel and nothing is known of it")]
    Missing,
}

/// The key of an item's details.
pub(super) fn item_key(item: &str) -> Vec<u8> {
    [&[ITEM], item.as_bytes()].concat()
}

/// The key that says that an item is in a channel; with no item, what all of a channel begin with.
pub(super) fn channel_key(channel: &str, item: &str) -> Vec<u8> {
    [&[CHANNEL], channel.as_bytes(), &[0], item.as_bytes()].concat()
}

/// The value of details that keep the rules.
pub(crate) fn write(details: &ItemDetails) -> Vec<u8> {
    debug_assert_eq!(details.check(), Ok(()), "checked before it is written");
    let ItemDetails { title, channel, channel_name, created, attributes } = details;
    let mark = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
    let mut out = vec![
        mark(title.is_some(), TITLE)
            | mark(channel.is_some(), IN_CHANNEL)
            | mark(channel_name.is_some(), CHANNEL_NAME)
            | mark(created.is_some(), CREATED),
    ];
    [title, channel, channel_name].into_iter().flatten().for_each(|text| push(&mut out, text));
    created.iter().for_each(|time| out.extend_from_slice(&time.0.to_be_bytes()));
    out.push(attributes.len() as u8);
    for (key, value) in attributes {
        push(&mut out, key);
        push(&mut out, value);
    }
    out
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// How far a topic was followed, as a value.
pub(super) fn write_followed(next_offset: u64, source: &str) -> Vec<u8> {
    [&next_offset.to_be_bytes(), source.as_bytes()].concat()
}

/// Reads what [`write_followed`] wrote.
pub(super) fn read_followed(bytes: &[u8]) -> Result<(u64, String), Damage> {
    let (next_offset, source) = bytes.split_first_chunk().ok_or(Damage::Length)?;
    let source = std::str::from_utf8(source).map_err(|_| Damage::Text)?;
    Ok((u64::from_be_bytes(*next_offset), source.to_owned()))
}

/// Reads a value.
pub(crate) fn read(bytes: &[u8]) -> Result<ItemDetails, Damage> {
    let mut reader = Reader(bytes);
    let [head] = reader.chunk()?;
    if head & !(TITLE | IN_CHANNEL | CHANNEL_NAME | CREATED) != 0 {
        return Err(Damage::Marks);
    }
    let title = reader.text_if(head & TITLE != 0)?;
    let channel = reader.text_if(head & IN_CHANNEL != 0)?;
    let channel_name = reader.text_if(head & CHANNEL_NAME != 0)?;
    let created = match head & CREATED {
        0 => None,
        _ => {
            let time = TimestampMs(i64::from_be_bytes(reader.chunk()?));
            Some(time.checked().map_err(|_| Damage::Rule)?)
        }
    };
    let [count] = reader.chunk()?;
    let mut attributes = Vec::new();
    for _ in 0..count {
        attributes.push((reader.text()?, reader.text()?));
    }
    if !reader.0.is_empty() {
        return Err(Damage::Length);
    }
    let details = ItemDetails { title, channel, channel_name, created, attributes };
    details.check().map_err(|_| Damage::Rule)?;
    Ok(details)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn text(&mut self) -> Result<String, Damage> {
        let length = usize::from(u16::from_be_bytes(self.chunk()?));
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(std::str::from_utf8(text).map_err(|_| Damage::Text)?.to_owned())
    }

    fn text_if(&mut self, is_there: bool) -> Result<Option<String>, Damage> {
        is_there.then(|| self.text()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        assert_eq!(FORMAT, *b"F");
        assert_eq!(item_key("v/1"), b"Iv/1");
        assert_eq!(channel_key("c", "v/1"), b"Cc\0v/1");
        let details = ItemDetails {
            title: Some("Té".into()),
            channel: Some("c".into()),
            channel_name: None,
            created: Some(TimestampMs(258)),
            attributes: vec![("k".into(), String::new())],
        };
        let bytes = b"\x0b\0\x03T\xc3\xa9\0\x01c\0\0\0\0\0\0\x01\x02\x01\0\x01k\0\0";
        assert_eq!(write(&details), bytes);
        assert_eq!(read(bytes), Ok(details));
        assert_eq!(write(&ItemDetails::default()), b"\0\0");
        assert_eq!(write_followed(258, "k t"), b"\0\0\0\0\0\0\x01\x02k t");
        assert_eq!(read_followed(b"\0\0\0\0\0\0\x01\x02k t"), Ok((258, "k t".into())));
        assert_eq!(read_followed(b"\0\0\0\0\0\0\x01"), Err(Damage::Length));
        assert_eq!(read_followed(b"\0\0\0\0\0\0\x01\x02\xff"), Err(Damage::Text));
    }

    #[test]
    fn damage_is_named() {
        let whole = b"\x01\0\x01T\0";
        assert!(read(whole).is_ok());
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Err(Damage::Length), "{cut}");
        }
        let cases: [(&[u8], Damage); 6] = [
            (b"\x01\0\x01T\0\0", Damage::Length),
            (b"\x01\xff\xffT\0", Damage::Length),
            (b"\x10\0", Damage::Marks),
            (b"\x01\0\x01\xff\0", Damage::Text),
            (b"\x01\0\x00\0", Damage::Rule),
            (b"\x08\xff\0\0\0\0\0\0\0\0", Damage::Rule),
        ];
        for (bytes, damage) in cases {
            assert_eq!(read(bytes), Err(damage), "{bytes:?}");
        }
    }

    proptest! {
        /// Whatever the bytes, they are refused or are what would be written.
        #[test]
        fn bytes_are_never_trusted(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(details) = read(&bytes) {
                prop_assert_eq!(write(&details), bytes);
            }
        }
    }
}
