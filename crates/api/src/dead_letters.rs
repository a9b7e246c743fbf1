//! Dead letters on the wire: what could not be counted, and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DecimalNumber;

/// `GET /v1/admin/dead-letters`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DeadLettersAnswer {
    /// In partition and offset order.
    pub dead_letters: Vec<DeadLetterAnswer>,
    /// Where there are more: what `from` is for the next page, `PARTITION/OFFSET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What was done about a dead letter.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// Nothing yet.
    Open,
    /// A replay was begun and broke off; asking for it again settles whether it was written.
    Replaying,
    /// An event was written for it, once.
    Replayed,
    /// It is never counted.
    Dropped,
}

/// One record that could not be counted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DeadLetterAnswer {
    /// The partition it stands in.
    pub partition: u16,
    /// Its place there.
    pub offset: u64,
    /// When it came.
    pub append_time: String,
    /// Why it was not counted.
    pub reason: String,
    /// What was done about it.
    pub state: LetterState,
    /// When the state was entered; not for an open letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_time: Option<String>,
    /// What was written for it; only in the states `replaying` and `replayed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayedEvent>,
    /// The id, as far as the record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The item, as far as the record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The event type, as far as the record can be read.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The event's time, as far as the record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The value, as far as the record can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<DecimalNumber>,
    /// The attributes, as far as the record can be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The record's bytes in hexadecimal digits.
    pub record: String,
}

/// The event that a replay wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ReplayedEvent {
    /// Its id.
    pub id: String,
    /// What it counts.
    pub item: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When.
    pub time: String,
    /// The partition it was written to.
    pub partition: u16,
    /// The first offset there from which on it stands.
    pub from_offset: u64,
}
