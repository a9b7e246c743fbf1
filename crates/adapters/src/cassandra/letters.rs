//! Dead letters and what became of them. Letters are written by flushes, their states by lightweight
//! transactions, in a table of their own.

use std::collections::HashMap;

use engine::ports::{ErrorKind, LetterState, PortError, StoredDeadLetter};
use model::{Offset, PartitionId};
use scylla::value::CqlValue::{BigInt, Blob, Int, List};

use super::beside::offset_number;
use super::{CassandraStore, Shared, damaged};
use crate::embedded::store::{letters, row};

impl CassandraStore {
    /// See [`engine::ports::CounterStore::mark`].
    pub(super) fn mark_letter(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        let (link, statements) = (&self.shared.link, &self.shared.statements);
        let found = self.shared.dead_letters(partition, offset, 1)?;
        if found.first().is_none_or(|letter| letter.offset != offset) {
            let context = format!("there is no dead letter {partition}/{offset}");
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        let (id, at) = (Int(partition.0.into()), BigInt(offset_number(offset)));
        let is_marked = match (letters::write_state(from), letters::write_state(to)) {
            (None, None) => found[0].state == LetterState::Open,
            (None, Some(to)) => link.decide(&statements.mark_first, vec![id, at, Blob(to)])?,
            (Some(from), Some(to)) => {
                link.decide(&statements.mark, vec![Blob(to), id, at, Blob(from)])?
            }
            (Some(from), None) => link.decide(&statements.unmark, vec![id, at, Blob(from)])?,
        };
        if !is_marked {
            let context =
                format!("the dead letter {partition}/{offset} is in another state by now");
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        Ok(())
    }
}

impl Shared {
    /// See [`engine::ports::CounterSnapshot::dead_letters`].
    pub(super) fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        let Some(limit) = i32::try_from(limit).ok().or(Some(i32::MAX)).filter(|n| *n > 0) else {
            return Ok(Vec::new());
        };
        let id = Int(partition.0.into());
        let values = vec![id.clone(), BigInt(offset_number(from)), Int(limit)];
        let stored = self.link.rows::<(i64, Option<Vec<u8>>)>(&self.statements.letters, values)?;
        let mut found = Vec::with_capacity(stored.len());
        for (offset, letter) in stored {
            let (Ok(offset), Some(letter)) = (u64::try_from(offset), letter) else { continue };
            let (append_time, reason, record) =
                row::read_dead_letter(&letter).map_err(|d| damaged("dead letter", d))?;
            found.push(StoredDeadLetter {
                offset: Offset(offset),
                append_time,
                reason: reason.to_owned(),
                record: record.to_vec(),
                state: LetterState::Open,
            });
        }
        // ScyllaDB takes a hundred by default.
        for letters in found.chunks_mut(64) {
            let asked = letters.iter().map(|letter| BigInt(offset_number(letter.offset)));
            let values = vec![id.clone(), List(asked.collect())];
            let states =
                self.link.rows::<(i64, Option<Vec<u8>>)>(&self.statements.letter_states, values)?;
            let states: HashMap<i64, Vec<u8>> =
                states.into_iter().filter_map(|(offset, state)| Some((offset, state?))).collect();
            for letter in letters {
                if let Some(state) = states.get(&offset_number(letter.offset)) {
                    let read = letters::read_state(state);
                    letter.state = read.map_err(|d| damaged("state of a dead letter", d))?;
                }
            }
        }
        Ok(found)
    }
}
