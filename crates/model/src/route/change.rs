//! Versions of the routing table: what each changes, and which may follow which.

use std::collections::BTreeSet;

use super::{RoutingTable, Span};
use crate::bucket::TimestampMs;
use crate::event::check_item;
use crate::limits::{
    ITEM_BYTES_MAX, PARTITIONS_MAX, ROUTING_CHANGES_MAX, ROUTING_LEAD_MS, ROUTING_NAMED_MAX,
    ROUTING_PREFIXES_MAX, ROUTING_RULES_MAX, ROUTING_VERSIONS_MAX,
};

/// One version: what is different from its event time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingVersion {
    /// When it was published, on the clock by which others confirm that they know all versions.
    pub published: TimestampMs,
    /// The event time from which on it holds.
    pub effective: TimestampMs,
    /// Items without a rule are placed in so many partitions, the first ones.
    pub partitions: u16,
    /// Rules that are given, replaced or taken away; none twice. Others stay in force.
    pub changes: Vec<RoutingChange>,
}

/// A rule that is given, replaced or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingChange {
    /// Whose.
    pub subject: Subject,
    /// The rule from here on; none takes it away.
    pub rule: Option<Rule>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// One item.
    Item(String),
    /// Every item that begins so.
    Prefix(String),
}

/// A rule of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where events go.
    pub strategy: Strategy,
    /// Whether the server made it because the item was hot, and takes it away when it has cooled.
    pub is_automatic: bool,
}

/// Where events of an item go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By the item alone, as without a rule; for an item below a prefix that has another.
    Item,
    /// By item and minute of the event time: over all free partitions, one after the other.
    ItemAndMinute,
    /// By id over so many free partitions, beginning with the item's own; all where there are fewer.
    Spread {
        /// How many, 2 to [`PARTITIONS_MAX`].
        over: u16,
    },
    /// To one of these by the item; items without a rule go there too.
    Pinned {
        /// Rising; at least one.
        partitions: Vec<u16>,
    },
    /// To one of these by the item, and nobody else's events without a rule go there.
    Dedicated {
        /// Rising; at least one.
        partitions: Vec<u16>,
    },
}

/// Why a version cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// It would hold for events that are routed by the version before it already.
    #[error(
        "a version takes effect later than {ROUTING_LEAD_MS} ms after it is published, and after the \
         version before it"
    )]
    TooEarly,
    /// It was published before the one before it.
    #[error("a version is published after the one before it")]
    OutOfOrder,
    /// No partition, or too many.
    #[error("there are 1 to {PARTITIONS_MAX} partitions")]
    Partitions,
    /// An item or prefix that no item can have.
    #[error(
        "an item has 1 to {ITEM_BYTES_MAX} bytes of UTF-8 without control characters, a prefix 0 to {ITEM_BYTES_MAX}"
    )]
    Subject,
    /// The same item or prefix has two changes.
    #[error("an item or prefix has one rule; two were given")]
    Twice,
    /// A spread over less than two or too many partitions.
    #[error("an item is spread over 2 to {PARTITIONS_MAX} partitions")]
    Over,
    /// A list of partitions that is empty, not rising or out of bounds.
    #[error(
        "a rule names 1 to {ROUTING_NAMED_MAX} partitions in rising order, each below {PARTITIONS_MAX}"
    )]
    Named,
    /// Everything would be dedicated.
    #[error("at least one partition stays for items without a rule")]
    NoneFree,
    /// More rules than there may be.
    #[error(
        "there are at most {ROUTING_RULES_MAX} rules, {ROUTING_PREFIXES_MAX} of them of prefixes"
    )]
    TooManyRules,
    /// More versions, or changes in them, than there may be.
    #[error("there are at most {ROUTING_VERSIONS_MAX} versions with {ROUTING_CHANGES_MAX} changes")]
    TooManyVersions,
    /// Bytes that are no table.
    #[error("the bytes are not a routing table of this format")]
    Bytes,
}

impl Strategy {
    /// The partitions that it names, rising.
    pub fn named(&self) -> &[u16] {
        match self {
            Self::Pinned { partitions } | Self::Dedicated { partitions } => partitions,
            Self::Item | Self::ItemAndMinute | Self::Spread { .. } => &[],
        }
    }

    fn check(&self) -> Result<(), RoutingError> {
        match self {
            Self::Item | Self::ItemAndMinute => Ok(()),
            Self::Spread { over: 2..=PARTITIONS_MAX } => Ok(()),
            Self::Spread { .. } => Err(RoutingError::Over),
            Self::Pinned { partitions } | Self::Dedicated { partitions } => {
                let is_rising = partitions.is_sorted_by(|a, b| a < b);
                let last = partitions.last().ok_or(RoutingError::Named)?;
                let is_fine =
                    is_rising && partitions.len() <= ROUTING_NAMED_MAX && *last < PARTITIONS_MAX;
                is_fine.then_some(()).ok_or(RoutingError::Named)
            }
        }
    }
}

