//! A fleet: several gateways with clocks of their own, some of them with a table that is out of date,
//! in front of one log, while items are spread and gathered again and partitions are added.
//!
//! The gateways, the routing, the processors and the questions are the real ones; the log is in
//! memory and never fails, because what is tried here is that every repeat within the dedup window
//! reaches the partition of its original, whoever takes it.

mod broker;
mod spool;
mod table;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Result, anyhow, ensure};
use engine::admission::Admission;
use engine::conformance::mem_store::MemStore;
use engine::gateway::{Gateway, Repeats};
use engine::ports::{Clock, ErrorKind, EventLog};
use engine::processor::{ProcessorSettings, Stepped};
use engine::query::Query;
use engine::routing::Routing;
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::{
    Event, Granularity, PartitionId, RoutingChange, Rule, Strategy, Subject, TimeRange, TimestampMs,
};

use crate::chance::Chance;
use broker::{BEGIN_MS, Broker};
use spool::{SPOOLS, Spool};
use table::{Asking, Node, Topic};

/// Number of gateways.
const GATEWAYS: usize = 3;
/// Number of partitions at first.
const PARTITIONS: u16 = 4;
/// So many there are at most.
const PARTITIONS_MOST: u64 = 9;
/// Steps of a run, each some seconds long.
const STEPS: u64 = 500;
/// Items; the first gets half of all events.
const ITEMS: u64 = 5;
const EVENT_TYPE: &str = "view";
/// Length of the dedup window.
const WINDOW_MINUTES: u32 = 10;
const MAX_EVENT_AGE_MS: i64 = 86_400_000;
/// How far a gateway's clock may be off, in milliseconds.
const SKEW_MS: u64 = 240_000;

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
}

impl FleetBug {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::TrustStaleTable, Self::RouteByArrival, Self::SpreadByMadeId, Self::AskNewestOnly];
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetReport {
    /// Events that clients thought of.
    pub events: u64,
    /// Deliveries that were accepted, repeats included.
    pub accepted: u64,
    /// Records that were dropped as repeats.
    pub duplicates: u64,
    /// Repeats that were accepted when another version was in effect than at the first delivery.
    pub across: u64,
    /// Deliveries that were refused because the route was not known.
    pub unsure: u64,
    /// Deliveries that were refused for their time.
    pub refused: u64,
    /// Versions that were published.
    pub versions: u64,
    /// Changes that were refused, because another was published before or they break a rule.
    pub conflicts: u64,
    /// Partitions that were added.
    pub added: u64,
    /// Stamped requests that were accepted, old ones sent again included.
    pub stamped: u64,
    /// Stamped events that were refused for their time and accepted later.
    pub late: u64,
    /// Hash of everything that was done.
    pub trace: u64,
}

impl FleetReport {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.across += other.across;
        self.unsure += other.unsure;
        self.refused += other.refused;
        self.versions += other.versions;
        self.conflicts += other.conflicts;
        self.added += other.added;
        self.stamped += other.stamped;
        self.late += other.late;
    }
}

/// Runs a seed twice; both runs must be the same, and neither may find anything.
///
/// # Errors
/// What is wrong.
pub fn check_fleet(seed: u64, bug: Option<FleetBug>) -> Result<FleetReport> {
    let (first, second) = (run_fleet(seed, bug), run_fleet(seed, bug));
    let is_same = match (&first, &second) {
        (Ok(first), Ok(second)) => first == second,
        (Err(first), Err(second)) => format!("{first:#}") == format!("{second:#}"),
        _ => false,
    };
    ensure!(is_same, "seed {seed} did not do the same twice: {first:?} and {second:?}");
    first
}

fn run_fleet(seed: u64, bug: Option<FleetBug>) -> Result<FleetReport> {
    let run = AssertUnwindSafe(|| {
        let mut fleet = Fleet::new(seed, bug)?;
        for _ in 0..STEPS {
            fleet.step().map_err(|error| anyhow!("seed {seed}: {error:#}"))?;
        }
        fleet.settle().map_err(|error| anyhow!("seed {seed}: {error:#}"))?;
        Ok(fleet.report)
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(anyhow!("seed {seed}: panicked: {text}"))
    })
}

/// A gateway's own clock: the true time, and how far it is off.
struct NodeClock {
    broker: Arc<Broker>,
    off_ms: AtomicI64,
}

impl Clock for NodeClock {
    fn now(&self) -> ClockReading {
        let passed = self.broker.now().0;
        let wall = TimestampMs(passed + self.off_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic_ms: passed }
    }
}

