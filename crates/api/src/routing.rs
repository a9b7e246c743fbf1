//! The routing table on the wire: which partition events go to, and how that is changed.

use serde::{Deserialize, Serialize};

/// `GET /v1/admin/routing`, and the answer to a change of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RoutingAnswer {
    /// Number of the newest version; it may not have taken effect yet.
    pub version: u32,
    /// The event time from which on the newest version holds; none for the first, which held since
    /// ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// Items without a rule go to so many partitions, the first ones, but for those that are
    /// dedicated to others.
    pub partitions: u16,
    /// Number of partitions that the log has.
    pub log_partitions: u16,
    /// Number of rules in force.
    pub rules_total: u64,
    /// The rules in force by the newest version: those of items first, then those of prefixes, each
    /// in the order of names, at most 1,000.
    pub rules: Vec<RoutingRule>,
    /// The newest versions, newest first, at most 100.
    pub versions: Vec<RoutingVersion>,
}

/// Where events of an item go.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// By the item alone, as without a rule.
    Item,
    /// By item and minute of the event time.
    ItemAndMinute,
    /// By id over several partitions.
    Spread,
    /// To certain partitions, to which others go too.
    Pinned,
    /// To certain partitions, which are its own.
    Dedicated,
    /// In a change: the rule is taken away.
    None,
}

/// A rule, or a change of one.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    /// The item it is for; none where it is for a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Every item that begins so; none where it is for one item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where events go.
    pub strategy: RoutingStrategy,
    /// With `spread`: over how many partitions, 2 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u16>,
    /// With `pinned` and `dedicated`: which partitions, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u16>,
    /// Whether the server made the rule because the item is hot. Not in a change.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_automatic: bool,
    /// The event time from which on it holds. Not in a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
}

/// A version, and what it changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RoutingVersion {
    /// Its number, from 1.
    pub version: u32,
    /// When it was published; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// The event time from which on it holds; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<String>,
    /// Items without a rule go to so many partitions.
    pub partitions: u16,
    /// Number of rules that it gave, replaced or took away.
    pub changes: u64,
}

/// `POST /v1/admin/routing`: another version of the table.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingRequest {
    /// So many partitions for items without a rule; as before where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    /// Rules that are given or replaced, or with the strategy `none` taken away; at most one of an
    /// item or prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RoutingRule>,
    /// The version that must be the newest, so that nobody changes what they have not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
}

fn is_false(is: &bool) -> bool {
    !is
}