impl RoutingChange {
    fn check(&self) -> Result<(), RoutingError> {
        let is_fine = match &self.subject {
            Subject::Item(item) => check_item(item).is_ok(),
            Subject::Prefix(prefix) => {
                prefix.len() <= ITEM_BYTES_MAX && !prefix.chars().any(char::is_control)
            }
        };
        if !is_fine {
            return Err(RoutingError::Subject);
        }
        self.rule.as_ref().map_or(Ok(()), |rule| rule.strategy.check())
    }
}

impl RoutingTable {
    /// The table with one more version.
    ///
    /// # Errors
    /// Where the version cannot follow those that are there.
    pub fn with(&self, version: RoutingVersion) -> Result<Self, RoutingError> {
        let mut table = self.clone();
        table.push(version)?;
        Ok(table)
    }

    /// The earliest event time from which on a version may hold that is published at a time.
    pub fn earliest(&self, published: TimestampMs) -> TimestampMs {
        let after_publication = published.0.saturating_add(ROUTING_LEAD_MS).saturating_add(1);
        TimestampMs(after_publication.max(self.newest().effective.0.saturating_add(1)))
    }

    /// Adds a version in place, for those who read many. After an error the table is of no use.
    ///
    /// # Errors
    /// Where the version cannot follow those that are there.
    pub fn push(&mut self, version: RoutingVersion) -> Result<(), RoutingError> {
        self.changes += version.changes.len();
        if self.versions.len() >= ROUTING_VERSIONS_MAX || self.changes > ROUTING_CHANGES_MAX {
            return Err(RoutingError::TooManyVersions);
        }
        if version.published < self.newest().published {
            return Err(RoutingError::OutOfOrder);
        }
        if version.effective < self.earliest(version.published) {
            return Err(RoutingError::TooEarly);
        }
        if !(1..=PARTITIONS_MAX).contains(&version.partitions) {
            return Err(RoutingError::Partitions);
        }
        let mut subjects = BTreeSet::new();
        for change in &version.changes {
            change.check()?;
            if !subjects.insert(&change.subject) {
                return Err(RoutingError::Twice);
            }
        }
        let mut moves_dedicated = false;
        for RoutingChange { subject, rule } in &version.changes {
            moves_dedicated |= self.change_rule(subject, rule.clone(), version.effective);
        }
        if self.active > ROUTING_RULES_MAX || self.active_prefixes > ROUTING_PREFIXES_MAX {
            return Err(RoutingError::TooManyRules);
        }
        let rules = version.changes.iter().filter_map(|change| change.rule.as_ref());
        let named = rules.filter_map(|rule| rule.strategy.named().last());
        let named = named.map(|last| last + 1).max().unwrap_or(0);
        self.log_partitions = self.log_partitions.max(version.partitions).max(named);
        if moves_dedicated || version.partitions != self.newest().partitions {
            self.begin_span(&version)?;
        }
        self.versions.push(version);
        Ok(())
    }

    /// Changes a rule from a time on; whether a dedication comes or goes.
    fn change_rule(
        &mut self,
        subject: &Subject,
        rule: Option<Rule>,
        effective: TimestampMs,
    ) -> bool {
        let timeline = match subject {
            Subject::Item(item) => self.items.entry(item.as_str().into()).or_default(),
            Subject::Prefix(prefix) => self.prefixes.entry(prefix.as_str().into()).or_default(),
        };
        let before = timeline.last().and_then(|(_, rule)| rule.as_ref());
        let moved =
            |active: usize| active + usize::from(rule.is_some()) - usize::from(before.is_some());
        self.active = moved(self.active);
        if let Subject::Prefix(_) = subject {
            self.active_prefixes = moved(self.active_prefixes);
        }
        let is_dedicated = |rule: Option<&Rule>| {
            rule.is_some_and(|rule| matches!(rule.strategy, Strategy::Dedicated { .. }))
        };
        let moves_dedicated = is_dedicated(before) || is_dedicated(rule.as_ref());
        timeline.push((effective, rule));
        moves_dedicated
    }

    /// Begins another default placement. The version's rules are in force already.
    fn begin_span(&mut self, version: &RoutingVersion) -> Result<(), RoutingError> {
        let taken = self.dedicated();
        let is_free = |partition: &u16| taken.binary_search(partition).is_err();
        let free: Vec<u16> = (0..version.partitions).filter(is_free).collect();
        if free.is_empty() {
            return Err(RoutingError::NoneFree);
        }
        let (partitions, effective) = (version.partitions, version.effective);
        self.spans.push(Span { effective, partitions, free });
        Ok(())
    }
}
