use super::*;
use crate::embedded::log::batch::{Codec, HEADER_BYTES};

const SEGMENT: SegmentHeader = SegmentHeader {
    partition: PartitionId(3),
    log_epoch: 2,
    base_offset: Offset(100),
    previous_base_offset: Some(Offset(50)),
    append_time: TimestampMs(1_000),
};

/// A batch with `count` records, written when everything below `durable` was durable.
fn batch(base: u64, count: u32, durable: u64, log_epoch: u32) -> Vec<u8> {
    // A record ends with zeros, and so does a batch that is not compressed.
    let payload = [7, 7, 7, 7, 7, 7, 7, 7, 0, 0].repeat(count as usize);
    let mut bytes = [&[0; HEADER_BYTES], &payload[..]].concat();
    BatchHeader {
        stored_len: payload.len() as u32,
        payload_len: payload.len() as u32,
        base_offset: Offset(base),
        append_time: TimestampMs(1_000 + base as i64),
        durable_offset: Offset(durable),
        record_count: count,
        log_epoch,
        partition: SEGMENT.partition,
        codec: Codec::None,
        is_control: false,
    }
    .seal(&mut bytes);
    bytes
}

fn segment(batches: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [&SEGMENT.to_bytes()[..], &batches.concat()].concat();
    bytes.resize(4096, 0);
    bytes
}

/// Three batches with one sync each, 100 to 105.
fn three() -> Vec<Vec<u8>> {
    vec![batch(100, 2, 100, 2), batch(102, 1, 102, 2), batch(103, 2, 103, 2)]
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// Next offset, number of batches to write again, whether a tail is cut.
    Kept(u64, usize, bool),
    /// First missing offset.
    Damaged(u64),
}

fn verdict(bytes: &[u8], known_durable: Option<u64>) -> Verdict {
    let scan = scan(&SEGMENT, bytes);
    match decide(&scan, known_durable.map(Offset)) {
        Ok(repair) => {
            let again = scan.batches.iter().filter(|(_, at)| *at >= repair.rewrite_from).count();
            Verdict::Kept(scan.next_offset.0, again, repair.cut.is_some())
        }
        Err(damage) => Verdict::Damaged(damage.offset.0),
    }
}

/// Flips a bit in the n-th of the batches.
fn flipped(mut batches: Vec<Vec<u8>>, n: usize) -> Vec<Vec<u8>> {
    let middle = batches[n].len() / 2;
    batches[n][middle] ^= 4;
    batches
}

