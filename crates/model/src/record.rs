//! An event with its place in the log, and how it is written there.
//!
//! A record is the Avro binary of `event.avsc`. A payload is a run of records, each behind its
//! length, so that one that cannot be read does not hide the next:
//!
//! ```text
//! payload = record*            record = length (LEB128) | Avro binary
//!
//! Avro binary = id          01 zigzag 16 bytes (UUID) | 02 zigzag string | 00 (none)
//!             | item        string             string = length (zigzag) | UTF-8
//!             | type        string
//!             | time        01 zigzag long (ms since 1970) | 00
//!             | value       01 zigzag bytes (big-endian two's complement micro-units) | 00
//!             | attributes  (count (zigzag) | (string string)*)* | 00
//!             | source      01 zigzag string long | 00
//! ```
//!
//! What others produced and nobody can read as an event stands in `ff zigzag` as the branch of the
//! id, with the reason behind it; see [`Unreadable`].

mod attributes;
mod foreign;
mod glimpse;

use crate::bucket::TimestampMs;
use crate::event::{Event, check_id, check_item, check_type, is_source};
use crate::limits::{RECORD_BYTES_MAX, TYPE_DEFAULT};
use crate::partition::{Offset, PartitionId};
use crate::value::Value;

pub use attributes::Attributes;
pub use foreign::{Unreadable, item_of, message_of};
pub use glimpse::Glimpse;

use foreign::UNREADABLE_BRANCH;

/// The Avro schema of a record, as JSON.
pub const EVENT_SCHEMA: &str = include_str!("event.avsc");

/// Records of one partition, in offset order, as the log gives them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<B> {
    /// Which partition.
    pub partition: PartitionId,
    /// Identity of the log.
    pub log_epoch: u32,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Number of records.
    pub record_count: u32,
    /// When the batch was appended; never less than that of the batch before.
    pub append_time: TimestampMs,
    /// Whether the records are control records and not events.
    pub is_control: bool,
    /// The records, see the module.
    pub payload: B,
}

impl<B> Batch<B> {
    /// The first offset after the batch.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }
}

/// Something in the log that could not be counted, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands.
    pub offset: Offset,
    /// When it was appended.
    pub append_time: TimestampMs,
    /// Why it was not counted.
    pub reason: RecordError,
    /// The record's bytes.
    pub record: Vec<u8>,
}

/// Why bytes are not a record that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a field, or go on after the last.
    #[error("the record's bytes end too early or too late")]
    Length,
    /// A union's branch is not one of the schema.
    #[error("the record has an unknown union branch")]
    Branch,
    /// A text is not UTF-8.
    #[error("the record has a text that is not UTF-8")]
    Text,
    /// The item, type, id, time or value breaks a rule of the contract.
    #[error("the record breaks a rule of events: {0}")]
    Rule(&'static str),
    /// Somebody else's message that is no event.
    #[error("what others produced is no event: {0}")]
    Foreign(Unreadable),
}

/// An event's id as the log keeps it: a UUID in its usual form shrinks to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordId<'a> {
    /// 8-4-4-4-12 hexadecimal digits in lower case.
    Uuid([u8; 16]),
    /// Any other text.
    Text(&'a str),
}

/// What counting needs of a record. Attributes are checked but not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The idempotency key, with item and type.
    pub id: RecordId<'a>,
    /// What is counted.
    pub item: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// When.
    pub time: TimestampMs,
    /// How much.
    pub value: Option<Value>,
    /// Who may repeat it after the dedup window, and its place among what they send.
    pub source: Option<(&'a str, i64)>,
    /// The attributes, still encoded.
    attributes: &'a [u8],
}

/// Records that are to be appended to one partition together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordBuf {
    payload: Vec<u8>,
    record_count: u32,
}

impl RecordBuf {
    /// No record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event that has been checked.
    pub fn push(&mut self, event: &Event<'_>) {
        self.push_stamped(event, None);
    }

    /// Adds an event that has been checked, with who may repeat it late and its place among what
    /// they send.
    pub fn push_stamped(&mut self, event: &Event<'_>, source: Option<(&str, i64)>) {
        // Most records are below 128 bytes, so that their length takes one byte: leave one, and
        // move the record up in the rare case that it takes two.
        let start = self.payload.len();
        self.payload.push(0);
        write_event(&mut self.payload, event, source);
        let len = self.payload.len() - start - 1;
        debug_assert!(len <= RECORD_BYTES_MAX);
        if len < 0x80 {
            self.payload[start] = len as u8;
        } else {
            self.payload[start] = (len & 0x7f) as u8 | 0x80;
            self.payload.insert(start + 1, (len >> 7) as u8);
            debug_assert!(len < 1 << 14);
        }
        self.record_count += 1;
    }

