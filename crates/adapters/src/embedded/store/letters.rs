//! Dead letters and what became of them. The letter is written once and stays; its state stands
//! beside it, and is not there while the letter is open.
//!
//! ```text
//! state    = 01 replay (replaying) | 02 replay (replayed) | 03 at i64 (dropped)
//! replay   = at i64 | log_epoch u32 | partition u16 | from u64 | record
//! ```
//!
//! Numbers are big-endian, times milliseconds since 1970.

use engine::ports::{ErrorKind, LetterState, PortError, Replay, StoredDeadLetter};
use fjall::{Guard, Keyspace, Readable, Snapshot};
use model::{Offset, PartitionId, TimestampMs};

use super::changes::Changes;
use super::row::{self, Damage, Reader};
use super::{EmbeddedStore, damaged, keys, read_failure};

const REPLAYING: u8 = 1;
const REPLAYED: u8 = 2;
const DROPPED: u8 = 3;

impl EmbeddedStore {
    /// See [`engine::ports::CounterStore::mark`].
    pub(super) fn mark_letter(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        // As flushes of a partition, marks come one by one.
        let _alone = self.partitions.get(partition)?.checkpoint.lock();
        let pinned = self.pinned.read().clone();
        let letter = keys::dead_letter(partition, offset);
        if !pinned.contains_key(&self.rows, letter).map_err(read_failure)? {
            let context = format!("there is no dead letter {partition}/{offset}");
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        let stored = state(&pinned, &self.rows, partition, offset)?;
        if stored != *from {
            let context =
                format!("the dead letter {partition}/{offset} is in another state by now");
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        self.check_room()?;
        let mut changes = Changes::with_capacity(1);
        let key = keys::letter_state(partition, offset);
        match write_state(to) {
            Some(bytes) => changes.insert(key, bytes),
            None => changes.remove(key),
        }
        self.commit(changes).map_err(|error| {
            let context = format!(
                "mark the dead letter {partition}/{offset}: the counter store in {:?} takes no \
                 more writes until the process is restarted",
                self.folder
            );
            PortError::caused(ErrorKind::Corrupt, context, error)
        })
    }
}

/// Letters from an offset on, at most `limit`.
pub(super) fn list(
    pinned: &Snapshot,
    rows: &Keyspace,
    partition: PartitionId,
    from: Offset,
    limit: usize,
) -> Result<Vec<StoredDeadLetter>, PortError> {
    let range = keys::dead_letter(partition, from)..=keys::dead_letter(partition, Offset(u64::MAX));
    let read = |guard| {
        let mut letter = letter(guard)?;
        letter.state = state(pinned, rows, partition, letter.offset)?;
        Ok(letter)
    };
    pinned.range(rows, range).take(limit).map(read).collect()
}

fn letter(guard: Guard) -> Result<StoredDeadLetter, PortError> {
    let (key, value) = guard.into_inner().map_err(read_failure)?;
    let offset = keys::dead_letter_offset(&key).ok_or(Damage::Length);
    offset
        .and_then(|offset| {
            let (append_time, reason, record) = row::read_dead_letter(&value)?;
            let (reason, record) = (reason.to_owned(), record.to_vec());
            let state = LetterState::Open;
            Ok(StoredDeadLetter { offset, append_time, reason, record, state })
        })
        .map_err(|damage| damaged(&key, damage))
}

fn state(
    pinned: &Snapshot,
    rows: &Keyspace,
    partition: PartitionId,
    offset: Offset,
) -> Result<LetterState, PortError> {
    let key = keys::letter_state(partition, offset);
    match pinned.get(rows, key).map_err(read_failure)? {
        Some(bytes) => read_state(&bytes).map_err(|damage| damaged(&key, damage)),
        None => Ok(LetterState::Open),
    }
}

/// The bytes of a state; none for an open letter.
pub(crate) fn write_state(state: &LetterState) -> Option<Vec<u8>> {
    let replay = |tag: u8, replay: &Replay| {
        let mut out = vec![tag];
        out.extend_from_slice(&replay.at.0.to_be_bytes());
        out.extend_from_slice(&replay.log_epoch.to_be_bytes());
        out.extend_from_slice(&replay.partition.0.to_be_bytes());
        out.extend_from_slice(&replay.from.0.to_be_bytes());
        out.extend_from_slice(&replay.record);
        out
    };
    match state {
        LetterState::Open => None,
        LetterState::Replaying(begun) => Some(replay(REPLAYING, begun)),
        LetterState::Replayed(done) => Some(replay(REPLAYED, done)),
        LetterState::Dropped { at } => Some([&[DROPPED][..], &at.0.to_be_bytes()].concat()),
    }
}

pub(crate) fn read_state(bytes: &[u8]) -> Result<LetterState, Damage> {
    let mut reader = Reader(bytes);
    let tag = reader.byte()?;
    let at = TimestampMs(i64::from_be_bytes(reader.chunk()?));
    if tag == DROPPED {
        reader.end()?;
        return Ok(LetterState::Dropped { at });
    }
    let log_epoch = u32::from_be_bytes(reader.chunk()?);
    let partition = PartitionId(u16::from_be_bytes(reader.chunk()?));
    let from = Offset(u64::from_be_bytes(reader.chunk()?));
    let replay = Replay { at, partition, log_epoch, from, record: reader.0.to_vec() };
    match tag {
        REPLAYING => Ok(LetterState::Replaying(replay)),
        REPLAYED => Ok(LetterState::Replayed(replay)),
        _ => Err(Damage::Marks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_states() {
        let replay = Replay {
            at: TimestampMs(3),
            partition: PartitionId(258),
            log_epoch: 5,
            from: Offset(6),
            record: b"\xff\0".to_vec(),
        };
        let body = b"\0\0\0\0\0\0\0\x03\0\0\0\x05\x01\x02\0\0\0\0\0\0\0\x06\xff\0";
        let cases = [
            (LetterState::Replaying(replay.clone()), [&[1][..], body].concat()),
            (LetterState::Replayed(replay), [&[2][..], body].concat()),
            (LetterState::Dropped { at: TimestampMs(3) }, [&[3][..], &body[..8]].concat()),
        ];
        for (state, bytes) in cases {
            assert_eq!(write_state(&state).as_deref(), Some(&bytes[..]));
            assert_eq!(read_state(&bytes), Ok(state));
            assert_eq!(read_state(&bytes[..8]), Err(Damage::Length));
        }
        assert_eq!(write_state(&LetterState::Open), None);
        assert_eq!(read_state(b""), Err(Damage::Length));
        assert_eq!(read_state(&[&[4][..], body].concat()), Err(Damage::Marks));
        assert_eq!(read_state(b"\x03\0\0\0\0\0\0\0\0\0"), Err(Damage::Length));
    }
}