struct Member {
    clock: Arc<NodeClock>,
    node: Arc<Node>,
    routing: Arc<Routing>,
    gateway: Gateway,
}

/// An event that a client sends, and sends again.
#[derive(Clone)]
struct Sent {
    item: String,
    id: String,
    /// None leaves the time to whoever takes it.
    time: Option<TimestampMs>,
    /// When it was appended first, and the version in effect then.
    first: Option<(TimestampMs, u32)>,
}

struct Fleet {
    chance: Chance,
    broker: Arc<Broker>,
    topic: Arc<Topic>,
    members: Vec<Member>,
    stepped: Stepped,
    query: Query,
    sent: Vec<Sent>,
    spools: Vec<Spool>,
    bug: Option<FleetBug>,
    report: FleetReport,
}

impl Fleet {
    fn new(seed: u64, bug: Option<FleetBug>) -> Result<Self> {
        let broker = Arc::new(Broker::new(PARTITIONS, WINDOW_MINUTES));
        let log: Arc<dyn EventLog> = broker.clone();
        let topic = Arc::new(Topic::new(PARTITIONS, broker.clone()));
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let settings = ProcessorSettings {
            flush_interval_ms: u64::MAX,
            table_cells_max: usize::MAX,
            hash_keys: (seed, 7),
            dedup_minutes: WINDOW_MINUTES,
        };
        let member = |_| -> Result<Member> {
            let off_ms = AtomicI64::new(0);
            let clock = Arc::new(NodeClock { broker: broker.clone(), off_ms });
            let node = Arc::new(Node::new(&topic, bug == Some(FleetBug::TrustStaleTable)));
            let routing = Arc::new(Routing::new(node.clone(), log.clone())?);
            let (log, admission) = (log.clone(), admission.clone());
            let gateway = Gateway::new(log, clock.clone(), admission, MAX_EVENT_AGE_MS);
            let gateway = gateway.with_routing(routing.clone(), None);
            Ok(Member { clock, node, routing, gateway })
        };
        let members = (0..GATEWAYS).map(member).collect::<Result<Vec<_>>>()?;
        let clock = members[0].clock.clone();
        let store = Arc::new(MemStore::new());
        let stepped = Stepped::open(log.clone(), store, clock, admission, settings)?;
        let forgets_past = bug == Some(FleetBug::AskNewestOnly);
        let asking = Arc::new(Asking { topic: topic.clone(), forgets_past });
        let routing = Arc::new(Routing::new(asking, log)?);
        let query = Query::new(stepped.processors(), MAX_EVENT_AGE_MS).with_routing(routing);
        let (sent, report) = Default::default();
        let spools = (0..SPOOLS).map(Spool::new).collect();
        let chance = Chance::new(seed);
        Ok(Self { chance, broker, topic, members, stepped, query, sent, spools, bug, report })
    }

    fn step(&mut self) -> Result<()> {
        let passes = self.chance.below(8_000) as i64;
        self.broker.pass(passes);
        match self.chance.below(100) {
            0..45 => self.deliver()?,
            45..55 => self.spool()?,
            55..75 => self.ask_for_table(),
            75..80 => self.set_clock(),
            80..86 => self.change()?,
            86..93 => self.count()?,
            93..96 => self.flush()?,
            _ => self.ask()?,
        }
        Ok(())
    }

    /// A client sends some events, new ones and such that it sent within the window.
    fn deliver(&mut self) -> Result<()> {
        let new = self.chance.below(6);
        let mut events: Vec<usize> = (0..new).map(|_| self.invent()).collect();
        let now = self.broker.now();
        for _ in 0..self.chance.below(6) {
            if !self.sent.is_empty() {
                let back = self.chance.index(self.sent.len().min(400));
                events.push(self.sent.len() - 1 - back);
            }
        }
        let window_ms = i64::from(WINDOW_MINUTES) * 60_000;
        let is_within =
            |n: &usize| self.sent[*n].first.is_none_or(|(first, _)| now.0 - first.0 <= window_ms);
        events.retain(is_within);
        let at = self.chance.index(GATEWAYS);
        self.bring(at, &events)
    }

