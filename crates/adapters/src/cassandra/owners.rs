//! Who owns a partition and how far it is: one row each, changed by lightweight transactions alone.
//!
//! ```text
//! owner       16 bytes, random in each process
//! log_epoch, next_offset    of the checkpoint; -1 before the first flush
//! begun       where a flush ends that is being written, -1 where none is
//! checkpoint  its bytes, as in the embedded store; null before the first flush
//! ```

use engine::ports::{Claim, ErrorKind, PortError};
use model::{Checkpoint, Offset, PartitionId};
use scylla::value::CqlValue::{BigInt, Blob, Int};

use super::{CassandraStore, damaged};
use crate::embedded::store::row;

/// Nothing was flushed, or nothing is begun.
const NONE: i64 = -1;
/// Others that claim a partition at the same moment, before this one gives up.
const CLAIMS_MAX: usize = 16;

/// What this process knows of a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Owned {
    /// It never claimed it.
    #[default]
    No,
    /// It claimed it, and something failed since: the row says how far it is.
    Unsure,
    /// It claimed it, and what it wrote was confirmed.
    At(Place),
}

/// How far a partition is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) begun: Option<Offset>,
}

struct OwnerRow {
    owner: Vec<u8>,
    place: Place,
}

type Columns = (Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>, Option<Vec<u8>>);

impl CassandraStore {
    fn owner_row(&self, partition: PartitionId) -> Result<Option<OwnerRow>, PortError> {
        let values = vec![Int(partition.0.into())];
        let rows = self.shared.link.rows::<Columns>(&self.shared.statements.owner, values)?;
        let Some((Some(owner), _, _, begun, checkpoint)) = rows.into_iter().next() else {
            return Ok(None);
        };
        let read = |bytes: Vec<u8>| row::read_checkpoint(&bytes);
        let checkpoint = checkpoint.map(read).transpose();
        let checkpoint =
            checkpoint.map_err(|damage| damaged(&format!("checkpoint of {partition}"), damage))?;
        let begun = begun.and_then(|begun| u64::try_from(begun).ok()).map(Offset);
        Ok(Some(OwnerRow { owner, place: Place { checkpoint, begun } }))
    }

    /// Makes this process the owner.
    pub(super) fn take(&self, partition: PartitionId) -> Result<Claim, PortError> {
        let mut owned = self.partition(partition)?.owned.lock();
        let place = self.take_over(partition)?;
        *owned = Owned::At(place);
        Ok(Claim { checkpoint: place.checkpoint, begun: place.begun })
    }

    fn take_over(&self, partition: PartitionId) -> Result<Place, PortError> {
        let statements = &self.shared.statements;
        let (id, me) = (Int(partition.0.into()), Blob(self.owner.to_vec()));
        for _ in 0..CLAIMS_MAX {
            let found = self.owner_row(partition)?;
            let is_mine = match &found {
                Some(OwnerRow { owner, .. }) if owner[..] == self.owner => true,
                Some(OwnerRow { owner, .. }) => {
                    let values = vec![me.clone(), id.clone(), Blob(owner.clone())];
                    self.shared.link.decide(&statements.own, values)?
                }
                None => {
                    let none = || BigInt(NONE);
                    let values = vec![id.clone(), me.clone(), none(), none(), none()];
                    self.shared.link.decide(&statements.own_first, values)?
                }
            };
            // The owner of before may have got on until it was taken over.
            if is_mine
                && let Some(now) = self.owner_row(partition)?
                && now.owner[..] == self.owner
            {
                return Ok(now.place);
            }
        }
        let context = format!("partition {partition} is claimed by others all the time");
        Err(PortError::new(ErrorKind::Unavailable, context))
    }

    /// How far a partition is that this process owns, or nobody has claimed in it yet.
    pub(super) fn place(
        &self,
        partition: PartitionId,
        owned: &mut Owned,
    ) -> Result<Place, PortError> {
        let place = match *owned {
            Owned::At(place) => return Ok(place),
            Owned::No => self.take_over(partition)?,
            Owned::Unsure => match self.owner_row(partition)? {
                Some(OwnerRow { owner, place }) if owner[..] == self.owner => place,
                _ => return Err(lost(partition)),
            },
        };
        *owned = Owned::At(place);
        Ok(place)
    }

    /// Notes that a flush is being written; rows may be written from now on.
    pub(super) fn begin(
        &self,
        partition: PartitionId,
        place: &Place,
        to: Offset,
    ) -> Result<(), PortError> {
        let (epoch, next) = numbers(place.checkpoint.as_ref());
        let values = vec![
            BigInt(number(to)),
            Int(partition.0.into()),
            Blob(self.owner.to_vec()),
            epoch,
            next,
            BigInt(NONE),
            BigInt(number(to)),
        ];
        match self.shared.link.decide(&self.shared.statements.begin, values)? {
            true => Ok(()),
            false => Err(lost(partition)),
        }
    }

    /// Notes that all of it is written.
    pub(super) fn commit(
        &self,
        partition: PartitionId,
        checkpoint: &Checkpoint,
    ) -> Result<(), PortError> {
        let (epoch, next) = numbers(Some(checkpoint));
        let values = vec![
            Blob(row::write_checkpoint(checkpoint)),
            epoch,
            next,
            BigInt(NONE),
            Int(partition.0.into()),
            Blob(self.owner.to_vec()),
            BigInt(number(checkpoint.next_offset)),
        ];
        match self.shared.link.decide(&self.shared.statements.commit, values)? {
            true => Ok(()),
            false => Err(lost(partition)),
        }
    }
}

fn numbers(checkpoint: Option<&Checkpoint>) -> (scylla::value::CqlValue, scylla::value::CqlValue) {
    let numbers = checkpoint.map(|c| (i64::from(c.log_epoch), number(c.next_offset)));
    let (epoch, next) = numbers.unwrap_or((NONE, NONE));
    (BigInt(epoch), BigInt(next))
}

/// Offsets of flushes fit: [`super::stamp::WriteStamp`] refuses others before.
fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn lost(partition: PartitionId) -> PortError {
    let context = format!(
        "partition {partition} has another owner by now, or has moved on: another process counts \
         it into the same tables"
    );
    PortError::new(ErrorKind::Conflict, context)
}
