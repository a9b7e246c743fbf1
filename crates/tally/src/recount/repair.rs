//! Writes corrections of what a recount found, takes them back, and lets go of what they replaced.

use std::time::Duration;

use engine::ports::{AppendPart, ErrorKind, PortError, Repair, Repairs};
use futures::executor::block_on;
use model::control::Control;
use model::{Correction, Corrections, Offset, PartitionId};

use super::found::Found;
use super::{Recounts, RepairError};

/// Cells of one control record: it stays below a megabyte.
const CELLS_AT_A_TIME: usize = 4_096;
/// How long a repair waits for the flush that applies it.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// What a repair has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    pub(crate) generation: u64,
    /// Cells that are as they should be now.
    pub(crate) corrected: u64,
    /// Cells that had changed since they were counted again: count once more.
    pub(crate) refused: u64,
}

impl Recounts {
    /// Corrects what was found, as a generation of its own; what it replaces is kept.
    pub(super) fn correct(&self, found: &[Found]) -> Result<Repaired, RepairError> {
        let generation = self.next_generation()?;
        let mut records = Vec::new();
        for partition in self.partitions() {
            let mine: Vec<_> = found.iter().filter(|f| f.partition == partition).collect();
            for corrections in chunks(generation, mine) {
                records.push((partition, corrections));
            }
        }
        self.apply(generation, records)
    }

    /// Takes a generation back: cells are what they were, with what they have counted since.
    pub(crate) fn revert(&self, generation: u64) -> Result<Repaired, RepairError> {
        let new_generation = self.next_generation()?;
        let mut records = Vec::new();
        for (partition, Repairs { newest, kept }) in self.of_generation(generation)? {
            if newest.is_some_and(|(_, newest)| newest != generation) {
                return Err(RepairError::Later(generation));
            }
            for repair in kept {
                let swap = |cell: Correction| Correction { was: cell.is, is: cell.was, ..cell };
                let cells = repair.corrections.cells.into_iter().map(swap).collect();
                // They were counted on from there in the same way as from anywhere later.
                let known_offset = newest.map_or(Offset(0), |(offset, _)| offset.plus(1));
                let generation = new_generation;
                records.push((partition, Corrections { generation, known_offset, cells }));
            }
        }
        let repaired = self.apply(new_generation, records)?;
        self.confirm(generation)?;
        Ok(repaired)
    }

    /// Lets go of what a generation replaced.
    pub(crate) fn confirm(&self, generation: u64) -> Result<(), RepairError> {
        for (partition, _) in self.of_generation(generation)? {
            let next = self.append(partition, &Control::Confirmed { generation })?;
            self.wait_flushed(partition, next)?;
        }
        Ok(())
    }

    /// Everything that was corrected and not confirmed, by partition.
    pub(crate) fn kept(&self) -> Result<Vec<(PartitionId, Repair)>, PortError> {
        let of_all = self.repairs()?.into_iter();
        let of_one = |(partition, repairs): (PartitionId, Repairs)| {
            repairs.kept.into_iter().map(move |repair| (partition, repair))
        };
        Ok(of_all.flat_map(of_one).collect())
    }

    /// The corrections of every partition, as they are at one moment.
    fn repairs(&self) -> Result<Vec<(PartitionId, Repairs)>, PortError> {
        let snapshot = self.store.snapshot()?;
        self.partitions().map(|partition| Ok((partition, snapshot.repairs(partition)?))).collect()
    }

    /// The partitions in which corrections of a generation are kept, with nothing else kept.
    fn of_generation(&self, generation: u64) -> Result<Vec<(PartitionId, Repairs)>, RepairError> {
        let mut partitions = self.repairs()?;
        for (_, repairs) in &mut partitions {
            repairs.kept.retain(|repair| repair.corrections.generation == generation);
        }
        partitions.retain(|(_, repairs)| !repairs.kept.is_empty());
        if partitions.is_empty() {
            return Err(RepairError::Unknown(generation));
        }
        Ok(partitions)
    }