    fn bring(&mut self, at: usize, events: &[usize]) -> Result<()> {
        let Member { gateway, .. } = &self.members[at];
        let mut batch = gateway.begin().map_err(|refusal| anyhow!("{refusal}"))?;
        let mut offered = Vec::new();
        for (index, &number) in (0..).zip(events) {
            let Sent { item, id, time, .. } = &self.sent[number];
            let event = Event {
                id: id.into(),
                item: item.into(),
                event_type: EVENT_TYPE.into(),
                time: time.unwrap_or(batch.now()),
                value: None,
                attributes: Vec::new(),
            };
            let by_arrival = self.bug == Some(FleetBug::RouteByArrival);
            let repeats = Repeats { time: time.is_some() || by_arrival, id: true };
            match batch.offer_repeatable(index, &event, repeats) {
                Ok(()) => offered.push(number),
                Err(_) => self.report.refused += 1,
            }
        }
        match block_on(batch.commit()) {
            Ok(outcome) => {
                ensure!(outcome.accepted == offered.len() as u64, "the log does not fail");
                self.accepted(&offered);
            }
            Err(error) => {
                ensure!(error.kind == ErrorKind::Unavailable, "for no reason: {error}");
                self.report.unsure += 1;
            }
        }
        Ok(())
    }

    fn accepted(&mut self, events: &[usize]) {
        let now = self.broker.now();
        let version = self.topic.in_effect(now);
        for &number in events {
            self.report.accepted += 1;
            self.note(number as u64 ^ now.0 as u64);
            match self.sent[number].first {
                None => self.sent[number].first = Some((now, version)),
                Some((_, first)) => self.report.across += u64::from(first != version),
            }
        }
    }

    /// Thinks of an event: by the clock of a client that is off itself, now and then without a time.
    fn invent(&mut self) -> usize {
        let number = self.sent.len() as u64;
        let item = if self.chance.one_in(2) { 0 } else { self.chance.below(ITEMS) };
        let off = self.chance.below(360_000) as i64 - 300_000;
        let time = TimestampMs(self.broker.now().0 + off);
        let (id, time) = match self.chance.below(4) {
            0 => (format!("id-{number}"), None),
            1 => (uuid_v7(time, self.chance.draw()), None),
            2 => (uuid_v7(time, self.chance.draw()), Some(time)),
            _ => (format!("id-{number}"), Some(time)),
        };
        self.report.events += 1;
        self.sent.push(Sent { item: item_name(item), id, time, first: None });
        self.sent.len() - 1
    }

    /// A gateway hears of what was published.
    fn ask_for_table(&mut self) {
        let at = self.chance.index(GATEWAYS);
        self.members[at].node.refresh();
    }

    fn set_clock(&mut self) {
        let at = self.chance.index(GATEWAYS);
        let off = self.chance.below(2 * SKEW_MS) as i64 - SKEW_MS as i64;
        self.members[at].clock.off_ms.store(off, Ordering::Relaxed);
    }

    /// Somebody changes the routing, by what may be an old table.
    fn change(&mut self) -> Result<()> {
        let at = self.chance.index(GATEWAYS);
        if self.chance.one_in(2) {
            self.members[at].node.refresh();
        }
        let partitions = match self.chance.below(4) {
            0 => Some(1 + self.chance.below(PARTITIONS_MOST) as u16),
            _ => None,
        };
        let mut changes = vec![self.invent_change()];
        changes.retain(|_| partitions.is_none() || self.chance.one_in(2));
        let had = self.broker.partitions();
        let known = self.members[at].routing.table()?.version();
        match self.members[at].routing.change(changes, partitions, Some(known)) {
            Ok(table) => {
                self.report.versions += 1;
                self.note(u64::from(table.version()));
            }
            Err(error) => {
                let is_explained = matches!(error.kind, ErrorKind::Conflict | ErrorKind::Invalid);
                ensure!(is_explained, "a change failed: {error}");
                self.report.conflicts += 1;
            }
        }
        // Who counts begins with what was added before anything is routed there.
        self.stepped.grow()?;
        self.report.added += u64::from(self.broker.partitions() - had);
        Ok(())
    }

    fn invent_change(&mut self) -> RoutingChange {
        let strategy = match self.chance.below(8) {
            0 | 1 => None,
            2 | 3 => Some(Strategy::Spread { over: 2 + self.chance.below(6) as u16 }),
            4 => Some(Strategy::ItemAndMinute),
            5 => Some(Strategy::Item),
            n => {
                let partitions = vec![self.chance.below(PARTITIONS_MOST) as u16];
                Some(match n {
                    6 => Strategy::Pinned { partitions },
                    _ => Strategy::Dedicated { partitions },
                })
            }
        };
        let subject = match self.chance.below(5) {
            0 => Subject::Prefix("item-".into()),
            1 => Subject::Item(item_name(self.chance.below(ITEMS))),
            _ => Subject::Item(item_name(0)),
        };
        let rule = strategy.map(|strategy| Rule { strategy, is_automatic: false });
        RoutingChange { subject, rule }
    }