    /// Adds a record that is encoded already, readable or not: what others wrote is passed on as it
    /// is.
    pub fn push_encoded(&mut self, record: &[u8]) {
        push_leb128(&mut self.payload, record.len() as u64);
        self.payload.extend_from_slice(record);
        self.record_count += 1;
    }

    /// Number of records.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Size of the payload in bytes.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The payload, see the module.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Takes the buffer apart.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

pub(crate) fn push_leb128(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The records of a payload, each as its bytes. Ends with an error where a length leads out of the
/// payload: what follows cannot be told apart.
pub fn split(payload: &[u8]) -> impl Iterator<Item = Result<&[u8], RecordError>> {
    let mut rest = Reader(payload);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let record = rest.leb128().and_then(|len| rest.take(len as usize));
        if record.is_err() {
            rest.0 = &[];
        }
        Some(record)
    })
}

impl<'a> Record<'a> {
    /// Reads the bytes of one record and checks that it can be counted.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        let id = match reader.zigzag()? {
            1 => RecordId::Uuid(reader.take(16)?.try_into().expect("16 bytes were taken")),
            2 => RecordId::Text(reader.text()?),
            0 => return Err(RecordError::Rule("the id is missing")),
            UNREADABLE_BRANCH => return Err(Unreadable::read(&mut reader)),
            _ => return Err(RecordError::Branch),
        };
        let item = reader.text()?;
        let event_type = reader.text()?;
        let time = reader.option()?.then(|| reader.zigzag()).transpose()?;
        let value = match reader.option()? {
            true => Some(reader.value()?),
            false => None,
        };
        let before = reader.0;
        reader.skip_attributes()?;
        let attributes = &before[..before.len() - reader.0.len()];
        let source = match reader.option()? {
            true => Some((reader.text()?, reader.zigzag()?)),
            false => None,
        };
        if !reader.0.is_empty() {
            return Err(RecordError::Length);
        }
        if let RecordId::Text(id) = id {
            check_id(id).map_err(|_| RecordError::Rule("the id is not valid"))?;
        }
        check_item(item).map_err(|_| RecordError::Rule("the item is not valid"))?;
        check_type(event_type).map_err(|_| RecordError::Rule("the type is not valid"))?;
        if source.is_some_and(|(source, sequence)| !is_source(source) || sequence < 0) {
            return Err(RecordError::Rule("the source or its sequence is not valid"));
        }
        let time = time.ok_or(RecordError::Rule("the time is missing"))?;
        let time = TimestampMs(time)
            .checked()
            .map_err(|_| RecordError::Rule("the time is out of bounds"))?;
        Ok(Self { id, item, event_type, time, value, source, attributes })
    }

    /// The attributes, in the order they were sent.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.attributes)
    }

    /// The id as the client wrote it.
    pub fn id_text(&self) -> String {
        let mut text = String::new();
        self.write_id(&mut text);
        text
    }

    /// Adds the id to a text, as the client wrote it.
    pub fn write_id(&self, out: &mut String) {
        match self.id {
            RecordId::Text(id) => out.push_str(id),
            RecordId::Uuid(bytes) => write_uuid(out, &bytes),
        }
    }

    /// The event that was written so.
    pub fn to_event(&self) -> Event<'a> {
        Event {
            id: self.id_text().into(),
            item: self.item.into(),
            event_type: self.event_type.into(),
            time: self.time,
            value: self.value,
            attributes: self.attributes().map(|(key, value)| (key.into(), value.into())).collect(),
        }
    }
}

