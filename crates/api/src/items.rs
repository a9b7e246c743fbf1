//! Item details, and the reports that show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DecimalNumber, StatsPoint};

/// What is known of an item: the answer of `PUT` and `GET /v1/items/{item}`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ItemDetailsAnswer {
    /// The item.
    pub item: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The channel it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// What people call the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_name: Option<String>,
    /// When it was made or published, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// `GET /v1/items/{item}/report`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ItemReportAnswer {
    /// The item asked for.
    pub item: String,
    /// What is known of it; `null` where nothing is.
    pub details: Option<ItemDetailsAnswer>,
    /// Start of the hours that were really covered.
    pub start: String,
    /// Their end: that of the current hour.
    pub end: String,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Of all time by type, most counted first.
    pub totals: Vec<TypeTotal>,
    /// Within the hours.
    pub views: ViewsReport,
}

/// `GET /v1/channels/{channel}/report`: all items of a channel added up.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChannelReportAnswer {
    /// The channel asked for.
    pub channel: String,
    /// What people call it, as the first of its items has it that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_name: Option<String>,
    /// How many items the channel has.
    pub items: u64,
    /// Start of the hours that were really covered.
    pub start: String,
    /// Their end: that of the current hour.
    pub end: String,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Of all time by type, most counted first.
    pub totals: Vec<TypeTotal>,
    /// Within the hours.
    pub views: ViewsReport,
    /// The ten most viewed items within the hours; equal counts in item order.
    pub top: Vec<crate::TopItem>,
}

/// All that was counted of one event type.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TypeTotal {
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Number of events.
    pub count: u64,
    /// Sum of the values; `null` where no event has one.
    pub sum: Option<DecimalNumber>,
    /// Sum over the number of events with a value; `null` where there is none.
    pub average: Option<DecimalNumber>,
}

/// Views and how long they lasted, by the hour.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ViewsReport {
    /// `view`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Number of views.
    pub count: u64,
    /// Sum of their values; `null` where none has one.
    pub sum: Option<DecimalNumber>,
    /// Sum over the number of views with a value; `null` where there is none.
    pub average: Option<DecimalNumber>,
    /// A point an hour, those without a view included.
    pub series: Vec<StatsPoint>,
}

/// `GET /v1/trending`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrendingAnswer {
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Start of the window.
    pub start: String,
    /// Its end.
    pub end: String,
    /// Start of the window before, which ends at `start`.
    pub before_start: String,
    /// Highest score first.
    pub items: Vec<TrendingItem>,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    /// Whether it is of longer ago than usual, because those who count or the store are away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// One row of `trending`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrendingItem {
    /// The item.
    pub item: String,
    /// The title, where item details have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Number of events in the window.
    pub count: u64,
    /// Number of events in the window before.
    pub before: u64,
    /// How far the window is above what the one before lets expect, in standard deviations.
    pub score: f64,
}

/// The data of an event `count` of `GET /v1/items/{item}/live`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct LiveCount {
    /// The item asked for.
    pub item: String,
    /// The event type asked for.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Number of events of all time.
    pub count: u64,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
}
