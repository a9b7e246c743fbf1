//! Events that others write into the log themselves: JSON as it is sent to us, or Avro in the
//! Confluent wire format, by any schema of the registry that resolves to ours.
//!
//! What comes out is a function of the message, its place in the log and its append time alone, so
//! that a replay of the log judges as before.

use std::borrow::Cow;
use std::sync::Arc;

use model::limits::TYPE_DEFAULT;
use model::record::{Unreadable, split};
use model::{Event, Offset, PartitionId, RecordBuf, TimestampMs, Violation};

use super::avro::WriterSchema;
use super::{Draft, json};

/// A message with its place in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) append_time: TimestampMs,
    pub(crate) value: &'a [u8],
}

/// Where writers' schemas are found.
pub(crate) trait Schemas {
    /// The schema of an id; none where the registry has none, or one that does not resolve to ours.
    ///
    /// # Errors
    /// Where the registry does not answer.
    fn get(&self, id: u32) -> Result<Option<Arc<WriterSchema>>, RegistryAway>;
}

/// The registry does not answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegistryAway;

/// The record of a message, or why it is no event that can be counted. An event without an id is
/// known by its place, one without a time happened when it was appended.
///
/// # Errors
/// Where that cannot be told now.
pub(crate) fn record(
    message: &Message<'_>,
    schemas: &dyn Schemas,
    max_event_age_ms: i64,
) -> Result<Result<Vec<u8>, Unreadable>, RegistryAway> {
    let schema = match message.value {
        [0, a, b, c, d, ..] => schemas.get(u32::from_be_bytes([*a, *b, *c, *d]))?,
        _ => None,
    };
    Ok(read(message, schema.as_deref(), max_event_age_ms))
}

fn read(
    message: &Message<'_>,
    schema: Option<&WriterSchema>,
    max_event_age_ms: i64,
) -> Result<Vec<u8>, Unreadable> {
    match message.value {
        [0, _, _, _, _, datum @ ..] => {
            let schema = schema.ok_or(Unreadable::Schema)?;
            let draft = schema.read(datum).map_err(|_| Unreadable::Avro)?;
            encode(message, draft.map_err(|_| Unreadable::Rule)?, max_event_age_ms)
        }
        value if value.trim_ascii_start().first() == Some(&b'{') => {
            let text = json::utf8(value).map_err(|_| Unreadable::Json)?;
            let draft = json::event(text).map_err(|_| Unreadable::Json)?;
            encode(message, draft, max_event_age_ms)
        }
        _ => Err(Unreadable::Format),
    }
}

fn encode(
    message: &Message<'_>,
    draft: Draft<'_>,
    max_event_age_ms: i64,
) -> Result<Vec<u8>, Unreadable> {
    let Message { partition, offset, append_time, .. } = *message;
    let event = Event {
        id: draft.id.unwrap_or_else(|| format!("kafka-{partition}-{offset}").into()),
        item: draft.item.ok_or(Unreadable::Rule)?,
        event_type: draft.event_type.unwrap_or(Cow::Borrowed(TYPE_DEFAULT)),
        time: draft.time.unwrap_or(append_time),
        value: draft.value,
        attributes: draft.attributes,
    };
    event.check().map_err(|_| Unreadable::Rule)?;
    model::event::check_time(event.time, append_time, max_event_age_ms).map_err(|violation| {
        match violation {
            Violation::TooOld => Unreadable::TooOld,
            Violation::InFuture => Unreadable::InFuture,
            Violation::Item | Violation::Type | Violation::Id | Violation::Attributes => {
                Unreadable::Rule
            }
        }
    })?;
    let mut records = RecordBuf::new();
    records.push(&event);
    let record = split(records.payload()).next().and_then(Result::ok);
    record.map(<[u8]>::to_vec).ok_or(Unreadable::Rule)
}

#[cfg(test)]
mod tests {
    use model::record::{EVENT_SCHEMA, Record};
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: TimestampMs = TimestampMs(1_795_255_200_000);

    /// Schema 1 is ours, 2 is somebody's.
    struct Two;

