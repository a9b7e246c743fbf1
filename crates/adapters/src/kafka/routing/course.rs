//! What the records of the topic add up to: a function of them in their order, the same for everybody
//! who reads them, also where some were compacted away.
//!
//! - A version is one where it stands at the offset that its writer expected: then the writer had read
//!   all that stands before it, and it follows from that. Whatever stands elsewhere lost a race.
//! - The clock is the latest append time of its records. It never goes back, and a version is published
//!   at the time that the clock shows where it stands: whoever has read less has an earlier time.
//! - A record that cannot be read may be a version: nothing is confirmed any more, until a tombstone
//!   takes it away.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::ports::{ErrorKind, PortError};
use model::{RoutingError, RoutingTable, TimestampMs};

use super::super::follow::TopicRecord;
use super::record::{Key, Unreadable, VersionKey, Written, read_floor};

/// Records that cannot be read, of which so many are remembered: with more the topic is not ours.
const UNREADABLE_MAX: usize = 64;

/// How far reading is, and what it came to.
#[derive(Debug)]
pub(super) struct Course {
    /// None before the first version.
    table: Option<Arc<RoutingTable>>,
    /// Whose each version is.
    keys: Vec<VersionKey>,
    clock: TimestampMs,
    /// Records of the clock that were read.
    beats: u64,
    next_offset: u64,
    /// Whether others have the table, who keep it whatever comes.
    is_shared: bool,
    unreadable: BTreeMap<Vec<u8>, (u64, Unreadable)>,
    /// Why nothing is read any more.
    broken: Option<String>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            table: None,
            keys: Vec::new(),
            clock: TimestampMs(i64::MIN),
            beats: 0,
            next_offset: 0,
            is_shared: false,
            unreadable: BTreeMap::new(),
            broken: None,
        }
    }
}

impl Course {
    pub(super) fn table(&self) -> Option<&Arc<RoutingTable>> {
        self.table.as_ref()
    }

    /// What the clock shows after everything that was read.
    pub(super) fn clock(&self) -> TimestampMs {
        self.clock
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats
    }

    /// The first offset that was not read.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Whether a version was written under a key, and is one.
    pub(super) fn has(&self, key: VersionKey) -> bool {
        let at = usize::try_from(key.number).ok().and_then(|number| number.checked_sub(1));
        at.and_then(|at| self.keys.get(at)) == Some(&key)
    }

    /// Whether what was read is all there is to it.
    ///
    /// # Errors
    /// `Corrupt` where there may be versions that cannot be read.
    pub(super) fn check(&self, topic: &str) -> Result<(), PortError> {
        if let Some(why) = &self.broken {
            let context = format!("the routing table in the topic {topic} cannot be read: {why}");
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
        let Some((key, (offset, why))) = self.unreadable.iter().next() else { return Ok(()) };
        let context = format!(
            "the topic {topic} holds a record at offset {offset} that cannot be read, so that there may \
             be versions of the routing table that are not known here: {why}; start the newest program \
             there is, or, where nobody meant it, produce a message without a value under its key {}",
            key.escape_ascii()
        );
        Err(PortError::new(ErrorKind::Corrupt, context))
    }

    /// Everything below an offset was read, or is no more.
    pub(super) fn pass(&mut self, next_offset: u64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// From now on others are given the table.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
    }

    /// Nothing is read any more.
    pub(super) fn break_off(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &TopicRecord<'_>) {
        if self.broken.is_some() || record.offset < self.next_offset {
            return;
        }
        self.pass(record.offset + 1);
        let taken = match (Key::read(record.key), record.value) {
            (key, None) => {
                self.take_tombstone(record, key.ok());
                Ok(())
            }
            (Ok(Key::Clock), Some(value)) => self.take_clock(record, value),
            (Ok(Key::Version(key)), Some(value)) => self.take_version(record, key, value),
            (Err(unreadable), Some(_)) => Err(unreadable),
        };
        if let Err(unreadable) = taken {
            self.unreadable.insert(record.key.to_vec(), (record.offset, unreadable));
            if self.unreadable.len() > UNREADABLE_MAX {
                self.break_off(format!("more than {UNREADABLE_MAX} records are none of tally's"));
            }
        }
    }

    /// Somebody took a record away. What lost is nothing to anybody; what won is missing from now on.
    fn take_tombstone(&mut self, record: &TopicRecord<'_>, key: Option<Key>) {
        self.unreadable.remove(record.key);
        if let Some(Key::Version(key)) = key
            && self.has(key)
        {
            self.break_off(format!("somebody has deleted version {}", key.number));
        }
    }

    fn take_clock(&mut self, record: &TopicRecord<'_>, value: &[u8]) -> Result<(), Unreadable> {
        let floor = read_floor(value)?;
        let appended = record.append_time.ok_or(Unreadable::AppendTime)?;
        self.clock = self.clock.max(floor).max(appended);
        self.beats += 1;
        Ok(())
    }

    fn take_version(
        &mut self,
        record: &TopicRecord<'_>,
        key: VersionKey,
        value: &[u8],
    ) -> Result<(), Unreadable> {
        let written = Written::read(value)?;
        if written.place != record.offset {
            return Ok(());
        }
        let known = self.table.as_ref().map_or(0, |table| table.version());
        if key.number != known.wrapping_add(1) {
            self.break_off(format!(
                "version {} follows version {known} at offset {}",
                key.number, record.offset
            ));
            return Ok(());
        }
        // The first one holds since ever. Any other that is earlier than the clock may hold for events that
        // somebody has routed without it.
        if known > 0 && written.version.published < self.clock {
            self.break_off(format!(
                "version {} at offset {} was published at {}, and the clock was at {} already",
                key.number, record.offset, written.version.published, self.clock
            ));
            return Ok(());
        }
        match self.push(written) {
            Ok(()) => self.keys.push(key),
            Err(error) => {
                let why = format!(
                    "version {} at offset {} cannot follow: {error}",
                    key.number, record.offset
                );
                self.break_off(why);
            }
        }
        Ok(())
    }

    fn push(&mut self, written: Written) -> Result<(), RoutingError> {
        let version = written.version;
        match &mut self.table {
            None => {
                let partitions = version.partitions;
                if !(1..=model::limits::PARTITIONS_MAX).contains(&partitions) {
                    return Err(RoutingError::Partitions);
                }
                let table = RoutingTable::first(partitions);
                if *table.newest() != version {
                    return Err(RoutingError::Bytes);
                }
                self.table = Some(Arc::new(table));
            }
            Some(table) if self.is_shared => *table = Arc::new(table.with(version)?),
            // While the topic is read from the beginning nothing is copied; should a version not follow,
            // the table is of no use, and nobody gets it.
            Some(table) => {
                let pushed = Arc::make_mut(table).push(version);
                if pushed.is_err() {
                    self.table = None;
                }
                pushed?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
