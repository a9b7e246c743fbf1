//! How a store keeps what is known of sources, and which files were named.

use std::sync::Arc;

use model::{
    BulkEntry, BulkId, BulkObject, Offset, PartitionId, RefusedRanges, SourceMark, SourceState,
    TimestampMs,
};

use super::{P0, P1, checkpoint};
use crate::ports::{CounterSnapshot, CounterStore, Flush, PortError};

/// They are written with their flush, replaced, forgotten, and apart by partition. `pins`: whether a
/// snapshot stays as it was.
pub(super) fn are_kept_and_forgotten(store: &dyn CounterStore, pins: bool) {
    let longest = "~".repeat(model::limits::SOURCE_BYTES_MAX);
    write(store, P0, 1, &[("b", Some(1)), ("a c", Some(0)), (&longest, Some(i64::MAX))])
        .expect("a flush");
    write(store, PartitionId(256), 1, &[("b", Some(5))]).expect("a flush");
    let before = store.snapshot().expect("a snapshot");
    let all = [("a c".to_owned(), 0), ("b".to_owned(), 1), (longest.clone(), i64::MAX)];
    assert_eq!(read(&*before, P0), all);
    assert_eq!(read(&*before, P1), []);
    assert_eq!(read(&*before, PartitionId(256)), [("b".to_owned(), 5)]);
    write(store, P0, 2, &[("b", Some(9)), ("a c", None), ("never heard of", None)])
        .expect("a flush");
    let after = store.snapshot().expect("a snapshot");
    assert_eq!(read(&*after, P0), [("b".to_owned(), 9), (longest, i64::MAX)]);
    assert!(!pins || read(&*before, P0) == all, "a snapshot stays as it was");
    // A flush that is refused changes no source.
    write(store, P0, 2, &[("b", Some(10))]).expect_err("it comes late");
    let after = store.snapshot().expect("a snapshot");
    assert_eq!(read(&*after, P0)[0].1, 9);
}

/// They are written with their flush; one that is named again replaces the one before.
pub(super) fn files_are_kept(store: &dyn CounterStore) {
    let entry = |id, offset| {
        let object = BulkObject { id: BulkId(id), bytes: 7, object: "o".into(), how: "{}".into() };
        BulkEntry { offset: Offset(offset), append_time: TimestampMs(5), object }
    };
    assert_eq!(store.snapshot().expect("a snapshot").bulk().expect("none"), []);
    for (next, bulk) in [(1, [entry(9, 0), entry(u128::MAX, 1)]), (2, [entry(3, 2), entry(9, 3)])] {
        let (partition, checkpoint) = (P0, checkpoint(1, next));
        let beside = Flush {
            partition,
            dead_letters: &[],
            sources: &[],
            bulk: &bulk,
            repairs: &[],
            checkpoint,
        };
        store.flush(&beside, &mut std::iter::empty()).expect("a flush");
    }
    let found = store.snapshot().expect("a snapshot").bulk().expect("files");
    assert_eq!(found, [entry(3, 2), entry(9, 3), entry(u128::MAX, 1)]);
}

/// A flush of nothing but sources, each with its sequence or forgotten.
pub(super) fn write(
    store: &dyn CounterStore,
    partition: PartitionId,
    next: u64,
    sources: &[(&str, Option<i64>)],
) -> Result<(), PortError> {
    let marks: Vec<_> = sources
        .iter()
        .map(|&(source, sequence)| SourceMark { source: source.into(), state: sequence.map(state) })
        .collect();
    let checkpoint = checkpoint(1, next);
    let flush = Flush {
        partition,
        dead_letters: &[],
        sources: &marks,
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    store.flush(&flush, &mut std::iter::empty())
}

/// The sources of a partition with their sequences; the rest of them is checked.
pub(super) fn read(snapshot: &dyn CounterSnapshot, partition: PartitionId) -> Vec<(String, i64)> {
    let sources = snapshot.sources(partition).expect("sources");
    sources
        .into_iter()
        .map(|(source, found)| {
            assert_eq!(found, state(found.sequence), "{source}");
            (source, found.sequence)
        })
        .collect()
}

fn state(sequence: i64) -> SourceState {
    let append_time = TimestampMs(sequence.wrapping_mul(3));
    let mut refused = RefusedRanges::default();
    if sequence > 3 {
        for sequence in [0, sequence / 2, sequence - 1] {
            refused.push(sequence, false);
        }
    }
    let since = Offset(sequence as u64 / 2);
    SourceState { sequence, append_time, since, refused: Arc::new(refused) }
}
