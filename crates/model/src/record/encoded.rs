//! An event that whoever sent it wrote just as the log holds it.

use super::{Reader, Record, RecordId};
use crate::event::check_attribute;
use crate::limits::{ATTRIBUTES_MAX, RECORD_BYTES_MAX};

/// A record that may enter the log as it stands: encoding what was read would give its bytes again,
/// or others that say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedEvent<'a> {
    record: Record<'a>,
    bytes: &'a [u8],
}

impl<'a> EncodedEvent<'a> {
    /// The event at the front of the bytes, and what is behind it. None where it breaks a rule of
    /// [`crate::Event::check`], has no UUID or no time of its own, or says that a source sent it: what to
    /// make of that is not the record's to say.
    pub fn read_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut names: [&[u8]; ATTRIBUTES_MAX] = [&[]; ATTRIBUTES_MAX];
        let (mut count, mut are_fine) = (0, true);
        let mut reader = Reader(bytes);
        let (record, time) = Record::take(&mut reader, |name, value| {
            are_fine &= check_attribute(name, value) && !names[..count].contains(&name);
            match names.get_mut(count) {
                Some(place) => (*place, count) = (name, count + 1),
                None => are_fine = false,
            }
        })
        .ok()?;
        let record = record.checked(time).ok()?;
        let len = bytes.len() - reader.0.len();
        let is_fine = matches!(record.id, RecordId::Uuid(_))
            && record.source.is_none()
            && len <= RECORD_BYTES_MAX
            && are_fine;
        is_fine.then(|| (Self { record, bytes: &bytes[..len] }, reader.0))
    }

    /// What was read.
    pub fn record(&self) -> &Record<'a> {
        &self.record
    }

    /// What the log is to hold.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{RecordBuf, split};
    use crate::{Event, TimestampMs, Value};

    const UUID: &str = "0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f";

    fn event(attributes: &[(&'static str, &'static str)]) -> Event<'static> {
        Event {
            id: UUID.into(),
            item: "日本".into(),
            event_type: "view".into(),
            time: TimestampMs(7),
            value: Some(Value::from_micros(-5).expect("a small value")),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }

    fn encoded(event: &Event<'_>) -> Vec<u8> {
        let mut records = RecordBuf::new();
        records.push(event);
        split(records.payload()).next().expect("a record").expect("whole").to_vec()
    }

    #[test]
    fn an_event_comes_with_the_bytes_that_the_log_holds() {
        let event = event(&[("country", "DE"), ("device", "tv")]);
        let one = encoded(&event);
        let two = [&one[..], &one].concat();
        let (first, rest) = EncodedEvent::read_first(&two).expect("an event");
        assert_eq!((first.bytes(), rest), (&one[..], &one[..]));
        assert_eq!(first.record().to_event(), event);
    }

    #[test]
    fn what_is_not_the_records_to_say_is_left_to_others() {
        let many: Vec<_> = (0..17).map(|n| (Cow::from(format!("a{n}")), Cow::from(""))).collect();
        let long = || Cow::from("x".repeat(257));
        for refused in [
            Event { id: "order-17".into(), ..event(&[]) },
            Event { item: "".into(), ..event(&[]) },
            Event { event_type: "VIEW".into(), ..event(&[]) },
            Event { time: TimestampMs(-1), ..event(&[]) },
            Event { attributes: many, ..event(&[]) },
            Event { attributes: vec![("a".into(), long())], ..event(&[]) },
            Event { attributes: vec![(long(), "a".into())], ..event(&[]) },
            event(&[("", "a")]),
            event(&[("a", "1"), ("b", "2"), ("a", "1")]),
        ] {
            assert_eq!(EncodedEvent::read_first(&encoded(&refused)), None, "{refused:?}");
        }
        let mut stamped = RecordBuf::new();
        stamped.push_stamped(&event(&[]), Some(("phone", 3)));
        assert_eq!(EncodedEvent::read_first(&stamped.payload()[1..]), None);
        // Without a time: the branch of it is 0 instead of 1.
        let no_time = [&[2], &[7; 16][..], &[2, b'v', 2, b't', 0, 0, 0, 0]].concat();
        assert_eq!(EncodedEvent::read_first(&no_time), None);
        let small = encoded(&event(&[]));
        for len in 0..small.len() {
            assert_eq!(EncodedEvent::read_first(&small[..len]), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_counted_and_keeps_every_rule(
            at in 0usize..60, to in any::<u8>(), more in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut bytes = encoded(&event(&[("country", "DE"), ("a", "")]));
            let at = at % bytes.len();
            bytes.splice(at..=at, [&[to], &more[..]].concat());
            if let Some((event, _)) = EncodedEvent::read_first(&bytes) {
                let record = Record::read(event.bytes());
                prop_assert_eq!(record.as_ref(), Ok(event.record()));
                prop_assert_eq!(event.record().to_event().check(), Ok(()));
            }
        }
    }
}
