//! The bytes of a routing table, wherever it is kept.
//!
//! ```text
//! table   = partitions of version 1 u16 | number of later versions u32 | version*
//! version = published i64 ms | effective i64 ms | partitions u16 | number of changes u32 | change*
//! change  = subject u8 (0 item, 1 prefix) | length u16 | UTF-8 | rule
//! rule    = 0 u8                                  none any more
//!         | flags u8 (bit 0 set, bit 1 automatic) | strategy
//! strategy = 1 u8                                 item
//!          | 2 u8                                 item and minute
//!          | 3 u8 | over u16                      spread
//!          | 4 u8 | number u16 | partition u16*   pinned
//!          | 5 u8 | number u16 | partition u16*   dedicated
//! ```
//!
//! All numbers are little-endian.

use super::{RoutingChange, RoutingError, RoutingTable, RoutingVersion, Rule, Strategy, Subject};
use crate::bucket::TimestampMs;
use crate::limits::PARTITIONS_MAX;

const HAS_RULE: u8 = 1;
const IS_AUTOMATIC: u8 = 2;

impl RoutingTable {
    /// The table as bytes, see the module.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (first, later) = self.versions.split_first().expect("there is a first version");
        out.extend(first.partitions.to_le_bytes());
        out.extend((later.len() as u32).to_le_bytes());
        for version in later {
            write_version(&mut out, version);
        }
        out
    }

    /// Reads what [`Self::to_bytes`] wrote, and checks every version as if it were published now.
    ///
    /// # Errors
    /// Bytes that are no table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RoutingError> {
        let mut reader = Reader(bytes);
        let partitions = reader.u16()?;
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(RoutingError::Partitions);
        }
        let mut table = Self::first(partitions);
        for _ in 0..reader.u32()? {
            table.push(read_version(&mut reader)?)?;
        }
        reader.0.is_empty().then_some(table).ok_or(RoutingError::Bytes)
    }
}

impl RoutingVersion {
    /// One version as bytes, as it stands in those of a table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_version(&mut out, self);
        out
    }

    /// Reads what [`Self::to_bytes`] wrote. Whether it can follow another is the table's to say.
    ///
    /// # Errors
    /// Bytes that are no version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RoutingError> {
        let mut reader = Reader(bytes);
        let version = read_version(&mut reader)?;
        reader.0.is_empty().then_some(version).ok_or(RoutingError::Bytes)
    }
}

fn write_version(out: &mut Vec<u8>, version: &RoutingVersion) {
    out.extend(version.published.0.to_le_bytes());
    out.extend(version.effective.0.to_le_bytes());
    out.extend(version.partitions.to_le_bytes());
    out.extend((version.changes.len() as u32).to_le_bytes());
    version.changes.iter().for_each(|change| write_change(out, change));
}

fn read_version(reader: &mut Reader<'_>) -> Result<RoutingVersion, RoutingError> {
    let published = TimestampMs(reader.i64()?);
    let effective = TimestampMs(reader.i64()?);
    let partitions = reader.u16()?;
    // Numbers of what follows are not trusted with memory.
    let mut changes = Vec::new();
    for _ in 0..reader.u32()? {
        changes.push(read_change(reader)?);
    }
    Ok(RoutingVersion { published, effective, partitions, changes })
}

fn write_change(out: &mut Vec<u8>, change: &RoutingChange) {
    let (kind, text) = match &change.subject {
        Subject::Item(item) => (0, item),
        Subject::Prefix(prefix) => (1, prefix),
    };
    out.push(kind);
    out.extend((text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    let Some(rule) = &change.rule else { return out.push(0) };
    out.push(HAS_RULE | if rule.is_automatic { IS_AUTOMATIC } else { 0 });
    let kind = match &rule.strategy {
        Strategy::Item => 1,
        Strategy::ItemAndMinute => 2,
        Strategy::Spread { .. } => 3,
        Strategy::Pinned { .. } => 4,
        Strategy::Dedicated { .. } => 5,
    };
    out.push(kind);
    match &rule.strategy {
        Strategy::Item | Strategy::ItemAndMinute => {}
        Strategy::Spread { over } => out.extend(over.to_le_bytes()),
        Strategy::Pinned { partitions } | Strategy::Dedicated { partitions } => {
            out.extend((partitions.len() as u16).to_le_bytes());
            partitions.iter().for_each(|partition| out.extend(partition.to_le_bytes()));
        }
    }
}

fn read_change(reader: &mut Reader<'_>) -> Result<RoutingChange, RoutingError> {
    let kind = reader.u8()?;
    let text = reader.text()?;
    let subject = match kind {
        0 => Subject::Item(text),
        1 => Subject::Prefix(text),
        _ => return Err(RoutingError::Bytes),
    };
    let flags = reader.u8()?;
    if flags == 0 {
        return Ok(RoutingChange { subject, rule: None });
    }
    if flags & HAS_RULE == 0 || flags & !(HAS_RULE | IS_AUTOMATIC) != 0 {
        return Err(RoutingError::Bytes);
    }
    let strategy = match reader.u8()? {
        1 => Strategy::Item,
        2 => Strategy::ItemAndMinute,
        3 => Strategy::Spread { over: reader.u16()? },
        4 => Strategy::Pinned { partitions: reader.partitions()? },
        5 => Strategy::Dedicated { partitions: reader.partitions()? },
        _ => return Err(RoutingError::Bytes),
    };
    let is_automatic = flags & IS_AUTOMATIC != 0;
    Ok(RoutingChange { subject, rule: Some(Rule { strategy, is_automatic }) })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RoutingError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RoutingError::Bytes)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, RoutingError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, RoutingError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RoutingError> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, RoutingError> {
        self.array().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, RoutingError> {
        let len = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(len).ok_or(RoutingError::Bytes)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| RoutingError::Bytes)
    }

    fn partitions(&mut self) -> Result<Vec<u16>, RoutingError> {
        let mut partitions = Vec::new();
        for _ in 0..self.u16()? {
            partitions.push(self.u16()?);
        }
        Ok(partitions)
    }
}
