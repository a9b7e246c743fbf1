//! `GET /v1/admin/counters`: what store and memory of a server hold, a line a counter.

use serde::{Deserialize, Serialize};

use crate::DecimalNumber;

/// The header that says up to which day, exclusive, counters lie in the archive's files: a date, as
/// in `2026-05-03`. The lines and the files of the days before it are together everything.
pub const COLD_UNTIL_HEADER: &str = "tally-cold-until";

/// The header that says when: everything acknowledged before this time is in the lines.
pub const AS_OF_HEADER: &str = "tally-as-of";

/// Some events of a bucket of an item and type. A bucket may have several lines, to be added.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CounterLine {
    /// The item.
    pub item: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The finest that is kept of its time: `minute`, `hour` or `day`.
    pub granularity: String,
    /// Start of the bucket.
    pub time: String,
    /// Number of events.
    pub count: u64,
    /// Number of those that carry a value.
    pub value_count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
    /// Least value.
    pub min: Option<DecimalNumber>,
    /// Greatest value.
    pub max: Option<DecimalNumber>,
}
