//! Recounts on the wire: counting raw events again, and repairing what differs.

use serde::{Deserialize, Serialize};

use crate::DecimalNumber;

/// `POST /v1/admin/recounts`: what is to be counted again. Times are RFC 3339, or milliseconds since
/// 1970.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecountRequest {
    /// From this time on; rounded down to an hour.
    pub start: serde_json::Value,
    /// Up to this time; rounded up to an hour.
    pub end: serde_json::Value,
    /// Only this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Only this event type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// `GET /v1/admin/recounts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecountsAnswer {
    /// Since the server started, oldest first.
    pub recounts: Vec<RecountAnswer>,
}

/// Whether a recount has ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecountState {
    /// It reads or compares.
    Running,
    /// It has compared everything.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// Nothing could be proven; `error` says why.
    Failed,
}

/// One recount.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecountAnswer {
    /// Its number since the server started.
    pub id: u64,
    /// Whether it has ended.
    pub state: RecountState,
    /// From the start of an hour.
    pub start: String,
    /// To the start of an hour.
    pub end: String,
    /// Only this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Only this event type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// When it began.
    pub began: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Events to be read, as far as is known.
    pub events_planned: u64,
    /// Events read so far.
    pub events_read: u64,
    /// Of the item and type asked for, over all read.
    pub events: u64,
    /// Those of them that were repeats.
    pub repeats: u64,
    /// Whether totals were compared with what their hours add up to; they are not where events are
    /// counted that are older than hours are kept.
    pub totals_checked: bool,
    /// Number of cells that differ; none is known before it is done.
    pub differences: u64,
    /// The first of them.
    pub found: Vec<DifferenceAnswer>,
    /// Up to where each partition's log was compared.
    pub partitions: Vec<RecountedPartition>,
    /// What was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairAnswer>,
}

/// How much of a partition was compared.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RecountedPartition {
    /// Which partition.
    pub partition: u16,
    /// The first offset that was neither counted nor counted again.
    pub next_offset: u64,
}

/// A number that is stored otherwise than its events say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DifferenceAnswer {
    /// Whose row.
    pub partition: u16,
    /// The item.
    pub item: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// `minute`, `hour` or `total`.
    pub granularity: String,
    /// Start of the minute or hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What is stored.
    pub stored: NumbersAnswer,
    /// What the events say; of a total, what its hours add up to.
    pub recounted: NumbersAnswer,
}

/// The numbers of a bucket.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NumbersAnswer {
    /// Number of events.
    pub count: u64,
    /// Number of events with a value.
    pub value_count: u64,
    /// Sum of the values; null where there is none.
    pub sum: Option<DecimalNumber>,
    /// Least value.
    pub min: Option<DecimalNumber>,
    /// Greatest value.
    pub max: Option<DecimalNumber>,
}

/// What a repair has done.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RepairAnswer {
    /// What it is known by until it is confirmed.
    pub generation: u64,
    /// Cells that are now as they should be.
    pub corrected: u64,
    /// Cells that had changed since they were counted again: count once more.
    pub refused: u64,
}

/// `GET /v1/admin/repairs`: corrections that nobody has confirmed yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RepairsAnswer {
    /// By generation, oldest first.
    pub repairs: Vec<RepairAnswer>,
}