    fn count(&mut self) -> Result<()> {
        for id in (0..self.broker.partitions()).map(PartitionId) {
            let next = self.stepped.next_offset(id);
            let batches = self.broker.batches(id, next);
            self.stepped.apply(id, &batches)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let id = PartitionId(self.chance.below(u64::from(self.broker.partitions())) as u16);
        Ok(self.stepped.flush(id)?)
    }

    /// Everything that was accepted is counted once, in totals, series and rankings.
    fn ask(&mut self) -> Result<()> {
        self.count()?;
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for sent in self.sent.iter().filter(|sent| sent.first.is_some()) {
            *expected.entry(sent.item.clone()).or_default() += 1;
        }
        let mut open: BTreeMap<String, u64> = BTreeMap::new();
        for spooled in self.spools.iter().flat_map(Spool::events) {
            *expected.entry(spooled.item.clone()).or_default() += spooled.surely();
            *open.entry(spooled.item.clone()).or_default() += spooled.perhaps();
        }
        expected.retain(|_, count| *count > 0);
        let names: Vec<String> = (0..ITEMS).map(item_name).collect();
        let items: Vec<&str> = names.iter().map(String::as_str).collect();
        let (totals, _) = self.query.totals(&items, EVENT_TYPE)?;
        for (item, total) in items.iter().zip(totals) {
            let of_item = expected.get(*item).copied().unwrap_or(0);
            let single = self.query.count(item, EVENT_TYPE, None)?.summary.count;
            let range = self.whole_range();
            let series = self.query.series(item, EVENT_TYPE, range, Granularity::Hour)?;
            let told = [total.count, series.total.count];
            ensure!(told == [single; 2], "{item} was told as {single} and as {told:?}");
            let most = of_item + open.get(*item).copied().unwrap_or(0);
            let is_right = (of_item..=most).contains(&single);
            ensure!(is_right, "{item} was told as {single}, and is {of_item} to {most}");
            self.note(single);
        }
        let top = self.query.top(EVENT_TYPE, self.whole_range(), 10)?;
        let top: BTreeMap<String, u64> = top.items.into_iter().collect();
        let is_known = |item: &String| open.get(item).is_none_or(|open| *open == 0);
        let known = |counts: &BTreeMap<String, u64>| -> Vec<(String, u64)> {
            let known = counts.iter().filter(|(item, _)| is_known(item));
            known.map(|(item, count)| (item.clone(), *count)).collect()
        };
        let (told, right) = (known(&top), known(&expected));
        ensure!(told == right, "the ranking is {told:?}, and should be {right:?}");
        Ok(())
    }

    fn whole_range(&self) -> TimeRange {
        let start = TimestampMs(BEGIN_MS - 86_400_000).minute();
        TimeRange { start, end: TimestampMs(self.broker.now().0 + 86_400_000).minute() }
    }

    /// All gateways hear of everything: then everything is accepted again, and what was sent within
    /// the window is sent once more by each.
    fn settle(&mut self) -> Result<()> {
        for at in 0..GATEWAYS {
            self.members[at].clock.off_ms.store(0, Ordering::Relaxed);
            self.members[at].node.refresh();
        }
        let window_ms = i64::from(WINDOW_MINUTES) * 60_000;
        for at in 0..GATEWAYS {
            let now = self.broker.now();
            let all = 0..self.sent.len();
            let is_within = |n: &usize| {
                self.sent[*n].first.is_none_or(|(first, _)| now.0 - first.0 <= window_ms)
            };
            let events: Vec<usize> = all.filter(is_within).collect();
            let unsure = self.report.unsure;
            self.bring(at, &events)?;
            ensure!(self.report.unsure == unsure, "a gateway that knows everything refuses");
        }
        self.end_spools()?;
        self.ask()?;
        self.report.duplicates =
            self.stepped.processors().status().iter().map(|partition| partition.duplicates).sum();
        Ok(())
    }

    fn note(&mut self, what: u64) {
        self.report.trace =
            (self.report.trace.rotate_left(5) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn item_name(number: u64) -> String {
    format!("item-{number}")
}

/// An id that says when it was made.
fn uuid_v7(time: TimestampMs, random: u64) -> String {
    let (millis, high, low) = (time.0 as u64, random >> 52, random & 0xffff_ffff_ffff);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{low:012x}",
        millis >> 16,
        millis & 0xffff,
        high & 0xfff,
        random >> 48 & 0xfff
    )
}
