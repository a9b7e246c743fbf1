use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ranges(pairs: &[(i64, i64)]) -> RefusedRanges {
    RefusedRanges(pairs.to_vec())
}

#[test]
fn golden_body() {
    let refused = Refused { source: "s 1".into(), ranges: ranges(&[(0, 0), (5, 300)]) };
    let body = refused.body();
    assert_eq!(body, b"\x03s 1\x00\x00\x04\xa7\x02");
    assert_eq!(Refused::read(&body), Ok(refused));
    let wild: [&[u8]; 6] = [
        b"",
        b"\x03s",
        b"\x01s",
        b"\x00\x00\x00",
        b"\x01s\x00",
        b"\x01s\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ];
    assert!(wild.iter().all(|body| Refused::read(body).is_err()));
}

#[test]
fn the_last_sequences_there_are_can_be_refused() {
    let last = ranges(&[(i64::MAX - 1, i64::MAX)]);
    let mut bytes = Vec::new();
    last.write(&mut bytes);
    assert_eq!(RefusedRanges::read(&bytes), Ok(last));
    bytes.extend([0, 0]);
    assert!(RefusedRanges::read(&bytes).is_err());
    let mut known = RefusedRanges::default();
    known.refuse((i64::MAX, i64::MAX), i64::MAX);
    assert!(known.is_empty());
}

#[test]
fn pushed_sequences_are_ranges_where_nothing_lies_between() {
    let mut refused = RefusedRanges::default();
    for (sequence, is_next) in [(3, true), (5, true), (9, false), (10, true)] {
        refused.push(sequence, is_next);
    }
    assert_eq!(refused, ranges(&[(3, 5), (9, 10)]));
    assert_eq!(refused.split_front(1), ranges(&[(3, 5)]));
    assert_eq!(refused.split_front(9), ranges(&[(9, 10)]));
    assert!(refused.is_empty());
}

proptest! {
    /// Against the set of all sequences that were refused last and not taken since, as far as a
    /// record has passed them.
    #[test]
    fn agrees_with_a_set(steps in prop::collection::vec((0..40_i64, 0..4_i64, any::<bool>()), 0..60)) {
        let (mut refused, mut highest) = (RefusedRanges::default(), -1_i64);
        let mut never_came: BTreeSet<i64> = BTreeSet::new();
        let mut came: BTreeSet<i64> = BTreeSet::new();
        for (sequence, more, is_refused) in steps {
            if is_refused {
                refused.refuse_all(&ranges(&[(sequence, sequence + more)]), highest);
                never_came.extend((sequence..=sequence + more).filter(|s| *s > highest));
            } else {
                let is_new = refused.take(sequence) || sequence > highest;
                highest = highest.max(sequence);
                prop_assert!(!is_new || came.insert(sequence), "{sequence} counts twice");
                // What was refused and is passed counts when it comes.
                prop_assert!(is_new || !never_came.contains(&sequence));
                never_came.remove(&sequence);
            }
            prop_assert!(never_came.iter().all(|s| *s > highest || refused.contains(*s)));
            prop_assert!(refused.iter().filter(|(_, last)| *last > highest).count() <= 1);
            let mut bytes = Vec::new();
            refused.write(&mut bytes);
            prop_assert_eq!(RefusedRanges::read(&bytes), Ok(refused.clone()));
        }
    }
}