    /// Above every generation before: the log's time, which is for people to recognise.
    fn next_generation(&self) -> Result<u64, RepairError> {
        let now = self.log.append_time().map_err(|error| {
            PortError::caused(ErrorKind::Unavailable, "no generation can be given", error)
        })?;
        let mut generation = u64::try_from(now.0).unwrap_or(1);
        for (_, Repairs { newest, .. }) in self.repairs()? {
            generation = generation.max(newest.map_or(0, |(_, newest)| newest + 1));
        }
        Ok(generation)
    }

    fn apply(
        &self,
        generation: u64,
        records: Vec<(PartitionId, Corrections)>,
    ) -> Result<Repaired, RepairError> {
        let cells: u64 = records.iter().map(|(_, c)| c.cells.len() as u64).sum();
        let mut ends = Vec::new();
        for (partition, corrections) in records {
            ends.push((partition, self.append(partition, &Control::Corrections(corrections))?));
        }
        for (partition, end) in ends {
            self.wait_flushed(partition, end)?;
        }
        let kept = self.kept()?;
        let of_it = kept.iter().filter(|(_, repair)| repair.corrections.generation == generation);
        let corrected = of_it.map(|(_, repair)| repair.corrections.cells.len() as u64).sum();
        Ok(Repaired { generation, corrected, refused: cells.saturating_sub(corrected) })
    }

    /// Makes a control record durable; the offset behind it.
    fn append(&self, partition: PartitionId, control: &Control) -> Result<Offset, PortError> {
        let part = AppendPart { partition, records: control.records(), is_control: true };
        let mut results = block_on(self.log.append(vec![part])?);
        let gone = || PortError::new(ErrorKind::Conflict, "the log gave no result");
        Ok(results.pop().ok_or_else(gone)??.next_offset)
    }

    fn wait_flushed(&self, partition: PartitionId, end: Offset) -> Result<(), RepairError> {
        let mut waited = Duration::ZERO;
        while self.checkpoint(partition)?.1.next_offset < end {
            if waited >= PATIENCE {
                return Err(RepairError::Slow(partition.0));
            }
            std::thread::sleep(POLL);
            waited += POLL;
        }
        Ok(())
    }
}

/// What was found in a partition as control records: cells of an item stay together, and those of
/// one record are of one moment.
fn chunks(generation: u64, mut found: Vec<&Found>) -> Vec<Corrections> {
    found.sort_by_key(|f| (f.known_offset, &f.cell.item, &f.cell.event_type));
    let is_together = |a: &&Found, b: &&Found| {
        a.known_offset == b.known_offset
            && (&a.cell.item, &a.cell.event_type) == (&b.cell.item, &b.cell.event_type)
    };
    let mut records: Vec<Corrections> = Vec::new();
    for group in found.chunk_by(is_together) {
        let known_offset = group[0].known_offset;
        let cells = group.iter().map(|found| found.cell.clone());
        match records.last_mut() {
            Some(open)
                if open.known_offset == known_offset
                    && open.cells.len() + group.len() <= CELLS_AT_A_TIME =>
            {
                open.cells.extend(cells);
            }
            _ => {
                let cells = cells.collect();
                records.push(Corrections { generation, known_offset, cells });
            }
        }
    }
    for record in &mut records {
        record.cells.sort_by(|a, b| a.key().cmp(&b.key()));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Summary;

    #[test]
    fn cells_of_an_item_stay_in_one_record() {
        let found: Vec<_> = (0..3_000_u64)
            .flat_map(|n| {
                let cell = |place| Correction {
                    place,
                    event_type: "view".into(),
                    item: format!("item-{n:05}"),
                    was: Summary::EMPTY,
                    is: Summary { count: 1, ..Summary::EMPTY },
                };
                let place = model::HourCell { hour: model::Hour(500_000), slot: 7 };
                [None, Some(place)].map(|place| Found {
                    partition: PartitionId(0),
                    known_offset: Offset(9 + n / 2_990),
                    cell: cell(place),
                })
            })
            .collect();
        let records = chunks(7, found.iter().collect());
        assert_eq!(records.iter().map(|r| r.cells.len()).collect::<Vec<_>>(), [4_096, 1_884, 20]);
        for record in &records {
            assert_eq!(Corrections::read(&record.body()).as_ref(), Ok(record));
            let totals = record.cells.iter().filter(|cell| cell.place.is_none()).count();
            assert_eq!(totals * 2, record.cells.len());
        }
    }
}
