//! What others produced, where it is no event: kept as a record that counting makes a dead letter
//! of, with the reason and the message as it came.
//!
//! ```text
//! record = 01 (-1 zigzag: a branch that no schema has) | reason u8 | message
//! ```

use super::{Reader, RecordError};

/// The branch of the id that says that a message follows which is no event.
pub(super) const UNREADABLE_BRANCH: i64 = -1;

/// Bytes of a message that are kept: enough to see what it is. The log itself keeps the whole.
const KEPT_BYTES: usize = 16 << 10;

/// Why a message of others is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither a JSON object nor Confluent's framing of Avro.
    #[error("it is neither a JSON object nor Avro in the Confluent wire format")]
    Format,
    /// No value: a tombstone of a compacted topic.
    #[error("it has no value")]
    Empty,
    /// JSON that is not an event.
    #[error("its JSON is not an event")]
    Json,
    /// The schema of its id is not known, or does not resolve to an event.
    #[error("its schema is not known, or does not resolve to an event")]
    Schema,
    /// The bytes do not follow their schema.
    #[error("its bytes do not follow their schema")]
    Avro,
    /// It breaks a rule that is not one of time.
    #[error("its item, type, id, value or attributes break a rule of events")]
    Rule,
    /// It happened longer before it was appended than the setting allows.
    #[error("it is older than max_event_age")]
    TooOld,
    /// It lies further after its append time than clocks may differ.
    #[error("it lies more than 60 s in the future")]
    InFuture,
}

impl Unreadable {
    const ALL: [Self; 8] = [
        Self::Format,
        Self::Empty,
        Self::Json,
        Self::Schema,
        Self::Avro,
        Self::Rule,
        Self::TooOld,
        Self::InFuture,
    ];

    /// The record of a message.
    pub fn record(self, message: &[u8]) -> Vec<u8> {
        let kept = &message[..message.len().min(KEPT_BYTES)];
        let mut record = Vec::with_capacity(kept.len() + 2);
        // The order of the reasons is stored.
        record.extend([1, self as u8]);
        record.extend_from_slice(kept);
        record
    }

    /// The reason behind the branch; none that this version knows makes a bad branch.
    pub(super) fn read(reader: &mut Reader<'_>) -> RecordError {
        match reader.take(1) {
            Ok([reason]) => Self::ALL
                .get(usize::from(*reason))
                .map_or(RecordError::Branch, |reason| RecordError::Foreign(*reason)),
            _ => RecordError::Length,
        }
    }
}

/// The message of others that a record keeps, as far as it does; none where the record is of ours.
pub fn message_of(record: &[u8]) -> Option<&[u8]> {
    match record {
        [1, _, message @ ..] => Some(message),
        _ => None,
    }
}

/// The item of a record, without a look at what stands behind it.
///
/// # Errors
/// Bytes that do not begin as a record does.
pub fn item_of(record: &[u8]) -> Result<&str, RecordError> {
    let mut reader = Reader(record);
    match reader.zigzag()? {
        0 => {}
        1 => drop(reader.take(16)?),
        2 => drop(reader.text()?),
        _ => return Err(RecordError::Branch),
    }
    reader.text()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bucket::TimestampMs;
    use crate::event::Event;
    use crate::record::{Glimpse, Record, RecordBuf, split};

    #[test]
    fn a_message_that_is_no_event_is_a_record_that_says_why() {
        for (at, reason) in Unreadable::ALL.into_iter().enumerate() {
            let record = reason.record(b"{oops");
            assert_eq!(record[..2], [1, at as u8]);
            assert_eq!(Record::read(&record), Err(RecordError::Foreign(reason)));
            assert_eq!(Glimpse::of(&record), Glimpse::default());
            assert_eq!(message_of(&record), Some(&b"{oops"[..]));
        }
        assert_eq!(Record::read(&[1]), Err(RecordError::Length));
        assert_eq!(Record::read(&[1, 200]), Err(RecordError::Branch));
        assert_eq!(Unreadable::Json.record(&[7; 1 << 20]).len(), KEPT_BYTES + 2);
    }

    #[test]
    fn the_item_of_a_record_is_found_whatever_its_id_is() {
        for id in ["0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f", "short"] {
            let event = Event {
                id: id.into(),
                item: "v/1".into(),
                event_type: "view".into(),
                time: TimestampMs(7),
                value: None,
                attributes: Vec::new(),
            };
            let mut records = RecordBuf::new();
            records.push(&event);
            let record = split(records.payload()).next().expect("one").expect("whole");
            assert_eq!(item_of(record), Ok("v/1"));
        }
        assert_eq!(item_of(&[0, 2, b'x']), Ok("x"));
        assert!(item_of(&[]).is_err() && item_of(&[4, 200]).is_err() && item_of(&[9]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = item_of(&bytes);
            let _ = Record::read(&bytes);
            let _ = Record::read(&[&[1], &bytes[..]].concat());
        }
    }
}
