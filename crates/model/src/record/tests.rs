use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn event(id: &'static str) -> Event<'static> {
    Event {
        id: id.into(),
        item: "dQw4w9WgXcQ".into(),
        event_type: "view".into(),
        time: TimestampMs(1_795_255_200_123),
        value: Some(Value::from_micros(12_500_000).unwrap()),
        attributes: vec![("country".into(), "DE".into()), ("device".into(), "tv".into())],
    }
}

fn only(payload: &[u8]) -> Result<Record<'_>, RecordError> {
    Record::read(split(payload).next().expect("one record")?)
}

#[test]
fn golden_bytes() {
    let mut records = RecordBuf::new();
    records.push(&event("0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f"));
    let hex: String = records.payload().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "47020192f0c17e5a7cc398c4dc0c0c07398f166451773477395767586351087669657702f6a5e3d8bf680208\
         00bebc20040e636f756e747279044445\
         0c64657669636504747600\
         00"
    );
}

#[test]
fn a_stamp_is_read_back_and_a_wild_one_is_refused() {
    let write = |source: &str, sequence| {
        let mut records = RecordBuf::new();
        records.push_stamped(&event("a"), Some((source, sequence)));
        records.into_payload()
    };
    for (source, sequence) in [("s", 0), (&*"x".repeat(64), i64::MAX)] {
        let payload = write(source, sequence);
        assert_eq!(only(&payload).unwrap().source, Some((source, sequence)));
    }
    for (source, sequence) in [("", 0), ("s", -1), ("ü", 0), (&*"x".repeat(65), 0)] {
        let refused = Err(RecordError::Rule("the source or its sequence is not valid"));
        assert_eq!(only(&write(source, sequence)), refused);
    }
}

#[test]
fn only_the_usual_form_of_a_uuid_shrinks() {
    for (id, shrinks) in [
        ("0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f", true),
        ("0192F0C1-7e5a-7cc3-98c4-dc0c0c07398f", false),
        ("0192f0c17e5a-7cc3-98c4-dc0c0c07398f-", false),
        ("order-17", false),
        // A dash where a digit belongs.
        ("00010203-0405-0607-0809-0a0b0c0d0e-f", false),
        ("-0010203-0405-0607-0809-0a0b0c0d0e0f", false),
        ("0-010203-0405-0607-0809-0a0b0c0d0e0f", false),
    ] {
        let mut records = RecordBuf::new();
        records.push(&event(id));
        let record = only(records.payload()).unwrap();
        assert_eq!(matches!(record.id, RecordId::Uuid(_)), shrinks, "{id}");
        assert_eq!(record.id_text(), id);
    }
}

#[test]
fn a_uuid_has_digits_of_its_usual_form_alone() {
    let uuid = "0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f";
    for at in 0..uuid.len() {
        for byte in 0..0x80 {
            let mut id = uuid.to_owned();
            id.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0]));
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_dash = [8, 13, 18, 23].contains(&at);
            let is_uuid = if is_dash { byte == b'-' } else { is_digit };
            let bytes = uuid_bytes(&id);
            assert_eq!(bytes.is_some(), is_uuid, "{id}");
            assert!(bytes.is_none_or(|bytes| uuid_text(&bytes) == id), "{id}");
        }
    }
}

#[test]
fn what_breaks_a_rule_is_an_error() {
    let cases: Vec<(Event<'_>, RecordError)> = vec![
        (Event { item: "".into(), ..event("a") }, RecordError::Rule("the item is not valid")),
        (Event { id: "".into(), ..event("a") }, RecordError::Rule("the id is not valid")),
        (
            Event { event_type: "VIEW".into(), ..event("a") },
            RecordError::Rule("the type is not valid"),
        ),
        (
            Event { time: TimestampMs(-1), ..event("a") },
            RecordError::Rule("the time is out of bounds"),
        ),
    ];
    for (event, expected) in cases {
        let mut records = RecordBuf::new();
        records.push(&event);
        assert_eq!(only(records.payload()), Err(expected));
    }
}