#[test]
fn a_sound_batch_of_a_later_format_is_never_cut() {
    let mut later = three();
    // A codec that this program does not know, under a checksum that is right.
    later[2][50] = 9;
    let crc = crc32c::crc32c(&later[2][8..]);
    later[2][4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(verdict(&segment(&later), None), Verdict::Damaged(103));
    let scanned = scan(&SEGMENT, &segment(&later));
    let damage = decide(&scanned, None).expect_err("it stops the start");
    assert_eq!(damage.reason, BadBatch::Header);
    // The same bytes with a wrong checksum are a torn write.
    later[2][50] = 8;
    assert_eq!(verdict(&segment(&later), None), Verdict::Kept(103, 1, true));
}

#[test]
fn a_torn_tail_is_cut_and_damage_is_not() {
    use Verdict::{Damaged, Kept};
    let without = |n: usize| {
        let mut batches = three();
        batches[n].fill(0);
        batches
    };
    let and = |more: Vec<u8>| [three(), vec![more]].concat();
    // Two batches of one sync: neither proves anything of the other.
    let group = vec![batch(100, 2, 100, 2), batch(102, 1, 102, 2), batch(103, 2, 102, 2)];
    let cases = [
        ("whole", segment(&three()), None, Kept(105, 1, false)),
        ("empty", segment(&[]), None, Kept(100, 0, false)),
        ("all known to be durable", segment(&three()), Some(105), Kept(105, 0, false)),
        ("flip in the last batch", segment(&flipped(three(), 2)), None, Kept(103, 1, true)),
        ("the same, but known durable", segment(&flipped(three(), 2)), Some(105), Damaged(103)),
        ("known durable further on", segment(&three()), Some(106), Damaged(105)),
        ("flip before a later sync", segment(&flipped(three(), 1)), None, Damaged(102)),
        ("flip in the first", segment(&flipped(three(), 0)), None, Damaged(100)),
        ("last batch never written", segment(&without(2)), None, Kept(103, 1, false)),
        ("zeros before a later sync", segment(&without(1)), None, Damaged(102)),
        ("first of a sync torn", segment(&flipped(group.clone(), 1)), None, Kept(102, 0, true)),
        ("second of a sync torn", segment(&flipped(group, 2)), None, Kept(103, 1, true)),
        ("garbage after the end", segment(&and(vec![0xab; 700])), None, Kept(105, 1, true)),
        ("magic after the end", segment(&and(MAGIC.to_vec())), None, Kept(105, 1, true)),
        (
            "an old batch after the end",
            segment(&and(batch(101, 1, 100, 1))),
            None,
            Kept(105, 1, true),
        ),
        (
            "the offset fits, the epoch is old",
            segment(&and(batch(105, 1, 104, 1))),
            None,
            Kept(105, 1, true),
        ),
        ("a batch after a gap", segment(&and(batch(107, 1, 105, 2))), None, Kept(105, 0, true)),
        ("a gap that was durable", segment(&and(batch(107, 1, 107, 2))), None, Damaged(105)),
        (
            "proof behind garbage",
            segment(&[three(), vec![vec![1; 30], batch(120, 1, 119, 3)]].concat()),
            None,
            Damaged(105),
        ),
    ];
    for (name, bytes, known_durable, expected) in cases {
        assert_eq!(verdict(&bytes, known_durable), expected, "{name}");
    }
}

#[test]
fn a_batch_that_ends_with_its_file_is_read() {
    let bytes = [&SEGMENT.to_bytes()[..], &three().concat()].concat();
    assert_eq!(verdict(&bytes, None), Verdict::Kept(105, 1, false));
    let cut = &bytes[..bytes.len() - 1];
    assert_eq!(verdict(cut, None), Verdict::Kept(103, 1, true));
}

#[test]
fn the_epoch_rises_above_all_that_was_ever_written() {
    let mut batches = flipped(three(), 2);
    batches.push(batch(105, 1, 103, 9));
    assert_eq!(scan(&SEGMENT, &segment(&batches)).log_epoch, 9);
}

/// Clients choose bytes of payloads: a torn batch may hold some that look like a batch.
#[test]
fn what_looks_like_a_batch_in_a_torn_payload_proves_nothing() {
    for far in [1 << 56, u64::MAX - 9] {
        let torn = [&batch(102, 20, 102, 2)[..90], &batch(far, 1, far, 9), &[7; 30]].concat();
        let bytes = segment(&[batch(100, 2, 100, 2), torn]);
        assert_eq!(verdict(&bytes, None), Verdict::Kept(102, 1, true));
        assert_eq!(scan(&SEGMENT, &bytes).log_epoch, 2);
    }
    // One that says that it lies before the bad place is none either.
    let torn = [&batch(102, 20, 102, 2)[..90], &batch(40, 1, 40, 9)].concat();
    assert_eq!(scan(&SEGMENT, &segment(&[batch(100, 2, 100, 2), torn])).log_epoch, 2);
}

#[test]
fn a_chain_of_segments_has_no_gap() {
    let header = |base: u64, previous: Option<u64>| SegmentHeader {
        base_offset: Offset(base),
        previous_base_offset: previous.map(Offset),
        ..SEGMENT
    };
    let link = |base, previous| (Offset(base), Some(header(base, previous)));
    let old = |base, previous| {
        (Offset(base), Some(SegmentHeader { log_epoch: 1, ..header(base, previous) }))
    };
    let cases = [
        (vec![], Ok(())),
        (vec![link(0, None), link(9, Some(0)), link(20, Some(9))], Ok(())),
        (vec![link(9, Some(0)), link(20, Some(9))], Ok(())),
        (vec![link(0, None), link(20, Some(9))], Err((1, BadChain::Gap))),
        (vec![link(0, None), link(9, None)], Err((1, BadChain::Gap))),
        (vec![link(0, None), old(9, Some(0))], Err((1, BadChain::Gap))),
        (vec![link(0, None), (Offset(9), None)], Err((1, BadChain::Header))),
        (vec![(Offset(7), Some(header(9, None)))], Err((0, BadChain::Place))),
    ];
    for (segments, expected) in cases {
        assert_eq!(check_chain(SEGMENT.partition, &segments), expected, "{segments:?}");
    }
    assert_eq!(check_chain(PartitionId(0), &[link(0, None)]), Err((0, BadChain::Place)));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_scanned_without_panic(
        from in 48usize..400,
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
    ) {
        let mut bytes = segment(&three());
        bytes[from..from + noise.len()].copy_from_slice(&noise);
        let scan = scan(&SEGMENT, &bytes);
        let _ = decide(&scan, Some(Offset(102)));
    }
}
