//! Records as messages of Kafka, and messages as records.
//!
//! ```text
//! an event of ours   key = item | value = 00 | schema id u32 big-endian | Avro binary of event.avsc
//!                    header `tally` without a value: it was judged before it was written
//! a control record   header `tally-control` | value = kind | body (see model's `control`)
//! of others          anything else: JSON, or Avro in the Confluent wire format
//! ```

use model::record::{Unreadable, item_of};
use model::{Offset, PartitionId, TimestampMs};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};

use super::{Away, Foreign};

/// The header of events that a gateway has judged.
const JUDGED: &str = "tally";
/// The header of control records.
const CONTROL: &str = "tally-control";
/// In front of the Avro binary: a zero and the schema's id.
const FRAME_BYTES: usize = 5;

/// A message that somebody else produced.
#[derive(Clone, Copy, Debug)]
pub struct ForeignMessage<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// When the broker appended it.
    pub append_time: TimestampMs,
    /// Its value.
    pub value: &'a [u8],
}

/// A record as the log gives it out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadRecord {
    pub(super) offset: Offset,
    pub(super) append_time: TimestampMs,
    pub(super) is_control: bool,
    pub(super) bytes: Vec<u8>,
}

/// Headers of a message to be produced.
pub(super) fn headers(is_control: bool) -> OwnedHeaders {
    let key = if is_control { CONTROL } else { JUDGED };
    OwnedHeaders::new_with_capacity(1).insert(Header { key, value: None::<&[u8]> })
}

/// Key and value of a record; the value is written over what `value` holds.
pub(super) fn encode<'r>(
    record: &'r [u8],
    is_control: bool,
    schema_id: u32,
    value: &mut Vec<u8>,
) -> Option<&'r str> {
    value.clear();
    if is_control {
        value.extend_from_slice(record);
        return None;
    }
    value.push(0);
    value.extend_from_slice(&schema_id.to_be_bytes());
    value.extend_from_slice(record);
    // What cannot be read is passed on as it is, and read back so.
    item_of(record).ok()
}

/// The record of a message.
///
/// # Errors
/// Where that cannot be told now.
pub(super) fn decode(message: &impl Message, foreign: &dyn Foreign) -> Result<ReadRecord, Away> {
    let offset = Offset(u64::try_from(message.offset()).unwrap_or(0));
    let append_time = TimestampMs(message.timestamp().to_millis().unwrap_or(0));
    let value = message.payload();
    let origin = message.headers().map_or(Origin::Other, origin);
    let bytes = match (origin, value) {
        (Origin::Control, Some(value)) => value.to_vec(),
        (Origin::Judged, Some([0, framed @ ..])) if framed.len() >= FRAME_BYTES - 1 => {
            framed[FRAME_BYTES - 1..].to_vec()
        }
        (_, None) => Unreadable::Empty.record(&[]),
        (_, Some(value)) => {
            let partition = PartitionId(u16::try_from(message.partition()).unwrap_or(u16::MAX));
            let topic = message.topic();
            let message = ForeignMessage { topic, partition, offset, append_time, value };
            foreign.record(&message)?.unwrap_or_else(|reason| reason.record(value))
        }
    };
    let is_control = origin == Origin::Control && value.is_some();
    Ok(ReadRecord { offset, append_time, is_control, bytes })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Control,
    Judged,
    Other,
}

fn origin(headers: &impl Headers) -> Origin {
    let all = || headers.iter().map(|header| header.key);
    if all().any(|key| key == CONTROL) {
        Origin::Control
    } else if all().any(|key| key == JUDGED) {
        Origin::Judged
    } else {
        Origin::Other
    }
}

#[cfg(test)]
mod tests {
    use engine::conformance::event_log::records;
    use model::record::{Record, RecordError, split};
    use rdkafka::message::OwnedMessage;
    use rdkafka::{Timestamp, message::Header};

    use super::*;

    /// Takes what begins with `{`.
    struct Braces;

    impl Foreign for Braces {
        fn record(
            &self,
            message: &ForeignMessage<'_>,
        ) -> Result<Result<Vec<u8>, Unreadable>, Away> {
            match message.value {
                [b'{', ..] => Ok(Ok(message.value.to_vec())),
                b"later" => Err(Away),
                _ => Ok(Err(Unreadable::Format)),
            }
        }
    }

    fn message(value: Option<&[u8]>, headers: Option<OwnedHeaders>) -> OwnedMessage {
        let time = Timestamp::LogAppendTime(77);
        OwnedMessage::new(value.map(<[u8]>::to_vec), None, "t".into(), time, 1, 5, headers)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let records = records("id", 1);
        let record = split(records.payload()).next().expect("one").expect("whole");
        let mut value = Vec::new();
        assert_eq!(encode(record, false, 7, &mut value), Some("item"));
        assert_eq!(value[..5], [0, 0, 0, 0, 7]);
        let read = decode(&message(Some(&value), Some(headers(false))), &Braces).expect("there");
        assert_eq!((read.offset, read.append_time), (Offset(5), TimestampMs(77)));
        assert_eq!((read.is_control, read.bytes.as_slice()), (false, record));
        assert_eq!(encode(b"\x01abc", true, 7, &mut value), None);
        let read = decode(&message(Some(&value), Some(headers(true))), &Braces).expect("there");
        assert_eq!((read.is_control, read.bytes.as_slice()), (true, &b"\x01abc"[..]));
    }

    #[test]
    fn what_others_produced_is_read_or_says_why_not() {
        let read = |value, headers| decode(&message(value, headers), &Braces).expect("there");
        assert_eq!(read(Some(b"{}"), None).bytes, b"{}");
        let reason =
            |value, headers| Record::read(&read(value, headers).bytes).expect_err("no event");
        assert_eq!(reason(Some(b"x"), None), RecordError::Foreign(Unreadable::Format));
        assert_eq!(reason(None, None), RecordError::Foreign(Unreadable::Empty));
        // A header of ours makes nobody's bytes a record.
        let odd = Some(headers(false));
        assert_eq!(reason(Some(b"\0ab"), odd), RecordError::Foreign(Unreadable::Format));
        assert!(!read(None, Some(headers(true))).is_control);
        let others = OwnedHeaders::new().insert(Header { key: "trace", value: Some("1") });
        assert_eq!(read(Some(b"{}"), Some(others)).bytes, b"{}");
    }

    #[test]
    fn what_cannot_be_told_now_is_asked_again() {
        assert_eq!(decode(&message(Some(b"later"), None), &Braces), Err(Away));
    }
}
