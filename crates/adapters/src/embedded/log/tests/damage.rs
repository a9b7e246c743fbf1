//! Damage is named and never repaired silently; what reads it says where.

use super::*;
use crate::embedded::log::batch::BatchHeader;
use crate::embedded::log::segment::SEGMENT_HEADER_BYTES;

/// A log with several segments, and where its first partition was durable to.
fn filled() -> (Bench, Offset) {
    let mut bench = Bench::new(1);
    bench.settings.codec = Codec::None;
    let log = bench.open();
    for n in 0..60 {
        appended(&log, &format!("p{n}"), 20);
    }
    let durable = log.bounds(FIRST).durable_offset;
    drop(log);
    assert!(bench.segments().len() > 2);
    (bench, durable)
}

/// Where the last batch of a segment ends.
fn end_of_data(bench: &Bench, path: &Path) -> usize {
    let bytes = bench.disk.bytes(path).unwrap();
    let mut end = SEGMENT_HEADER_BYTES;
    while let Some(size) = BatchHeader::claimed_size(&bytes[end..]) {
        end += size;
    }
    end
}

#[track_caller]
fn assert_names(error: &PortError, path: &Path) {
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    for part in [path.to_str().unwrap(), "at byte", "offset", "backup"] {
        assert!(error.context.contains(part), "{error}");
    }
}

#[test]
fn a_flip_in_a_sealed_segment_is_found_when_it_is_read() {
    let (bench, _) = filled();
    let sealed = bench.segments()[0].clone();
    bench.disk.flip_bit(&sealed, 5_000, 3);
    let before = bench.disk.bytes(&sealed);
    let log = bench.open();
    let error = loop_until_error(&log, Offset(0));
    assert_names(&error, &sealed);
    assert_eq!(bench.disk.bytes(&sealed), before, "nothing was changed");
    let next = log.bounds(FIRST).durable_offset.0 - 10;
    assert!(block_on(log.read(FIRST, Offset(next), 1)).is_ok(), "the rest can be read");
}

fn loop_until_error(log: &EmbeddedLog, mut from: Offset) -> PortError {
    loop {
        match block_on(log.read(FIRST, from, 1)) {
            Ok(batches) => from = batches.last().unwrap().next_offset(),
            Err(error) => return error,
        }
    }
}

#[test]
fn a_flip_in_the_newest_segment_below_what_is_durable_stops_the_start() {
    let (bench, _) = filled();
    let newest = bench.segments().pop().unwrap();
    bench.disk.flip_bit(&newest, SEGMENT_HEADER_BYTES + 100, 3);
    let before = bench.disk.bytes(&newest);
    assert_names(&bench.try_open(&[]).err().unwrap(), &newest);
    assert_names(&bench.try_open(&[]).err().unwrap(), &newest);
    assert_eq!(bench.disk.bytes(&newest), before, "nothing was changed");
}

#[test]
fn a_flip_in_the_last_batch_is_a_tail_unless_it_is_known_to_be_durable() {
    let (bench, durable) = filled();
    let newest = bench.segments().pop().unwrap();
    let last_byte = end_of_data(&bench, &newest) - 1;
    bench.disk.flip_bit(&newest, last_byte, 0);
    assert_names(&bench.try_open(&[Some(durable), None]).err().unwrap(), &newest);
    let log = bench.try_open(&[Some(Offset(durable.0 - 20)), None]).expect("it opens");
    assert_eq!(all(&log).len(), 1180);
    appended(&log, "after", 1);
    drop(log);
    assert_eq!(all(&bench.open()).len(), 1181);
}

#[test]
fn garbage_after_the_end_is_cut_and_stays_cut() {
    let (bench, _) = filled();
    let segments = bench.segments();
    let newest = segments.last().unwrap();
    let end = end_of_data(&bench, newest);
    // Valid batches of this very partition, from another place.
    let old = bench.disk.bytes(&segments[0]).unwrap()[SEGMENT_HEADER_BYTES..2_000].to_vec();
    bench.disk.damage(newest, end, &old);
    let log = bench.open();
    let after = end_of_data(&bench, newest);
    assert!(bench.disk.bytes(newest).unwrap()[after..].iter().all(|&byte| byte == 0), "zeros");
    assert_eq!(all(&log).len(), 1200);
    appended(&log, "after", 1);
    drop(log);
    bench.disk.power_cycle();
    assert_eq!(all(&bench.open()).len(), 1201);
}

#[test]
fn a_damaged_or_missing_segment_stops_the_start() {
    let (bench, _) = filled();
    let segments = bench.segments();
    bench.disk.flip_bit(&segments[1], 20, 0);
    assert_names(&bench.try_open(&[]).err().unwrap(), &segments[1]);
    bench.disk.flip_bit(&segments[1], 20, 0);
    assert!(bench.try_open(&[]).is_ok());
    bench.disk.remove(&segments[1]).unwrap();
    assert_names(&bench.try_open(&[]).err().unwrap(), &segments[2]);
}

#[test]
fn a_log_that_ends_below_the_checkpoint_is_refused() {
    let (bench, durable) = filled();
    let error = bench.try_open(&[Some(durable.plus(1)), None]).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    for path in bench.disk.paths() {
        if path.starts_with("/log/0") {
            bench.disk.remove(&path).unwrap();
        }
    }
    let error = bench.try_open(&[Some(durable), None]).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

#[test]
fn damaged_settings_stop_the_start() {
    let (bench, _) = filled();
    bench.disk.flip_bit(Path::new("/log/log.meta"), 10, 0);
    assert_eq!(bench.try_open(&[]).err().unwrap().kind, ErrorKind::Corrupt);
}
