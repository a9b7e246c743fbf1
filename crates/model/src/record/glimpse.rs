//! What can still be read of a record that cannot be counted: its fields up to the first bad one,
//! whether or not they keep the rules of events. For people to look at, never for counting.

use super::{Reader, RecordError, uuid_text};
use crate::value::Value;

/// The readable fields of a record; none from the first unreadable one on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse<'a> {
    /// The id as the client wrote it.
    pub id: Option<String>,
    /// What was to be counted.
    pub item: Option<&'a str>,
    /// What happened.
    pub event_type: Option<&'a str>,
    /// Milliseconds since 1970, within bounds or not.
    pub time: Option<i64>,
    /// How much.
    pub value: Option<Value>,
    /// Pairs up to the first bad one.
    pub attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Glimpse<'a> {
    /// Reads as far as it can.
    pub fn of(record: &'a [u8]) -> Self {
        let mut glimpse = Self::default();
        // Where it ended is of no interest: what was read before is there.
        let _ = glimpse.fill(Reader(record));
        glimpse
    }

    fn fill(&mut self, mut reader: Reader<'a>) -> Result<(), RecordError> {
        self.id = match reader.zigzag()? {
            0 => None,
            1 => {
                let bytes = reader.take(16)?.try_into().map_err(|_| RecordError::Length)?;
                Some(uuid_text(bytes))
            }
            2 => Some(reader.text()?.to_owned()),
            _ => return Err(RecordError::Branch),
        };
        self.item = Some(reader.text()?);
        self.event_type = Some(reader.text()?);
        self.time = reader.option()?.then(|| reader.zigzag()).transpose()?;
        self.value = match reader.option()? {
            true => Some(reader.value()?),
            false => None,
        };
        // Blocks with a size in front are left out: who writes them so is rare, and this is a look.
        while let count @ 1.. = reader.zigzag()? {
            for _ in 0..count {
                let key = reader.text()?;
                self.attributes.push((key, reader.text()?));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bucket::TimestampMs;
    use crate::event::Event;
    use crate::record::{Record, RecordBuf, split};

    fn encoded() -> Vec<u8> {
        let event = Event {
            id: "id-1".into(),
            item: "v".into(),
            event_type: "like".into(),
            time: TimestampMs(7),
            value: Some(Value::from_micros(5).expect("a small value")),
            attributes: vec![("k".into(), "w".into())],
        };
        let mut records = RecordBuf::new();
        records.push(&event);
        let record = split(records.payload()).next().expect("a record").expect("whole");
        assert_eq!(Record::read(record).expect("readable").to_event(), event);
        record.to_vec()
    }

    #[test]
    fn reads_all_of_a_whole_record_and_a_part_of_a_cut_one() {
        let record = encoded();
        let whole = Glimpse::of(&record);
        assert_eq!((whole.id.as_deref(), whole.item), (Some("id-1"), Some("v")));
        assert_eq!((whole.event_type, whole.time), (Some("like"), Some(7)));
        assert_eq!(whole.value.map(Value::micros), Some(5));
        assert_eq!(whole.attributes, [("k", "w")]);
        let cut = Glimpse::of(&record[..9]);
        assert_eq!((cut.id.as_deref(), cut.item, cut.event_type), (Some("id-1"), Some("v"), None));
        assert_eq!(Glimpse::of(b"\xff"), Glimpse::default());
    }

    #[test]
    fn what_is_passed_on_encoded_stands_as_it_was() {
        for len in [0usize, 1, 127, 128, 300, 20_000] {
            let mut records = RecordBuf::new();
            let record = vec![0xfe; len];
            records.push_encoded(&record);
            records.push_encoded(b"x");
            let all: Vec<_> = split(records.payload()).map(|r| r.expect("whole")).collect();
            assert_eq!((all, records.record_count()), (vec![&record[..], b"x"], 2));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Glimpse::of(&bytes);
        }
    }
}
