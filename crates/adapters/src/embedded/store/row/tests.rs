use model::record::RecordError;
use proptest::prelude::*;

use super::*;

#[test]
fn golden_source() {
    let refused = Arc::default();
    let state = SourceState { sequence: 1, append_time: TimestampMs(2), since: Offset(3), refused };
    let expected = b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03";
    assert_eq!(write_source(&state), expected);
    assert_eq!(read_source(expected), Ok(state.clone()));
    assert_eq!(read_source(&expected[1..]), Err(Damage::Length));
    assert_eq!(read_source(&[&expected[..], b"\0"].concat()), Err(Damage::Number));
    let mut refused = RefusedRanges::default();
    refused.push(7, false);
    let refused = Arc::new(refused);
    let expected = [&expected[..], b"\x07\0"].concat();
    assert_eq!(write_source(&SourceState { refused: refused.clone(), ..state.clone() }), expected);
    assert_eq!(read_source(&expected), Ok(SourceState { refused, ..state }));
}

#[test]
fn golden_bulk_object() {
    let object =
        BulkObject { id: model::BulkId(0x0102), bytes: 3, object: "a/b".into(), how: "{}".into() };
    let body = object.body();
    let entry = BulkEntry { offset: Offset(258), append_time: TimestampMs(3), object };
    let value = write_bulk(&entry);
    assert_eq!(value[..16], *b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03");
    assert_eq!(value[16..], body, "as in its control record");
    assert_eq!(read_bulk(&value), Ok(entry));
    assert_eq!(read_bulk(&value[..15]), Err(Damage::Length));
}

#[test]
fn golden_checkpoint_and_dead_letter() {
    let checkpoint = Checkpoint {
        log_epoch: 1,
        next_offset: Offset(2),
        append_time: TimestampMs(3),
        window_start_offset: Offset(4),
        window_start_minute: 5,
        window_minutes: 6,
        retention: Retention::FOREVER,
        horizons: Horizons::default(),
    };
    let expected =
        b"\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\x05\0\0\0\x06";
    // As it was before there were horizons.
    assert_eq!(read_checkpoint(expected), Ok(checkpoint));
    assert_eq!(read_checkpoint(&expected[1..]), Err(Damage::Length));
    let checkpoint = Checkpoint {
        retention: Retention::new(7, 8).unwrap(),
        horizons: Horizons::new(Hour(0x0109), Day(10)).unwrap(),
        ..checkpoint
    };
    let more = b"\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\x01\x09\0\0\0\x0a";
    let expected = [&expected[..], more].concat();
    assert_eq!(write_checkpoint(&checkpoint), expected);
    assert_eq!(read_checkpoint(&expected), Ok(checkpoint));
    assert_eq!(read_checkpoint(&expected[..59]), Err(Damage::Length));
    for (at, byte) in [(36, 1), (52, 0xff), (56, 1)] {
        let mut damaged = expected.clone();
        damaged[at] = byte;
        assert_eq!(read_checkpoint(&damaged), Err(Damage::Number), "{at}");
    }

    let letter = DeadLetter {
        offset: Offset(1),
        append_time: TimestampMs(3),
        reason: RecordError::Branch,
        record: b"\xff\0".to_vec(),
    };
    let expected = b"\0\0\0\0\0\0\0\x03\x24the record has an unknown union branch\xff\0";
    let expected = [&expected[..8], &[38], &expected[9..]].concat();
    assert_eq!(write_dead_letter(&letter), expected);
    let reason = "the record has an unknown union branch";
    assert_eq!(read_dead_letter(&expected), Ok((TimestampMs(3), reason, &b"\xff\0"[..])));
    assert_eq!(read_dead_letter(&expected[..20]), Err(Damage::Length));
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_checkpoint(&bytes);
        let _ = read_dead_letter(&bytes);
    }
}
