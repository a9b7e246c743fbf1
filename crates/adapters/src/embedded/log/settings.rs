//! What whoever runs a log may set, and which of it fits together.

use engine::ports::{ErrorKind, PortError};
use model::Retention;
use model::limits::{DEDUP_MINUTES_MAX, PARTITIONS_MAX, RECORD_BYTES_MAX};

use super::batch::{Codec, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::segment::SEGMENT_HEADER_BYTES;

/// How a log is laid out and how much it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Number of partitions, 1 to [`PARTITIONS_MAX`]; fixed at the first start.
    pub partitions: u16,
    /// How payloads are stored from now on; what is there is read in any codec.
    pub codec: Codec,
    /// Size of a new segment's file.
    pub segment_bytes: u64,
    /// Room on the disk that new segments leave free, so that what is in the log can still be
    /// counted when nothing more is taken. A start may use it.
    pub reserve_bytes: u64,
    /// Largest payload of a batch, before compression: what a reader must take at once.
    pub batch_bytes_max: usize,
    /// Most payload that waits for the writer of a partition.
    pub queue_bytes_max: usize,
    /// Most parts that wait for the writer of a partition.
    pub queue_parts_max: usize,
    /// How much of the newest payload stays in memory for readers, for each partition.
    pub tail_bytes_max: usize,
    /// How long a writer waits for more before it writes, in microseconds, at most: 50 for each of those
    /// that sent at the same time, and never for somebody alone.
    pub linger_us: u64,
    /// Dedup window in minutes, 1 to [`DEDUP_MINUTES_MAX`]; written to the log at every start.
    pub dedup_minutes: u32,
    /// How long minutes and hours are kept of what is counted; written to the log at every start.
    pub counters: Retention,
    /// Age from which a segment may be let go.
    pub retention_ms: Option<i64>,
    /// Size of a partition from which its oldest segments may be let go.
    pub retention_bytes: Option<u64>,
}

impl LogSettings {
    /// Usual settings for so many partitions.
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions,
            codec: Codec::default(),
            segment_bytes: 64 << 20,
            reserve_bytes: 0,
            batch_bytes_max: 4 << 20,
            queue_bytes_max: 32 << 20,
            queue_parts_max: 64 << 10,
            tail_bytes_max: 8 << 20,
            linger_us: 1_000,
            dedup_minutes: 10,
            counters: Retention::FOREVER,
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
            retention_bytes: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), PortError> {
        let overhead = SEGMENT_HEADER_BYTES + HEADER_BYTES;
        let batch_max = self.batch_bytes_max.max(RECORD_BYTES_MAX + 2);
        let rules = [
            ((1..=PARTITIONS_MAX).contains(&self.partitions), "partitions must be 1 to 1024"),
            (
                (1..=DEDUP_MINUTES_MAX).contains(&self.dedup_minutes),
                "dedup_minutes must be 1 to 120",
            ),
            (self.batch_bytes_max <= PAYLOAD_BYTES_MAX, "batch_bytes_max is over 16 MiB"),
            (
                self.segment_bytes >= (overhead + batch_max) as u64,
                "segment_bytes must hold a batch of batch_bytes_max",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(PortError::new(ErrorKind::Invalid, rule)),
            None => Ok(()),
        }
    }
}