#[test]
fn numbers_are_read_whatever_is_behind_them() {
    for bits in 0..64 {
        for number in
            [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits, 0x0123_4567_89ab_cdef >> bits]
        {
            let mut bytes = Vec::new();
            push_leb128(&mut bytes, number);
            let len = bytes.len();
            for behind in [&[][..], &[0xff; 9], &[0; 9]] {
                bytes.truncate(len);
                bytes.extend_from_slice(behind);
                let mut reader = Reader(&bytes);
                assert_eq!((reader.leb128(), reader.0), (Ok(number), behind));
            }
            let mut cut = Reader(&bytes[..len - 1]);
            assert_eq!(cut.leb128(), Err(RecordError::Length));
        }
    }
}

#[test]
fn an_identity_is_the_same_however_its_numbers_are_written() {
    let uuid = [&[2][..], &[7; 16]].concat();
    let shortest = [&uuid[..], b"\x02v\x02t\x02\x00\x00\x00\x00"].concat();
    let longer = [&uuid[..], b"\x82\x80\x00v\x82\x00t\x02\x00\x00\x00\x00"].concat();
    let identity = |bytes| Record::read(bytes).expect("a record").identity().into_owned();
    assert_eq!(identity(&shortest), identity(&longer));
    assert_eq!(identity(&shortest), shortest[..21]);

    let with = |id: &'static str, item: &'static str, event_type: &'static str| {
        let mut records = RecordBuf::new();
        records.push(&Event { item: item.into(), event_type: event_type.into(), ..event(id) });
        only(records.payload()).expect("a record").identity().into_owned()
    };
    let long = &*"x".repeat(64).leak();
    let all = [
        ("a", "b", "c"),
        ("ab", "c", "c"),
        ("a", "bc", "c"),
        ("a", "b", "cc"),
        (long, long, long),
        (long, &long[1..], long),
        ("0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f", "b", "c"),
    ];
    let identities: std::collections::HashSet<_> = all.map(|(i, v, t)| with(i, v, t)).into();
    assert_eq!(identities.len(), all.len());
}

#[test]
fn a_broken_length_ends_the_payload() {
    let mut payload = vec![0xff; 9];
    payload.push(0x7f);
    let records: Vec<_> = split(&payload).collect();
    assert_eq!(records, [Err(RecordError::Length)]);
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    let pair =
        ("\\PC{1,16}", "\\PC{0,60}").prop_map(|(key, value)| (Cow::Owned(key), Cow::Owned(value)));
    (
        "[ -~]{1,64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "\\PC{1,60}",
        "[a-z0-9_.-]{1,64}",
        0i64..=253_402_207_200_000,
        proptest::option::of(-9_199_999_999_999_999_999i64..=9_199_999_999_999_999_999),
        proptest::collection::vec(pair, 0..=16),
    )
        .prop_map(|(id, item, event_type, time, value, attributes)| Event {
            id: id.into(),
            item: item.into(),
            event_type: event_type.into(),
            time: TimestampMs(time),
            value: value.map(|micros| Value::from_micros(micros).unwrap()),
            attributes,
        })
        .prop_filter("an event that keeps the rules", |event| event.check().is_ok())
}

proptest! {
    #[test]
    fn written_and_read_back(events in proptest::collection::vec(any_event(), 0..8)) {
        let mut records = RecordBuf::new();
        for event in &events {
            records.push(event);
        }
        prop_assert_eq!(records.record_count() as usize, events.len());
        let read: Vec<_> = split(records.payload()).map(|r| Record::read(r.unwrap()).unwrap()).collect();
        prop_assert_eq!(read.len(), events.len());
        for (record, event) in read.iter().zip(&events) {
            prop_assert_eq!(&record.id_text(), &event.id);
            prop_assert_eq!(record.item, &event.item);
            prop_assert_eq!(record.event_type, &event.event_type);
            prop_assert_eq!(record.time, event.time);
            prop_assert_eq!(record.value, event.value);
            let attributes = record.attributes();
            prop_assert!(attributes.eq(event.attributes.iter().map(|(k, v)| (&**k, &**v))));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for record in split(&bytes) {
            if let Ok(record) = record.and_then(Record::read) {
                record.attributes();
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(event in any_event(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut records = RecordBuf::new();
        records.push(&event);
        let mut payload = records.into_payload();
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        for record in split(&payload) {
            if let Ok(record) = record.and_then(Record::read) {
                record.attributes();
            }
        }
    }
}
