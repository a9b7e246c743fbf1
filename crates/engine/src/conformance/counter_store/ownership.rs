//! Who may flush a partition, and what a store that writes row by row still promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Offset, RowKey};

use super::{P0, P1, assert_conflict, checkpoint, dead_letter, row, total, write};
use crate::ports::{Claim, CounterStore};

pub(super) fn a_claim_says_where_to_go_on(store: &dyn CounterStore) {
    let nothing = Claim { checkpoint: None, begun: None };
    assert_eq!(store.claim(P0).expect("a claim"), nothing);
    write(store, P0, 1, 10, &[(total("a", "view"), row(10, &[(60, 1)]))], &[]).expect("a flush");
    let claimed = Claim { checkpoint: Some(checkpoint(1, 10)), begun: None };
    assert_eq!(store.claim(P0).expect("a claim"), claimed);
    assert_eq!(store.claim(P0).expect("a claim again"), claimed);
    assert_eq!(store.claim(P1).expect("a claim"), nothing);
    write(store, P0, 1, 11, &[], &[]).expect("a flush after a claim");
}

/// A partition moves from process to process; `open` gives the handles of two on one empty store.
///
/// # Panics
/// When the store does not behave.
pub fn moves(open: impl FnOnce() -> [Arc<dyn CounterStore>; 2]) {
    let flush = |store: &dyn CounterStore, next: u64| {
        let rows = [(total("a", "view"), row(next, &[(60, next)]))];
        write(store, P0, 1, next, &rows, &[dead_letter(next)])
    };
    let [one, two] = open();
    one.claim(P0).expect("a claim");
    flush(&*one, 5).expect("the owner flushes");
    write(&*two, P1, 1, 3, &[], &[]).expect("another partition is another's");
    let claimed = two.claim(P0).expect("a claim");
    assert_eq!(claimed, Claim { checkpoint: Some(checkpoint(1, 5)), begun: None });
    assert_conflict(flush(&*one, 9));
    let seen = two.snapshot().expect("a snapshot");
    assert_eq!(seen.get(P0, &[total("a", "view")]).expect("a row"), [Some(row(5, &[(60, 5)]))]);
    assert_eq!(seen.checkpoint(P0).expect("a checkpoint"), Some(checkpoint(1, 5)));
    flush(&*two, 7).expect("the new owner flushes");
    assert_conflict(flush(&*one, 9));
    assert_eq!(one.claim(P0).expect("a claim").checkpoint, Some(checkpoint(1, 7)));
    assert_conflict(flush(&*two, 8));
    flush(&*one, 9).expect("the owner again");
    write(&*two, P1, 1, 4, &[], &[]).expect("that partition did not move");
    let letters = one.snapshot().expect("a snapshot").dead_letters(P0, Offset(0), 9);
    let offsets: Vec<_> = letters.expect("letters").iter().map(|letter| letter.offset.0).collect();
    assert_eq!(offsets, [5, 7, 9], "what was refused left nothing behind");
}

/// Two partitions flush while rows are read: each row is of one flush, at or beyond the checkpoint that was
/// pinned before, and never goes back.
pub(super) fn rows_are_of_one_flush_each(store: Arc<dyn CounterStore>) {
    const FLUSHES: u64 = 12;
    const ITEMS: u64 = 40;
    let items: Vec<String> = (0..ITEMS).map(|n| format!("item-{n:02}")).collect();
    let keys: Vec<RowKey<'_>> = items.iter().map(|item| total(item, "view")).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [P0, P1].map(|partition| {
            let (store, keys) = (&store, &keys);
            scope.spawn(move || {
                for flush in 1..=FLUSHES {
                    let next = flush * ITEMS;
                    let rows: Vec<_> =
                        keys.iter().map(|key| (*key, row(next, &[(60, flush)]))).collect();
                    write(&**store, partition, 1, next, &rows, &[]).expect("a flush");
                }
            })
        });
        let reader = scope.spawn(|| {
            let mut seen = vec![0; 2 * keys.len()];
            loop {
                let last = done.load(Ordering::Acquire);
                let snapshot = store.snapshot().expect("a snapshot");
                for (at, partition) in [P0, P1].into_iter().enumerate() {
                    let pinned = snapshot.checkpoint(partition).expect("an answer");
                    let pinned = pinned.map_or(0, |checkpoint| checkpoint.next_offset.0);
                    let rows = snapshot.get(partition, &keys).expect("rows");
                    for (row, seen) in rows.iter().zip(&mut seen[at * keys.len()..]) {
                        let row = row.clone().unwrap_or_default();
                        let (next, counted) = (row.stamp.next_offset.0, row.summary().count);
                        assert_eq!(next, counted * ITEMS, "a row of one flush");
                        assert!(next >= pinned && next >= *seen, "{next}, {pinned}, {seen}");
                        *seen = next;
                    }
                    let again = snapshot.checkpoint(partition).expect("an answer");
                    assert_eq!(again.map_or(0, |c| c.next_offset.0), pinned);
                }
                if last {
                    return seen;
                }
            }
        });
        for writer in writers {
            writer.join().expect("a writer ends well");
        }
        done.store(true, Ordering::Release);
        let seen = reader.join().expect("the reader ends well");
        assert!(seen.iter().all(|next| *next == FLUSHES * ITEMS), "{seen:?}");
    });
}
