//! `GET /v1/items/{item}/explain`: the parts behind a number.

use serde::{Deserialize, Serialize};

use crate::DecimalNumber;

/// A number and its parts: what rows and memory of all partitions and cold files hold adds up to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ExplainAnswer {
    /// The item asked for.
    pub item: String,
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Start of the range that was really covered, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// End of the range that was really covered, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Number of events.
    pub count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
    /// From when on minutes are kept.
    pub minute_horizon: String,
    /// From when on hours are kept.
    pub hour_horizon: String,
    /// What each partition that counts the item holds.
    pub partitions: Vec<PartitionPart>,
    /// What cold files hold, of all partitions.
    pub cold: ColdPart,
    /// The corrections that rows hold.
    pub corrections: Vec<CorrectionPart>,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// `provisional`, `final` or `recounted`.
    pub status: String,
}

/// What one partition holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PartitionPart {
    /// Which partition.
    pub partition: u16,
    /// The first offset that is not in rows: memory goes on there.
    pub checkpoint_offset: u64,
    /// Rows of the store by kind.
    pub rows: Vec<RowsPart>,
    /// The tables in memory, oldest first.
    pub memory: Vec<MemoryPart>,
    /// Repeats dropped in the partition since the server started, of all items.
    pub duplicates_since_start: u64,
}

/// Rows of one kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RowsPart {
    /// `total`, `hours`, or `days`: what came when the day's hours were no longer kept.
    pub kind: String,
    /// Number of rows.
    pub rows: u64,
    /// Number of events in them that lie in the range.
    pub count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
    /// Identity of the log that the newest row counted.
    pub log_epoch: u32,
    /// The first offset that a row may have counted.
    pub base_offset: u64,
    /// The first offset that no row has counted.
    pub next_offset: u64,
}

/// One table in memory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MemoryPart {
    /// `active`, or `frozen` while it is being flushed.
    pub state: String,
    /// The first offset counted in it.
    pub from_offset: u64,
    /// The first offset not counted in it.
    pub next_offset: u64,
    /// Number of events in it that lie in the range.
    pub count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
}

/// What cold files hold.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ColdPart {
    /// Number of events in them that lie in the range.
    pub count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
    /// The first day that is in no cold file; absent where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A correction: it is in the rows, and no part beside them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct CorrectionPart {
    /// The partition it was made in.
    pub partition: u16,
    /// Where it stands in that partition's log.
    pub offset: u64,
    /// Start of the bucket it corrects.
    pub time: String,
    /// What it added to the number of events.
    pub count: i64,
}
