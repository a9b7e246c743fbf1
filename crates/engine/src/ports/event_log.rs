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
    /// Offset of the part's first record.
    pub base_offset: Offset,
    /// The first offset after the part's last record. Records of the part lie between the two in
    /// their order; in a log that others write to, theirs may lie between them.
    pub next_offset: Offset,
    /// The append time of the part's last record.
    pub append_time: TimestampMs,
}

/// What became of one part.
///
/// An error of kind `Unavailable` or `Overloaded` says that nothing of the part was written and
/// nothing of it will ever be read. Any other kind says that it may or may not have been written, as
/// a whole or in part, and that may even be decided later; what is appended afterwards then still
/// stands behind it.
pub type PartResult = Result<Appended, PortError>;

/// What a partition's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Identity of the log now. It rises with every start of a log that has one writer, and stays
    /// where many processes write and read the same log.
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
/// - **Ordering.** Records of one partition have gapless rising offsets: a place that holds no record
///   is given out as [`model::control::Control::Vacant`]. Append times never go back in a log with a
///   clock of its own; where brokers stamp them they can, after a change of leaders, and whoever
///   judges by them keeps the running maximum. Parts of one partition become durable in the order
///   `append` was called.
/// - **Repeats.** The log does not look into records; a part appended twice is there twice.
/// - **Cancellation.** Dropping the future of `append` does not take the records back.
/// - **Failure.** No record of a part is readable without those before it in the part, and none of a
///   later part without those of an earlier one that failed after it was taken: so an embedded log
///   refuses every append to a partition after a failed fsync, until a restart has made durable or
///   cut what was uncertain, and Kafka's client never gives up a message while others wait behind it.
/// - **Bounds.** What this process appended is below `durable_offset` as soon as it is told so; what
///   others appended may be a moment late. `append_time` is never ahead of that: whatever was durable
///   before it is below the durable offsets that are read after it.
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
            false => {
                let context = format!(
                    "this log keeps the {} partitions that it has: name some of those",
                    self.partitions()
                );
                Err(PortError::new(ErrorKind::Invalid, context))
            }
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

    /// Whether other processes append to this log too. Then append times can go back, bounds can be a moment
    /// late, and what is trimmed is not for this process to decide.
    fn is_shared(&self) -> bool {
        false
    }
}
