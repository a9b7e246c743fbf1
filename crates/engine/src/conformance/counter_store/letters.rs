//! How a store keeps dead letters and what became of them.

use model::{Offset, PartitionId, TimestampMs};

use super::{P0, P1, dead_letter, write};
use crate::ports::{CounterStore, ErrorKind, LetterState, Replay};

pub(super) fn are_paged(store: &dyn CounterStore) {
    let letters: Vec<_> = [3, 300, 70_000].map(dead_letter).into();
    write(store, P0, 1, 400, &[], &letters[..2]).expect("a flush");
    write(store, P0, 1, 80_000, &[], &letters[2..]).expect("a flush");
    write(store, P1, 1, 80_000, &[], &[dead_letter(5)]).expect("a flush");
    let snapshot = store.snapshot().expect("a snapshot");
    let offsets = |from, limit| {
        let letters = snapshot.dead_letters(P0, Offset(from), limit).expect("letters");
        letters.iter().map(|letter| letter.offset.0).collect::<Vec<_>>()
    };
    assert_eq!(offsets(0, 9), [3, 300, 70_000]);
    assert_eq!(offsets(0, 2), [3, 300]);
    assert_eq!(offsets(301, 9), [70_000]);
    assert_eq!(offsets(70_001, 9), []);
    assert_eq!(offsets(0, 0), []);
    let first = &snapshot.dead_letters(P0, Offset(3), 1).expect("a letter")[0];
    assert_eq!(first.append_time, letters[0].append_time);
    assert_eq!(first.reason, letters[0].reason.to_string());
    assert_eq!(first.record, letters[0].record);
}

/// `pins`: whether a snapshot stays as it was.
pub(super) fn move_from_state_to_state(store: &dyn CounterStore, pins: bool) {
    let at = Offset(3);
    let letters = [dead_letter(3), dead_letter(4)];
    write(store, P0, 1, 10, &[], &letters).expect("a flush");
    let before = store.snapshot().expect("a snapshot");
    let dropped = LetterState::Dropped { at: TimestampMs(-5) };
    let LetterState::Replaying(replay) = replaying(0) else { unreachable!("it is replaying") };
    let path =
        [LetterState::Open, replaying(0), LetterState::Open, replaying(300), dropped.clone()];
    for (from, to) in path.iter().zip(&path[1..]) {
        let wrong = LetterState::Replayed(replay.clone());
        let refused = store.mark(P0, at, &wrong, to).expect_err("it is in another state");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        store.mark(P0, at, from, to).expect("a mark");
        let after = store.snapshot().expect("a snapshot");
        let found = after.dead_letters(P0, Offset(0), 9).expect("letters");
        let states: Vec<_> = found.iter().map(|letter| &letter.state).collect();
        assert_eq!(states, [to, &LetterState::Open]);
        assert_eq!(found[0].record, letters[0].record);
    }
    for (partition, offset) in [(P0, Offset(5)), (P1, at)] {
        let refused = store.mark(partition, offset, &LetterState::Open, &dropped);
        assert_eq!(refused.expect_err("no such letter").kind, ErrorKind::Invalid);
    }
    let pinned = before.dead_letters(P0, at, 1).expect("letters");
    assert!(!pins || pinned[0].state == LetterState::Open, "a snapshot stays as it was");
    write(store, P0, 1, 11, &[], &[dead_letter(10)]).expect("a flush");
    let found = store.snapshot().expect("a snapshot").dead_letters(P0, at, 1).expect("letters");
    assert_eq!(found[0].state, dropped, "a flush leaves states alone");
}

/// A replay of some bytes that was begun.
pub(super) fn replaying(from: u64) -> LetterState {
    LetterState::Replaying(Replay {
        at: TimestampMs(8),
        partition: PartitionId(258),
        log_epoch: 7,
        from: Offset(from),
        record: vec![0, 0xff, 9],
    })
}
