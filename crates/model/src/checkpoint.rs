//! How far a partition is in the counter store, and what is needed to go on from there.

use crate::bucket::TimestampMs;
use crate::horizon::{Horizons, Retention};
use crate::partition::Offset;

/// Durable progress of one partition, flushed in one atomic batch with the rows it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity of the log when this was written.
    pub log_epoch: u32,
    /// The first offset not in the store.
    pub next_offset: Offset,
    /// Append time of the newest counted record.
    pub append_time: TimestampMs,
    /// The first offset whose record can still make a later one a duplicate.
    pub window_start_offset: Offset,
    /// The first append minute of the dedup window.
    pub window_start_minute: u32,
    /// Length of the dedup window in minutes, as the log's control records said.
    pub window_minutes: u32,
    /// How long minutes and hours are kept, as the log's control records said.
    pub retention: Retention,
    /// From where on minutes and hours are kept.
    pub horizons: Horizons,
}