    impl Schemas for Two {
        fn get(&self, id: u32) -> Result<Option<Arc<WriterSchema>>, RegistryAway> {
            let theirs = r#"{"type":"record","name":"Play","fields":[
                {"name":"country","type":"string"},{"name":"item","type":"string"}]}"#;
            let schema = match id {
                1 => EVENT_SCHEMA,
                2 => theirs,
                7 => return Err(RegistryAway),
                _ => return Ok(None),
            };
            Ok(Some(Arc::new(WriterSchema::resolve(schema).expect("it resolves"))))
        }
    }

    fn read_one(value: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (partition, offset) = (PartitionId(3), Offset(42));
        let message = Message { partition, offset, append_time: NOW, value };
        record(&message, &Two, 7 * DAY_MS).expect("the registry is there")
    }

    fn event(value: &[u8]) -> Event<'static> {
        let record = read_one(value).expect("an event");
        let event = Record::read(&record).expect("a record").to_event();
        Event {
            id: event.id.into_owned().into(),
            item: event.item.into_owned().into(),
            event_type: event.event_type.into_owned().into(),
            attributes: Vec::new(),
            ..event
        }
    }

    #[test]
    fn json_is_read_as_it_is_sent_to_us() {
        let all = event(br#"  {"id":"a","item":"v","type":"like","time":"2026-11-21T10:00:00Z"}"#);
        assert_eq!(
            (all.id.as_ref(), all.item.as_ref(), all.event_type.as_ref()),
            ("a", "v", "like")
        );
        assert_eq!(all.time, TimestampMs(1_795_255_200_000));
        // What is not said is said by the place in the log, the same with every replay.
        let bare = event(br#"{"item":"v"}"#);
        assert_eq!((bare.id.as_ref(), bare.event_type.as_ref()), ("kafka-3-42", "view"));
        assert_eq!(bare.time, NOW);
    }

    #[test]
    fn avro_is_read_by_the_schema_that_it_names() {
        assert_eq!(event(b"\0\0\0\0\x02\x04DE\x02v").item, "v");
        let mut records = RecordBuf::new();
        records.push(&event(br#"{"id":"a","item":"w"}"#));
        let ours = split(records.payload()).next().expect("one").expect("whole");
        assert_eq!(read_one(&[b"\0\0\0\0\x01", ours].concat()).as_deref(), Ok(ours));
    }

    proptest! {
        /// Whatever it is, it is a record that can be read, or says why not.
        #[test]
        fn any_message_is_a_record_or_none(
            frame in prop::sample::select(vec![&b""[..], b"{", b"\0\0\0\0\x01", b"\0\0\0\0\x02"]),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(record) = read_one(&[frame, &rest[..]].concat()) {
                prop_assert!(Record::read(&record).is_ok());
            }
        }
    }

    #[test]
    fn without_the_registry_nothing_is_said_of_its_schemas() {
        let (partition, offset, value) = (PartitionId(0), Offset(0), &b"\0\0\0\0\x07\x02v"[..]);
        let message = Message { partition, offset, append_time: NOW, value };
        assert_eq!(record(&message, &Two, DAY_MS), Err(RegistryAway));
    }

    #[test]
    fn what_is_no_event_says_why() {
        for (value, why) in [
            (&b"view v"[..], Unreadable::Format),
            (b"", Unreadable::Format),
            (b"\0\0", Unreadable::Format),
            (b"[{\"item\":\"v\"}]", Unreadable::Format),
            (b"{\"item\":", Unreadable::Json),
            (b"{\"item\":7}", Unreadable::Json),
            (b"{\"item\":\"\xff\"}", Unreadable::Json),
            (b"{}", Unreadable::Rule),
            (b"{\"item\":\"v\",\"type\":\"View\"}", Unreadable::Rule),
            (b"{\"item\":\"v\",\"time\":1}", Unreadable::TooOld),
            (b"{\"item\":\"v\",\"time\":\"2026-11-21T10:02:00Z\"}", Unreadable::InFuture),
            (b"\0\0\0\0\x09\x02v", Unreadable::Schema),
            (b"\0\0\0\0\x02\x04DE", Unreadable::Avro),
            (b"\0\0\0\0\x02\x04DE\x02vv", Unreadable::Avro),
        ] {
            assert_eq!(read_one(value), Err(why), "{}", String::from_utf8_lossy(value));
        }
    }
}
