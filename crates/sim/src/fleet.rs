//! A fleet: several gateways with clocks of their own, some of them with a table that is out of date,
//! in front of one log, while items are spread and gathered again and partitions are added.
//!
//! The gateways, the routing, the processors and the questions are the real ones; the log is in
//! memory and never fails, because what is tried here is that every repeat within the dedup window
//! reaches the partition of its original, whoever takes it. Where several processors share the
//! partitions, up to a thousand of them, these move about, and a query node answers from the store.

mod ask;
mod broker;
mod change;
mod client;
mod counters;
mod crowd;
mod event;
mod node;
mod shards;
mod spool;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use engine::admission::Admission;
use engine::ports::EventLog;
use engine::routing::Routing;

use crate::chance::Chance;
use crate::tally::{Tally, caught, twice};
use broker::Broker;
use client::Sent;
use counters::{Alone, Counters};
use crowd::Crowd;
use node::{Member, NodeClock};
use spool::{SPOOLS, Spool};
use table::{Asking, Topic};

/// Number of gateways.
const GATEWAYS: usize = 3;
/// Steps of a run, each some seconds long.
const STEPS: u64 = 500;
const EVENT_TYPE: &str = "view";
/// Length of the dedup window.
const WINDOW_MINUTES: u32 = 10;
const WINDOW_MS: i64 = WINDOW_MINUTES as i64 * 60_000;
const MAX_EVENT_AGE_MS: i64 = 86_400_000;
/// How far a gateway's clock may be off, in milliseconds.
const SKEW_MS: u64 = 240_000;

/// How large a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetShape {
    /// Partitions of the log at first, 1 to [`model::limits::PARTITIONS_MAX`].
    pub partitions: u16,
    /// Processors, 1 or more. One alone keeps all partitions, and they can be added; among several they
    /// move, and their number is that of the log for ever.
    pub processors: usize,
}

impl FleetShape {
    /// One processor of few partitions.
    pub const SMALL: Self = Self { partitions: 4, processors: 1 };
    /// Few partitions that move about among three processors.
    pub const MOVING: Self = Self { partitions: 6, processors: 3 };
    /// A thousand partitions among five.
    pub const LARGE: Self = Self { partitions: 1_000, processors: 5 };

    /// Partitions that items without a rule go to at first.
    fn routed(self) -> u16 {
        match self.processors {
            1 => self.partitions,
            _ => (self.partitions / 4 * 3).max(1),
        }
    }

    /// As many partitions there are once all are added.
    fn most(self) -> u16 {
        match self.processors {
            1 => self.partitions.saturating_add(5).min(model::limits::PARTITIONS_MAX),
            _ => self.partitions,
        }
    }

    /// Fewer partitions than these are not asked for.
    fn least(self) -> u16 {
        match self.processors {
            1 => 1,
            _ => self.routed(),
        }
    }

    /// How many numbers of partitions are asked for, from the least on.
    fn room(self) -> u64 {
        u64::from(self.most() - self.least() + 1)
    }

    /// Items; the first gets half of all events.
    fn items(self) -> u64 {
        match self.partitions {
            0..=100 => 5,
            partitions => u64::from(partitions) * 2,
        }
    }

    /// New events in a request are fewer than this, and so are repeats.
    fn request_events(self) -> u64 {
        match self.partitions {
            0..=100 => 6,
            _ => 60,
        }
    }
}

/// A mistake that is planted to see whether it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetBug {
    /// A gateway believes that its table is up to date when it has not asked.
    TrustStaleTable,
    /// Events without a time are routed by when they arrive.
    RouteByArrival,
    /// Stamped events without an id are spread by the one that the server made this time.
    SpreadByMadeId,
    /// Questions ask the partitions of the newest version only.
    AskNewestOnly,
    /// A processor that opens a partition does not read back which ids were counted.
    ForgetWindow,
    /// A processor that lets go of a partition keeps what it has in memory, and goes on there when it
    /// gets the partition again.
    KeepRevoked,
    /// The store takes flushes of whoever had a partition before.
    ShareClaims,
}

