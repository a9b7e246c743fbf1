use proptest::prelude::*;

use super::*;

fn stamp(log_epoch: u32, base: u64, next: u64) -> Stamp {
    Stamp { log_epoch, base_offset: Offset(base), next_offset: Offset(next) }
}

fn bytes(row: &StoredRow) -> Vec<u8> {
    let mut out = Vec::new();
    write_row(&mut out, row);
    out
}

#[test]
fn golden_rows() {
    let one = Summary { count: 1, ..Summary::EMPTY };
    let with = |count, value_count, sum, min, max| Summary { count, value_count, sum, min, max };
    type Case = (Stamp, Vec<(u8, Summary)>, &'static [u8]);
    let cases: Vec<Case> = vec![
        (stamp(1, 0, 5), vec![], b"\x00\x01\x05"),
        (stamp(1, 0, 200_000_000), vec![(59, one)], b"\x04\x01\x80\x84\xaf\x5f\xec"),
        (
            stamp(1, 0, 300),
            vec![(60, with(300, 0, 0, i64::MAX, i64::MIN))],
            b"\x04\x01\xac\x02\xf1\xac\x02",
        ),
        (stamp(1, 7, 9), vec![(0, with(1, 1, -3, -3, -3))], b"\x05\x01\x09\x07\x02\x05"),
        (stamp(1, 0, 9), vec![(1, with(4, 4, 20, 5, 5))], b"\x04\x01\x09\x07\x03\x04\x0a"),
        (stamp(1, 0, 9), vec![(1, with(4, 2, 10, 5, 5))], b"\x04\x01\x09\x07\x02\x04\x02\x0a"),
        (stamp(1, 0, 9), vec![(1, with(2, 2, 3, 1, 2))], b"\x04\x01\x09\x07\x01\x02\x02\x01\x06"),
        (
            stamp(1, 0, 9),
            vec![(0, one), (1, with(3, 2, -1, -2, 1))],
            b"\x08\x01\x09\x00\x07\x00\x03\x02\x03\x03\x01",
        ),
    ];
    for (stamp, cells, expected) in cases {
        let cells = cells.into_iter().map(|(slot, summary)| Cell { slot, summary }).collect();
        let row = StoredRow { stamp, cells, newest_hour: None };
        assert_eq!(bytes(&row), expected, "{row:?}");
        assert_eq!(read_row(expected), Ok(row));
    }
    let cells = vec![Cell { slot: Cell::WHOLE, summary: one }];
    let total = StoredRow { stamp: stamp(1, 0, 9), cells, newest_hour: Some(Hour(500_000)) };
    let expected = b"\x06\x01\x09\xa0\xc2\x1e\xf0";
    assert_eq!(bytes(&total), expected);
    assert_eq!(read_row(expected), Ok(total));
}

#[test]
fn damage_is_told_apart() {
    let cases: [(&[u8], Damage); 8] = [
        (b"", Damage::Length),
        (b"\x04\x01\x05", Damage::Length),
        (b"\x00\x01\x05\x00", Damage::Length),
        (b"\x08\x01\x05\x04\x04", Damage::Slot),
        (b"\x04\x01\x05\xf4", Damage::Slot),
        (b"\x04\x01\x05\x03\x04\x01\x01", Damage::Marks),
        (b"\x00\xff\xff\xff\xff\x7f\x05", Damage::Number),
        (b"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Damage::Number),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read_row(bytes), Err(expected), "{bytes:02x?}");
    }
}

fn summaries() -> impl Strategy<Value = Summary> {
    let counted = prop_oneof![Just(1u64), 0..300u64, any::<u64>()];
    let values = prop_oneof![Just(0i64), -300..300i64, any::<i64>()];
    prop_oneof![
        counted.clone().prop_map(|count| Summary { count, ..Summary::EMPTY }),
        (counted.clone(), values.clone()).prop_map(|(count, value)| Summary {
            count,
            value_count: count,
            sum: i128::from(value) * i128::from(count),
            min: value,
            max: value,
        }),
        (counted.clone(), counted, any::<i128>(), values.clone(), values).prop_map(
            |(count, value_count, sum, min, max)| Summary { count, value_count, sum, min, max }
        ),
    ]
}

proptest! {
    #[test]
    fn rows_come_back(
        (log_epoch, base, next) in (any::<u32>(), prop_oneof![Just(0u64), any::<u64>()], any::<u64>()),
        cells in prop::collection::btree_map(0..=Cell::WHOLE, summaries(), 0..8),
        newest_hour in prop::option::of(any::<u32>().prop_map(Hour)),
    ) {
        let cells = cells.into_iter().map(|(slot, summary)| Cell { slot, summary }).collect();
        let row = StoredRow { stamp: stamp(log_epoch, base, next), cells, newest_hour };
        let bytes = bytes(&row);
        prop_assert_eq!(read_row(&bytes), Ok(row));
        for end in 0..bytes.len() {
            prop_assert!(read_row(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_row(&bytes);
    }

    /// Bytes that look like rows reach deeper than any bytes.
    #[test]
    fn near_rows_do_not_panic(tail in prop::collection::vec(any::<u8>(), 0..40), cells in 0u8..8) {
        let bytes = [&[cells << 2, 1, 9][..], &tail].concat();
        let _ = read_row(&bytes);
    }
}
