//! The partitioned log: where an event becomes durable.

use bytes::Bytes;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::{Batch, Offset, PartitionId, RecordBuf, TimestampMs};

use super::error::{ErrorKind, PortError};

/// The records of one request that go to one partition.
#[derive(Debug)]
pub struct AppendPart {
    /// Where they go.
    pub partition: PartitionId,
    /// The records; at least one.
    pub records: RecordBuf,
    /// Whether they are control records; those stand in batches of their own.
    pub is_control: bool,
}

/// Where the records of a part ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Which partition.
    pub partition: PartitionId,
    /// Offset of the part's first record; the others follow it without a gap.
    pub base_offset: Offset,
    /// Their append time.
    pub append_time: TimestampMs,
}

/// What became of one part.
///
/// An error of kind `Unavailable` or `Overloaded` says that nothing of the part was written and
/// nothing of it will ever be read. Any other kind says that it may or may not have been written.
pub type PartResult = Result<Appended, PortError>;

/// What a partition's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Identity of the log now; it rises with every start.
    pub log_epoch: u32,
    /// The first offset still kept.
    pub start_offset: Offset,
    /// The first offset that is not durable: everything below it is, and can be read.
    pub durable_offset: Offset,
}

/// An ordered, durable log of records for each partition.
///
/// - **Durability.** `append`'s future is ready only when the part is durable, fsynced or
///   replicated. What was not confirmed durable is never given out by `read`.
/// - **Ordering.** Records of one partition have gapless rising offsets and append times that
///   never go back. Parts of one partition become durable in the order `append` was called.
/// - **Repeats.** The log does not look into records; a part appended twice is there twice.
/// - **Cancellation.** Dropping the future of `append` does not take the records back.
/// - **Failure.** After a failed fsync the partition refuses every append until a restart, and what
///   was uncertain then is made durable or cut before it is read.
pub trait EventLog: Send + Sync {
    /// Number of partitions, 1 to [`model::limits::PARTITIONS_MAX`]. It only ever grows.
    fn partitions(&self) -> u16;

    /// Adds partitions until there are so many; well where there are. They are durable and take
    /// appends when this returns. A crash leaves some of them, or all, and a repeat the rest.
    ///
    /// # Errors
    /// `Invalid` for more than there may be, or where the log's partitions are not ours to add;
    /// `Unavailable` where there is no room.
    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        match partitions <= self.partitions() {
            true => Ok(()),
            false => Err(PortError::new(ErrorKind::Invalid, "this log has the partitions it has")),
        }
    }

    /// Takes all parts of a request, or none: on `Err` nothing was and nothing will be written
    /// (kind `Overloaded` when a queue is full, `Unavailable` when the clock or disk is not fit).
    /// The future gives a result for each part, in the order of the parts.
    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError>;

    /// The batches from the one that holds `from` on, at most about `bytes_max` of payload but at
    /// least one batch; waits while there is none. The first batch may begin before `from`.
    ///
    /// # Errors
    /// `Invalid` where `from` is below what is kept or above the durable offset, `Corrupt` where
    /// stored bytes are wrong, `Unavailable` when the log is closing.
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>>;

    /// What the partition holds at this moment.
    fn bounds(&self, partition: PartitionId) -> LogBounds;

    /// Lets go of what lies wholly below `before`, as far as the log's retention no longer keeps
    /// it. Whatever is at or above `before` stays, whatever the retention says.
    fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), PortError>;

    /// The append time that a record would get now, or why the clock cannot be believed.
    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock>;
}
