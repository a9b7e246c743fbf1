//! What becomes of a dead letter: it stays, with the last thing that was done about it.

use model::{Offset, PartitionId, TimestampMs};

/// The state of a dead letter. It moves from open to dropped, or over replaying to replayed; back
/// to open only when a replay surely was not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LetterState {
    /// Nothing was done yet.
    #[default]
    Open,
    /// A replay was begun and its end is not stored: it may or may not be in the log.
    Replaying(Replay),
    /// The replay is in the log.
    Replayed(Replay),
    /// Somebody decided that it is not to be counted.
    Dropped {
        /// When.
        at: TimestampMs,
    },
}

/// A replay: what was to be written, and from where on it is to be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// When this state was entered.
    pub at: TimestampMs,
    /// The partition it goes to.
    pub partition: PartitionId,
    /// Identity of that partition's log when the replay was begun.
    pub log_epoch: u32,
    /// The end of that partition's log before the write: the replay is there or further on.
    pub from: Offset,
    /// The record's bytes as they were given to the log.
    pub record: Vec<u8>,
}
