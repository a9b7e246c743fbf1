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
mod encoded;
mod foreign;
mod glimpse;

use std::borrow::Cow;

use crate::bucket::TimestampMs;
use crate::event::{Event, check_id, check_item, check_type, is_source};
use crate::limits::{RECORD_BYTES_MAX, TYPE_DEFAULT};
use crate::partition::{Offset, PartitionId};
use crate::value::Value;

pub use attributes::Attributes;
pub use encoded::EncodedEvent;
pub use foreign::{Unreadable, item_of, message_of};
pub use glimpse::Glimpse;

use foreign::UNREADABLE_BRANCH;

/// The Avro schema of a record, as JSON.
pub const EVENT_SCHEMA: &str = include_str!("event.avsc");

/// About what a record takes beside its texts, where it has no attributes.
const REST_BYTES: usize = 48;

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
    /// Id, item and type, still encoded.
    identity: &'a [u8],
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

    /// Makes room for records of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.payload.reserve(bytes);
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
        // In one step: what grows from nothing grows several times.
        let texts = event.id.len() + event.item.len() + event.event_type.len();
        self.payload.reserve(texts + REST_BYTES);
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
        let (record, time) = Self::take(&mut reader, |_, _| {})?;
        if !reader.0.is_empty() {
            return Err(RecordError::Length);
        }
        record.checked(time)
    }

    /// Reads a record, whatever is behind it, whether or not it keeps the rules. Its time, if it has
    /// one, comes beside it. `each_attribute` sees name and value of each attribute.
    #[inline]
    fn take(
        reader: &mut Reader<'a>,
        each_attribute: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(Self, Option<i64>), RecordError> {
        let all = reader.0;
        let id = match reader.zigzag()? {
            1 => RecordId::Uuid(reader.take(16)?.try_into().expect("16 bytes were taken")),
            2 => RecordId::Text(reader.text()?),
            0 => return Err(RecordError::Rule("the id is missing")),
            UNREADABLE_BRANCH => return Err(Unreadable::read(reader)),
            _ => return Err(RecordError::Branch),
        };
        let item = reader.text()?;
        let event_type = reader.text()?;
        let identity = &all[..all.len() - reader.0.len()];
        let time = reader.option()?.then(|| reader.zigzag()).transpose()?;
        let value = match reader.option()? {
            true => Some(reader.value()?),
            false => None,
        };
        let before = reader.0;
        reader.skip_attributes(each_attribute)?;
        let attributes = &before[..before.len() - reader.0.len()];
        let source = match reader.option()? {
            true => Some((reader.text()?, reader.zigzag()?)),
            false => None,
        };
        let at = TimestampMs(0);
        Ok((Self { id, item, event_type, time: at, value, source, identity, attributes }, time))
    }

    /// The record at its time, where it keeps the rules.
    fn checked(self, time: Option<i64>) -> Result<Self, RecordError> {
        if let RecordId::Text(id) = self.id {
            check_id(id).map_err(|_| RecordError::Rule("the id is not valid"))?;
        }
        check_item(self.item).map_err(|_| RecordError::Rule("the item is not valid"))?;
        check_type(self.event_type).map_err(|_| RecordError::Rule("the type is not valid"))?;
        if self.source.is_some_and(|(source, sequence)| !is_source(source) || sequence < 0) {
            return Err(RecordError::Rule("the source or its sequence is not valid"));
        }
        let time = time.ok_or(RecordError::Rule("the time is missing"))?;
        let time = TimestampMs(time)
            .checked()
            .map_err(|_| RecordError::Rule("the time is out of bounds"))?;
        Ok(Self { time, ..self })
    }

    /// The bytes of id, item and type together: the same for two records if, and only if, all three are.
    pub fn identity(&self) -> Cow<'a, [u8]> {
        let id_len = match self.id {
            RecordId::Uuid(bytes) => bytes.len(),
            RecordId::Text(text) => text_len(text),
        };
        let len = 1 + id_len + text_len(self.item) + text_len(self.event_type);
        if len == self.identity.len() {
            return Cow::Borrowed(self.identity);
        }
        // Others may have written a number in more bytes than it needs.
        let mut identity = Vec::with_capacity(len);
        write_id(&mut identity, &self.id);
        write_text(&mut identity, self.item);
        write_text(&mut identity, self.event_type);
        Cow::Owned(identity)
    }

    /// The attributes, in the order they were sent.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.attributes)
    }

    /// The attributes as they are encoded: those of records that have the same bytes are the same.
    pub fn encoded_attributes(&self) -> &'a [u8] {
        self.attributes
    }

    /// The id as the client wrote it.
    pub fn id_text(&self) -> String {
        match self.id {
            RecordId::Text(id) => id.to_owned(),
            RecordId::Uuid(bytes) => uuid_text(&bytes),
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
    write_id(out, &uuid_bytes(&event.id).map_or(RecordId::Text(&event.id), RecordId::Uuid));
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

fn write_id(out: &mut Vec<u8>, id: &RecordId<'_>) {
    match id {
        RecordId::Uuid(bytes) => {
            out.push(2);
            out.extend_from_slice(bytes);
        }
        RecordId::Text(text) => {
            out.push(4);
            write_text(out, text);
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

/// The bytes that [`write_text`] takes, for a text as short as those of events are.
fn text_len(text: &str) -> usize {
    debug_assert!(text.len() < 1 << 13);
    text.len() + if text.len() < 1 << 6 { 1 } else { 2 }
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
    if [text[8], text[13], text[18], text[23]] != *b"----" {
        return None;
    }
    let four = |at| {
        let digits = text[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(digits))
    };
    let eight = |high, low| hex_digits(four(high) | four(low) << 32);
    let (first, first_wrong) = eight(0, 4);
    let (second, second_wrong) = eight(9, 14);
    let (third, third_wrong) = eight(19, 24);
    let (fourth, fourth_wrong) = eight(28, 32);
    let parts = [first, second, third, fourth];
    let is_wrong = first_wrong | second_wrong | third_wrong | fourth_wrong;
    let number = parts.into_iter().fold(0, |number, part| number << 32 | u128::from(part));
    (is_wrong == 0).then(|| number.to_be_bytes())
}

/// The number of eight hexadecimal digits in lower case, the first in the lowest byte; and a number
/// that is 0 where they are such digits.
fn hex_digits(digits: u64) -> (u32, u64) {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    // Digits are 0x30 to 0x39, letters 0x61 to 0x66.
    let letters = (digits >> 6) & EACH;
    let low = digits & (EACH * 0xf);
    let other_high = digits ^ (low + EACH * 0x30 + letters * 0x30);
    let too_high = (low + EACH * 6 + letters * 3) & (EACH * 0x10);
    let too_low = letters & !((low + EACH * 0xf) >> 4);
    // Two digits make a byte: the first is the higher.
    let halves = low + letters * 9;
    let bytes = ((halves << 4) | (halves >> 8)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    let number = (pairs | (pairs >> 16)) as u32;
    (number.swap_bytes(), other_high | too_high | too_low)
}

/// A UUID in its usual form.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    std::str::from_utf8(&uuid_digits(bytes)).expect("digits and dashes").to_owned()
}

/// The ASCII of a UUID in its usual form.
pub fn uuid_digits(bytes: &[u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    for (byte, at) in bytes.iter().zip(UUID_DIGITS) {
        [text[at], text[at + 1]] = HEX[usize::from(*byte)];
    }
    text
}

/// The lower seven bits of each byte beside each other.
fn seven_bits_each(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}

/// Reads Avro binary from the front of a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline(always)]
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
        if let Some(word) = self.0.first_chunk().map(|word| u64::from_le_bytes(*word)) {
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let bits = ends.trailing_zeros() + 1;
                self.0 = &self.0[bits as usize / 8..];
                return Ok(seven_bits_each(word & (u64::MAX >> (64 - bits))));
            }
        }
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

    #[inline(always)]
    fn zigzag(&mut self) -> Result<i64, RecordError> {
        let number = self.leb128()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline(always)]
    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let len = usize::try_from(self.zigzag()?).map_err(|_| RecordError::Length)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Text)
    }

    /// The branch of a union of null with one other.
    #[inline]
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

    /// Goes on behind the attributes, each of which `each` sees.
    #[inline]
    fn skip_attributes(
        &mut self,
        mut each: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(), RecordError> {
        let before = self.0;
        self.each_attribute(|name, value| {
            each(name, value);
            Ok(())
        })?;
        let attributes = &before[..before.len() - self.0.len()];
        // Where all of it is ASCII, each text is.
        if attributes.is_ascii() {
            return Ok(());
        }
        let check = |text| std::str::from_utf8(text).map(drop).map_err(|_| RecordError::Text);
        Reader(attributes).each_attribute(|name, value| check(name).and(check(value)))
    }

    /// Goes on behind the attributes, each of which `take` takes: its name and its value.
    #[inline]
    fn each_attribute(
        &mut self,
        mut take: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        loop {
            match self.attribute_count()? {
                0 => return Ok(()),
                count => {
                    for _ in 0..count {
                        take(self.bytes()?, self.bytes()?)?;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
