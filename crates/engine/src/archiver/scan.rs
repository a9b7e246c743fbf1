//! Where raw files of a shared log end.
//!
//! Several processes archive such a log, one partition each at a time, and one that was stopped for long may
//! wake up and write beside the one that took over. So an end must be a fact of the log and never of what a
//! clock said or how far somebody saw: it is a multiple of 2^20 offsets, or the first record whose append
//! hour is later than that of all before it. Append times can go back here when leaders change, so each record
//! is looked at, and what is earlier belongs to the hour that was reached.
//!
//! The last hour of a partition that receives nothing more would so never end. Whoever archives the partition
//! then appends a control record that says nothing, and so is of a later hour. A second one, of somebody who
//! woke up late, ends nothing and does no harm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use model::bucket::HOUR_MS;
use model::control::Control;
use model::{Batch, Hour, Offset, PartitionId};

use super::cut::{FILE_OFFSETS, HOUR_OVER_MS, hour_of};
use super::run::stopping;
use crate::ports::{AppendPart, ErrorKind, EventLog, PortError, RawFile};

/// Payload read from the log at a time.
const READ_BYTES: usize = 1 << 20;
/// Between two records that are to end an hour: the brokers' clocks may be behind.
const SEAL_PAUSE: Duration = Duration::from_secs(30);

/// What was looked through of the file that comes next.
pub(super) struct Scan {
    id: PartitionId,
    from: Offset,
    /// The first offset that was not looked at.
    to: Offset,
    /// The latest append hour of all that was looked at, and of the file before.
    hour: Hour,
    /// Whether anything but control records was there: those alone need no file yet.
    has_events: bool,
    /// When a record was last appended to end the hour.
    sealed: Option<Instant>,
}

impl Scan {
    /// Begins behind a file of the hour `floor`.
    pub(super) fn new(id: PartitionId, from: Offset, floor: Hour) -> Self {
        Self { id, from, to: from, hour: floor, has_events: false, sealed: None }
    }

    /// The file that begins at `from`, as soon as the log says where it ends.
    pub(super) fn next_cut(
        &mut self,
        log: &dyn EventLog,
        is_stopping: &AtomicBool,
    ) -> Result<Option<RawFile>, PortError> {
        // The clock before the end: what is appended between the two belongs to neither.
        let now = log.append_time().ok();
        let full = Offset((self.from.0 / FILE_OFFSETS + 1) * FILE_OFFSETS);
        let end = log.bounds(self.id).durable_offset.min(full);
        while self.to < end {
            if is_stopping.load(Ordering::Relaxed) {
                return Err(stopping());
            }
            let before = self.to;
            for batch in block_on(log.read(self.id, self.to, READ_BYTES))? {
                if self.to >= end || batch.next_offset() <= self.to {
                    continue;
                }
                if let Some(ends) = self.look_at(&batch, end)? {
                    return Ok(Some(self.file(ends)));
                }
            }
            if self.to == before {
                let context = format!("partition {} gave nothing for offset {before}", self.id);
                return Err(PortError::new(ErrorKind::Corrupt, context));
            }
        }
        if self.to == full {
            return Ok(Some(self.file(full)));
        }
        let hour_end = self.hour.start().0 + HOUR_MS;
        if self.has_events && now.is_some_and(|now| now.0 >= hour_end + HOUR_OVER_MS) {
            self.seal(log)?;
        }
        Ok(None)
    }

    /// Looks at what comes next; where the file ends, if it ends there.
    fn look_at(
        &mut self,
        batch: &Batch<bytes::Bytes>,
        end: Offset,
    ) -> Result<Option<Offset>, PortError> {
        let at = batch.base_offset.max(self.to);
        let hour = hour_of(batch.append_time).ok_or_else(|| {
            let context = format!("partition {} has a wild append time at offset {at}", self.id);
            PortError::new(ErrorKind::Corrupt, context)
        })?;
        if hour > self.hour {
            if at > self.from {
                return Ok(Some(at));
            }
            self.hour = hour;
        }
        self.has_events |= !batch.is_control;
        self.to = batch.next_offset().min(end);
        Ok(None)
    }

    fn file(&self, to: Offset) -> RawFile {
        RawFile { partition: self.id, from: self.from, to, hour: self.hour }
    }

    /// Appends a record that says nothing, so that the hour ends.
    fn seal(&mut self, log: &dyn EventLog) -> Result<(), PortError> {
        if self.sealed.is_some_and(|sealed| sealed.elapsed() < SEAL_PAUSE) {
            return Ok(());
        }
        self.sealed = Some(Instant::now());
        let records = Control::Vacant.records();
        let part = AppendPart { partition: self.id, records, is_control: true };
        let results = block_on(log.append(vec![part])?);
        // Whether one that is in doubt was written shows in what is read next.
        results.into_iter().try_for_each(|result| result.map(drop)).map_err(|error| {
            let context = format!("the last hour of partition {} cannot be ended", self.id);
            PortError::caused(ErrorKind::Unavailable, context, error)
        })
    }
}
