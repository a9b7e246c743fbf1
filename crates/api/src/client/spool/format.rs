//! The bytes of a segment. All numbers little-endian.
//!
//! ```text
//! header, 16 bytes                     entry
//!  0  8  magic `TALLYSPL`               0  4  magic `TSPE`
//!  8  2  format version, 1              4  4  length of the payload, at most 16 MiB and 128 bytes
//! 10  2  0                              8  4  CRC32C of bytes 4 to 7 and the payload
//! 12  4  CRC32C of bytes 0 to 11       12     payload
//!
//! payload
//!  0  1  length of the source, 1 to 64
//!  1     source
//!     8  sequence of the first event
//!     4  number of events
//!        events, one JSON object a line
//! ```

/// A segment begins with so many bytes.
pub(super) const HEADER_BYTES: u64 = 16;
pub(super) const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"TALLYSPL";
const ENTRY_MAGIC: &[u8; 4] = b"TSPE";
const ENTRY_HEADER_BYTES: usize = 12;
/// A body of 16 MiB, and what stands before it.
const PAYLOAD_BYTES_MAX: usize = (16 << 20) + 128;

/// A request to keep.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Entry<'a> {
    /// 1 to 64 printable ASCII characters.
    pub(in super::super) source: &'a str,
    pub(in super::super) sequence: u64,
    pub(in super::super) events: u32,
    pub(in super::super) body: &'a [u8],
}

/// A request as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct StoredEntry {
    pub(in super::super) source: String,
    pub(in super::super) sequence: u64,
    pub(in super::super) events: u32,
    pub(in super::super) body: Vec<u8>,
    /// Where the next one begins in the segment.
    pub(super) end: u64,
}

/// What the beginning of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Good,
    /// Good, of a version that is not known here.
    Unknown(u16),
    Bad,
}

pub(super) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    let Some(bytes) = bytes.first_chunk::<{ HEADER_BYTES as usize }>() else { return Header::Bad };
    let is_sound = bytes[..8] == *MAGIC && number(&bytes[12..]) == crc32c::crc32c(&bytes[..12]);
    match u16::from_le_bytes([bytes[8], bytes[9]]) {
        _ if !is_sound => Header::Bad,
        VERSION => Header::Good,
        version => Header::Unknown(version),
    }
}

pub(super) fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let Entry { source, sequence, events, body } = *entry;
    let length = 1 + source.len() + 12 + body.len();
    debug_assert!((1..=64).contains(&source.len()) && length <= PAYLOAD_BYTES_MAX);
    let mut bytes = Vec::with_capacity(ENTRY_HEADER_BYTES + length);
    bytes.extend_from_slice(ENTRY_MAGIC);
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(source.len() as u8);
    bytes.extend_from_slice(source.as_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&events.to_le_bytes());
    bytes.extend_from_slice(body);
    let sum = checksum(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The entry at the beginning of these bytes, if it is whole and sound; `at` is their place in the
/// file.
pub(super) fn decode(bytes: &[u8], at: u64) -> Option<StoredEntry> {
    let head = bytes.first_chunk::<ENTRY_HEADER_BYTES>()?;
    let length = number(&head[4..]) as usize;
    if head[..4] != *ENTRY_MAGIC || length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let bytes = bytes.get(..ENTRY_HEADER_BYTES + length)?;
    if number(&head[8..]) != checksum(bytes) {
        return None;
    }
    let (&source_bytes, rest) = bytes[ENTRY_HEADER_BYTES..].split_first()?;
    let (source, rest) = rest.split_at_checked(usize::from(source_bytes))?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (events, body) = rest.split_first_chunk::<4>()?;
    Some(StoredEntry {
        source: str::from_utf8(source).ok().filter(|source| !source.is_empty())?.to_owned(),
        sequence: u64::from_le_bytes(*sequence),
        events: u32::from_le_bytes(*events),
        body: body.to_vec(),
        end: at + (ENTRY_HEADER_BYTES + length) as u64,
    })
}

/// How many bytes the entry at the beginning of these takes, as its header has it.
pub(super) fn entry_bytes(head: &[u8; ENTRY_HEADER_BYTES]) -> Option<usize> {
    let length = number(&head[4..]) as usize;
    (head[..4] == *ENTRY_MAGIC && length <= PAYLOAD_BYTES_MAX)
        .then_some(ENTRY_HEADER_BYTES + length)
}

/// The first sound entry from this place on.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<(usize, StoredEntry)> {
    let mut at = from;
    while at + ENTRY_HEADER_BYTES <= bytes.len() {
        if bytes[at..].starts_with(ENTRY_MAGIC)
            && let Some(entry) = decode(&bytes[at..], at as u64)
        {
            return Some((at, entry));
        }
        at += 1;
    }
    None
}

/// Of a whole entry: its length and payload.
fn checksum(entry: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&entry[4..8]);
    crc32c::crc32c_append(sum, &entry[ENTRY_HEADER_BYTES..])
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
