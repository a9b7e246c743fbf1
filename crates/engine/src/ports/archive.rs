//! The archive of raw events: what was appended, in files that others can read.

use std::ops::Range;

use model::record::RecordId;
use model::{Hour, Offset, PartitionId, TimestampMs, Value};

use super::error::PortError;

/// What a raw file covers: all that was appended to a partition in `[from, to)`, within one hour of
/// append time. Also its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawFile {
    /// Which partition.
    pub partition: PartitionId,
    /// The first offset.
    pub from: Offset,
    /// The first offset that is not in it.
    pub to: Offset,
    /// The hour of append time.
    pub hour: Hour,
}

/// An event of a raw file, as it was appended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawEvent<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// When it was appended.
    pub append_time: TimestampMs,
    /// With item and type, what a repeat is known by.
    pub id: RecordId<'a>,
    /// What it happened to.
    pub item: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// When it happened.
    pub time: TimestampMs,
    /// Its value.
    pub value: Option<Value>,
    /// Its attributes as a JSON object.
    pub attributes: Option<&'a str>,
    /// Who may repeat it late, and its place among what they send.
    pub source: Option<(&'a str, i64)>,
}

/// What a raw file says beside its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawHead {
    /// Length of the dedup window at the file's first offset, in append minutes.
    pub window_minutes: u32,
    /// Length of the dedup window at the first offset after the file, in append minutes.
    pub next_window_minutes: u32,
    /// Control records: where they stand, when they were appended, and their bytes as in the log
    /// without their length.
    pub controls: Vec<(Offset, TimestampMs, Vec<u8>)>,
    /// Offsets of records that became dead letters.
    pub dead_letters: Vec<Offset>,
}

/// Takes the events of a file one after the other, in offset order.
pub type RawSink<'a> = dyn FnMut(RawEvent<'_>) -> Result<(), PortError> + 'a;

/// Gives the events of a file into a sink, and then what the file says beside them.
pub type RawFill<'a> = dyn FnMut(&mut RawSink<'_>) -> Result<RawHead, PortError> + 'a;

/// Keeps raw events.
///
/// - **Atomicity and durability.** A file is whole and durable when `write_raw` returns, or not
///   there. A repeat replaces it by the same bytes.
/// - **Ownership.** One log is written to an archive: by one server, or by the processors that share it, of
///   which each writes what any other would. Who finds it to be another's gets `Conflict` and has changed
///   nothing.
/// - **Failure.** After `Unavailable` it may be tried again.
/// - **Reading** is not for the engine: who counts again does so by code of its own.
pub trait RawArchive: Send + Sync {
    /// Writes a file of what `fill` gives into the sink; with the head that it returns, those are as
    /// many as the file has offsets. Where `fill` fails nothing is written. `pause` is called
    /// between pieces of some tens of microseconds' work.
    fn write_raw(
        &self,
        file: RawFile,
        pause: &dyn Fn(),
        fill: &mut RawFill<'_>,
    ) -> Result<(), PortError>;

    /// Shows all files of these hours of append time, hour by hour, until `visit` fails.
    fn list_raw(
        &self,
        hours: Range<Hour>,
        visit: &mut dyn FnMut(RawFile) -> Result<(), PortError>,
    ) -> Result<(), PortError>;

    /// [`RawHead::next_window_minutes`] of a file that was listed: who goes on after it needs it.
    fn next_window_minutes(&self, file: RawFile) -> Result<u32, PortError>;

    /// Removes a file; one that is not there is no error.
    fn remove_raw(&self, file: RawFile) -> Result<(), PortError>;
}