fn write_event(out: &mut Vec<u8>, event: &Event<'_>, source: Option<(&str, i64)>) {
    match uuid_bytes(&event.id) {
        Some(uuid) => {
            out.push(2);
            out.extend_from_slice(&uuid);
        }
        None => {
            out.push(4);
            write_text(out, &event.id);
        }
    }
    write_text(out, &event.item);
    write_text(out, if event.event_type.is_empty() { TYPE_DEFAULT } else { &event.event_type });
    out.push(2);
    write_zigzag(out, event.time.0);
    match event.value {
        None => out.push(0),
        Some(value) => {
            let bytes = value.micros().to_be_bytes();
            let bytes = shortest(&bytes);
            out.push(2);
            write_zigzag(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
    if !event.attributes.is_empty() {
        write_zigzag(out, event.attributes.len() as i64);
        for (key, value) in &event.attributes {
            write_text(out, key);
            write_text(out, value);
        }
    }
    match source {
        None => out.extend_from_slice(&[0, 0]),
        Some((source, sequence)) => {
            out.extend_from_slice(&[0, 2]);
            write_text(out, source);
            write_zigzag(out, sequence);
        }
    }
}

/// Big-endian two's complement without the bytes that only repeat the sign.
fn shortest(bytes: &[u8; 8]) -> &[u8] {
    let mut at = 0;
    while at < 7 {
        let only_sign = (bytes[at] == 0 && bytes[at + 1] < 0x80)
            || (bytes[at] == 0xff && bytes[at + 1] >= 0x80);
        if !only_sign {
            break;
        }
        at += 1;
    }
    &bytes[at..]
}

fn write_zigzag(out: &mut Vec<u8>, number: i64) {
    push_leb128(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_zigzag(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};
/// What each character is as a digit of a UUID in its usual form; more than a digit is for others.
const DIGIT: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut byte = 0;
    while byte < 256 {
        let [high, low] = HEX[byte];
        if high == b'0' {
            digits[low as usize] = byte as u8;
        }
        byte += 1;
    }
    digits
};
/// Where the two digits of each byte stand in a UUID.
const UUID_DIGITS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The time in an id that is a UUIDv7 in its usual form: when whoever made it made it.
pub fn uuid_v7_time(id: &str) -> Option<TimestampMs> {
    let uuid = uuid_bytes(id)?;
    let is_v7 = uuid[6] >> 4 == 7 && uuid[8] >> 6 == 0b10;
    let millis = uuid[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    is_v7.then_some(TimestampMs(millis))
}

/// The 16 bytes of a UUID in its usual form, which [`uuid_text`] gives back to the letter.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (byte, at) in bytes.iter_mut().zip(UUID_DIGITS) {
        let (high, low) = (DIGIT[usize::from(text[at])], DIGIT[usize::from(text[at + 1])]);
        digits |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    let has_dashes = [8, 13, 18, 23].iter().all(|&at| text[at] == b'-');
    (has_dashes && digits <= 0xf).then_some(bytes)
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    write_uuid(&mut text, bytes);
    text
}

fn write_uuid(out: &mut String, bytes: &[u8; 16]) {
    let mut text = [b'-'; 36];
    for (byte, at) in bytes.iter().zip(UUID_DIGITS) {
        [text[at], text[at + 1]] = HEX[usize::from(*byte)];
    }
    out.push_str(std::str::from_utf8(&text).expect("digits and dashes"));
}

/// Reads Avro binary from the front of a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn leb128(&mut self) -> Result<u64, RecordError> {
        // Most numbers of a record are lengths, which take one byte.
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_leb128(),
        }
    }

    fn long_leb128(&mut self) -> Result<u64, RecordError> {
        let mut number = 0u64;
        for (at, &byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(RecordError::Length)
    }

    fn zigzag(&mut self) -> Result<i64, RecordError> {
        let number = self.leb128()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let len = usize::try_from(self.zigzag()?).map_err(|_| RecordError::Length)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Text)
    }

    /// The branch of a union of null with one other.
    fn option(&mut self) -> Result<bool, RecordError> {
        match self.zigzag()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Branch),
        }
    }

    fn value(&mut self) -> Result<Value, RecordError> {
        let bytes = self.bytes()?;
        if bytes.is_empty() || bytes.len() > 8 {
            return Err(RecordError::Rule("the value is out of bounds"));
        }
        let sign = if bytes[0] < 0x80 { 0 } else { -1 };
        let micros = bytes.iter().fold(sign, |micros: i64, &b| micros << 8 | i64::from(b));
        Value::from_micros(micros).map_err(|_| RecordError::Rule("the value is out of bounds"))
    }

    /// How many attributes follow in the next block of them; none after the last.
    fn attribute_count(&mut self) -> Result<u64, RecordError> {
        match self.zigzag()? {
            // A block with its size in front: others may write it so.
            count @ ..0 => {
                self.zigzag()?;
                Ok(count.unsigned_abs())
            }
            count => Ok(count as u64),
        }
    }

    /// Goes on behind the attributes.
    fn skip_attributes(&mut self) -> Result<(), RecordError> {
        let before = self.0;
        self.each_attribute_text(|_| Ok(()))?;
        let attributes = &before[..before.len() - self.0.len()];
        // Where all of it is ASCII, each text is.
        if attributes.is_ascii() {
            return Ok(());
        }
        let check = |text| std::str::from_utf8(text).map(drop).map_err(|_| RecordError::Text);
        Reader(attributes).each_attribute_text(check)
    }

    fn each_attribute_text(
        &mut self,
        mut take: impl FnMut(&'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        loop {
            match self.attribute_count()? {
                0 => return Ok(()),
                count => {
                    for _ in 0..count {
                        take(self.bytes()?)?;
                        take(self.bytes()?)?;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