impl FleetBug {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TrustStaleTable,
        Self::RouteByArrival,
        Self::SpreadByMadeId,
        Self::AskNewestOnly,
        Self::ForgetWindow,
        Self::KeepRevoked,
        Self::ShareClaims,
    ];

    /// The fleet in which it shows.
    pub fn shape(self) -> FleetShape {
        match self {
            Self::ForgetWindow | Self::KeepRevoked | Self::ShareClaims => FleetShape::MOVING,
            _ => FleetShape::SMALL,
        }
    }
}

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FleetDone {
    /// Events that clients thought of, those that are stamped not counted.
    Events,
    /// Deliveries that were accepted, repeats included.
    Accepted,
    /// Records that were dropped as repeats.
    Duplicates,
    /// Repeats that were accepted when another version was in effect than at the first delivery.
    Across,
    /// Deliveries that were refused because the route was not known.
    Unsure,
    /// Deliveries that were refused for their time.
    Refused,
    /// Versions that were published.
    Versions,
    /// Changes that were refused, because another was published before or they break a rule.
    Conflicts,
    /// Partitions that were added.
    Added,
    /// Stamped requests that were accepted, old ones sent again included.
    Stamped,
    /// Stamped events that were refused for their time and accepted later.
    Late,
    /// Partitions that moved from one processor to another.
    Moved,
    /// Times that several moves came one right after the other.
    Storms,
    /// Processors that died.
    Killed,
    /// Processors that were stopped for longer than their session.
    Stopped,
    /// Flushes of partitions that others had by then, which were refused.
    LateFlushes,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetReport {
    /// What happened how often.
    pub done: Tally<FleetDone>,
    /// Hash of everything that was done.
    pub trace: u64,
}

/// Runs a seed twice; both runs must be the same, and neither may find anything.
///
/// # Errors
/// What is wrong.
pub fn check_fleet(seed: u64, shape: FleetShape, bug: Option<FleetBug>) -> Result<FleetReport> {
    twice(seed, || caught(seed, || Fleet::open(seed, shape, bug)?.run()))
}

struct Fleet {
    shape: FleetShape,
    chance: Chance,
    broker: Arc<Broker>,
    topic: Arc<Topic>,
    members: Vec<Member>,
    counters: Box<dyn Counters>,
    sent: Vec<Sent>,
    spools: Vec<Spool>,
    /// The highest total that was told of each item.
    told: BTreeMap<String, u64>,
    bug: Option<FleetBug>,
    report: FleetReport,
}

impl Fleet {
    fn open(seed: u64, shape: FleetShape, bug: Option<FleetBug>) -> Result<Self> {
        let broker = Arc::new(Broker::new(shape.partitions, WINDOW_MINUTES));
        let topic = Arc::new(Topic::new(shape.routed(), broker.clone()));
        let forgets_past = bug == Some(FleetBug::AskNewestOnly);
        let asking = Arc::new(Asking { topic: topic.clone(), forgets_past });
        let log: Arc<dyn EventLog> = broker.clone();
        let routing = Arc::new(Routing::new(asking, log)?);
        let clock = Arc::new(NodeClock::new(&broker));
        let settings = counters::settings(seed, WINDOW_MINUTES);
        let (admission, counters): (_, Box<dyn Counters>) = match shape.processors {
            1 => {
                let admission = Arc::new(Admission::new(shape.partitions, u64::MAX));
                let shared = admission.clone();
                let alone = Alone::open(&broker, clock, shared, settings, routing)?;
                (admission, Box::new(alone))
            }
            several => {
                let admission = Arc::new(Admission::without_processors(shape.partitions));
                let crowd = Crowd::open(&broker, clock, settings, routing, several, bug)?;
                (admission, Box::new(crowd))
            }
        };
        let is_trusting = bug == Some(FleetBug::TrustStaleTable);
        let member = |_| Member::open(&broker, &topic, &admission, is_trusting);
        let members = (0..GATEWAYS).map(member).collect::<Result<Vec<_>>>()?;
        let (sent, told, report) = Default::default();
        let spools = (0..SPOOLS).map(Spool::new).collect();
        let chance = Chance::new(seed);
        Ok(Self {
            shape,
            chance,
            broker,
            topic,
            members,
            counters,
            sent,
            spools,
            told,
            bug,
            report,
        })
    }

    fn run(mut self) -> Result<FleetReport> {
        // What every log begins with; nobody is answered before that is counted.
        self.counters.count()?;
        for _ in 0..STEPS {
            self.step()?;
        }
        self.settle()?;
        Ok(self.report)
    }

    fn step(&mut self) -> Result<()> {
        let passes = self.chance.below(8_000) as i64;
        self.broker.pass(passes);
        match self.chance.below(100) {
            0..45 => self.deliver()?,
            45..55 => self.spool()?,
            55..75 => self.ask_for_table(),
            75..78 => self.set_clock(),
            78..83 => self.change()?,
            83..88 => self.counters.count()?,
            88..95 => self.counters.flush(&mut self.chance)?,
            95..98 => self.ask_early()?,
            _ => self.ask().map(drop)?,
        }
        if self.shape.processors > 1 && self.chance.one_in(6) {
            self.counters.disturb(&mut self.chance, &mut self.report.done)?;
        }
        Ok(())
    }

    /// All gateways hear of everything: then everything is accepted again, and what was sent within
    /// the window is sent once more by each.
    fn settle(&mut self) -> Result<()> {
        for member in &self.members {
            member.clock.set_off(0);
            member.node.refresh();
        }
        self.deliver_again()?;
        self.end_spools()?;
        let repeats = self.ask()?;
        self.report.done.add(FleetDone::Duplicates, repeats);
        Ok(())
    }

    fn note(&mut self, what: u64) {
        self.report.trace =
            (self.report.trace.rotate_left(5) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
