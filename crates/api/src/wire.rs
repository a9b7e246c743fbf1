//! The JSON shapes of the contract. Times are RFC 3339 text in UTC.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The header that says what durable means: `fsync` on one machine, `replicated` on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability;

impl Durability {
    /// The name of the header.
    pub const HEADER: &'static str = "tally-durability";
    /// Written and fsynced by this machine.
    pub const FSYNC: &'static str = "fsync";
    /// Confirmed by all in-sync replicas.
    pub const REPLICATED: &'static str = "replicated";
}

/// The answer to accepted events.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct AcceptedAnswer {
    /// How many events are durable and will be counted exactly once.
    pub accepted: u64,
    /// The events that were refused, in the order of the body.
    pub rejected: Vec<RejectedEvent>,
}

/// Why one event of a batch was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RejectedEvent {
    /// Position in the batch, from 0.
    pub index: u64,
    /// A stable code.
    pub code: String,
    /// What was wrong with it.
    pub detail: String,
    /// Present and true where the same event can be sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

/// A JSON number with exactly its digits: no exponent, no float tail.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct DecimalNumber(Box<RawValue>);

impl DecimalNumber {
    /// Takes the text of a JSON number as it is to appear.
    ///
    /// # Panics
    /// When the text is not a JSON number: the caller formats it from integers.
    pub fn from_text(text: String) -> Self {
        Self(RawValue::from_string(text).expect("the text of a decimal is a JSON number"))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for DecimalNumber {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// `GET /v1/items/{item}/count`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CountAnswer {
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
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// `provisional`, `final` or `recounted`.
    pub status: String,
}

/// Which of the five functions were asked for; a field is absent where it was not, `null` where no
/// event carries a value.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StatsSummary {
    /// Number of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Sum of the values.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nullable")]
    pub sum: Option<Option<DecimalNumber>>,
    /// Sum over the number of events with a value, to 6 places, half to even.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nullable")]
    pub average: Option<Option<DecimalNumber>>,
    /// Least value.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nullable")]
    pub min: Option<Option<DecimalNumber>>,
    /// Greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nullable")]
    pub max: Option<Option<DecimalNumber>>,
}

/// Tells an absent field from a `null` one.
mod nullable {
    use super::DecimalNumber;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::option_option, reason = "absent, null and a number are three answers")]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<DecimalNumber>>, D::Error> {
        Option::<DecimalNumber>::deserialize(deserializer).map(Some)
    }

    #[expect(clippy::option_option, reason = "absent, null and a number are three answers")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<DecimalNumber>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }
}

/// One bucket of a series. In JSON the numbers stand beside `time`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(from = "FlatStatsPoint")]
pub struct StatsPoint {
    /// Start of the bucket.
    pub time: String,
    /// Its numbers.
    #[serde(flatten)]
    pub summary: StatsSummary,
}

/// How a point is read: `flatten` would buffer the numbers and lose their digits.
#[derive(Deserialize)]
struct FlatStatsPoint {
    time: String,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default, deserialize_with = "nullable::deserialize")]
    sum: Option<Option<DecimalNumber>>,
    #[serde(default, deserialize_with = "nullable::deserialize")]
    average: Option<Option<DecimalNumber>>,
    #[serde(default, deserialize_with = "nullable::deserialize")]
    min: Option<Option<DecimalNumber>>,
    #[serde(default, deserialize_with = "nullable::deserialize")]
    max: Option<Option<DecimalNumber>>,
}

impl From<FlatStatsPoint> for StatsPoint {
    fn from(flat: FlatStatsPoint) -> Self {
        let FlatStatsPoint { time, count, sum, average, min, max } = flat;
        Self { time, summary: StatsSummary { count, sum, average, min, max } }
    }
}

/// `GET /v1/items/{item}/stats`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StatsAnswer {
    /// The item asked for.
    pub item: String,
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Start of the range that was really covered.
    pub start: String,
    /// End of the range that was really covered.
    pub end: String,
    /// `minute`, `hour`, `day` or `total`: what was asked for, or the finest that is still kept for
    /// all of the range.
    pub step: String,
    /// Over the whole range.
    pub total: StatsSummary,
    /// A point a bucket, those without an event included; empty for the step `total`.
    pub series: Vec<StatsPoint>,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// `provisional`, `final` or `recounted`.
    pub status: String,
}

/// `GET /v1/counts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CountsAnswer {
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// In the order asked.
    pub counts: Vec<ItemCount>,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// The total of one item.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ItemCount {
    /// The item.
    pub item: String,
    /// Number of events.
    pub count: u64,
}

/// `GET /v1/top`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TopAnswer {
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Start of the range that was really covered.
    pub start: String,
    /// End of the range that was really covered.
    pub end: String,
    /// Most counted first; equal counts in item order.
    pub items: Vec<TopItem>,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// One row of `top`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TopItem {
    /// The item.
    pub item: String,
    /// Number of events.
    pub count: u64,
    /// The title, where item details have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stats_point_keeps_digits_nulls_and_absent_fields_both_ways() {
        let text =
            r#"{"time":"2026-11-21T10:00:00Z","count":3,"sum":9007199254740993.100000,"min":null}"#;
        let point: StatsPoint = serde_json::from_str(text).expect("a point is readable");
        assert_eq!(
            point.summary.sum.as_ref().and_then(Option::as_ref).map(DecimalNumber::as_str),
            Some("9007199254740993.100000")
        );
        assert_eq!(point.summary.min, Some(None));
        assert_eq!(point.summary.max, None);
        assert_eq!(serde_json::to_string(&point).expect("a point is writable"), text);
    }
}
