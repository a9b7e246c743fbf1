//! A gateway and its table: hot items are spread by themselves, and what a repeat brings again decides
//! where it goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use bytes::Bytes;
use engine::admission::Admission;
use engine::gateway::{Gateway, Outcome, Repeats, SourceStamp};
use engine::ports::{
    AppendPart, Appended, Clock, ErrorKind, EventLog, LogBounds, PartResult, PortError,
    RoutingStore, next_table,
};
use engine::routing::Routing;
use engine::spreader::{Heat, spread};
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::hot::HotItems;
use model::limits::{FUTURE_SKEW_MS, ROUTING_LEAD_MS};
use model::record::{EncodedEvent, Record, split};
use model::{
    Batch, Event, Offset, PartitionId, RecordBuf, RoutingChange, RoutingTable, Rule, Strategy,
    Subject, TimestampMs, Violation,
};
use parking_lot::Mutex;

const NOW_MS: i64 = 1_795_255_200_000;

/// Log, clock and routing store in one, for one gateway.
struct World {
    partitions: AtomicU16,
    now_ms: AtomicI64,
    /// How far the gateway's clock is ahead of the log's.
    ahead_ms: AtomicI64,
    table: Mutex<Arc<RoutingTable>>,
    /// Item, id and partition of all that was appended.
    appended: Mutex<Vec<(String, String, u16)>>,
    /// The bytes of the same.
    records: Mutex<Vec<Vec<u8>>>,
}

impl World {
    fn new(partitions: u16) -> Arc<Self> {
        Arc::new(Self {
            partitions: AtomicU16::new(partitions),
            now_ms: AtomicI64::new(NOW_MS),
            ahead_ms: AtomicI64::new(0),
            table: Mutex::new(Arc::new(RoutingTable::first(partitions))),
            appended: Mutex::default(),
            records: Mutex::default(),
        })
    }

    fn log_time(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::Relaxed))
    }

    fn gateway(self: &Arc<Self>, heat: Option<Arc<Heat>>) -> (Gateway, Arc<Routing>) {
        let routing = Arc::new(Routing::new(self.clone(), self.clone()).expect("it fits"));
        let admission = Arc::new(Admission::without_processors(16));
        let gateway = Gateway::new(self.clone(), self.clone(), admission, 1 << 40);
        (gateway.with_routing(routing.clone(), heat), routing)
    }

    /// The partitions that an item's events went to.
    fn reached(&self, item: &str) -> BTreeSet<u16> {
        let appended = self.appended.lock();
        appended.iter().filter(|(of, ..)| of == item).map(|(.., partition)| *partition).collect()
    }
}

impl Clock for World {
    fn now(&self) -> ClockReading {
        let now = self.log_time().0;
        let wall = TimestampMs(now + self.ahead_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic_ms: now }
    }
}

impl EventLog for World {
    fn partitions(&self) -> u16 {
        self.partitions.load(Ordering::Relaxed)
    }

    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        self.partitions.store(partitions, Ordering::Relaxed);
        Ok(())
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        let mut appended = self.appended.lock();
        let result = |part: AppendPart| {
            let partition = part.partition;
            for record in split(part.records.payload()).filter(|_| !part.is_control) {
                let bytes = record.expect("whole");
                self.records.lock().push(bytes.to_vec());
                let record = Record::read(bytes).expect("readable");
                appended.push((record.item.to_owned(), record.id_text(), partition.0));
            }
            let next_offset = Offset(u64::from(part.records.record_count()));
            let append_time = self.log_time();
            Ok(Appended { partition, base_offset: Offset(0), next_offset, append_time })
        };
        let results: Vec<PartResult> = parts.into_iter().map(result).collect();
        Ok(futures::future::ready(results).boxed())
    }

    fn read(
        &self,
        _: PartitionId,
        _: Offset,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        futures::future::pending().boxed()
    }

    fn bounds(&self, _: PartitionId) -> LogBounds {
        LogBounds { log_epoch: 1, start_offset: Offset(0), durable_offset: Offset(0) }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(self.log_time())
    }
}

impl RoutingStore for World {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        Ok(self.table.lock().clone())
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        Ok(self.log_time())
    }

    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let mut table = self.table.lock();
        *table = Arc::new(next_table(&table, after, self.log_time(), partitions, changes)?);
        Ok(table.clone())
    }
}

fn event(item: &str, id: &str, time: TimestampMs) -> Event<'static> {
    Event {
        id: id.to_owned().into(),
        item: item.to_owned().into(),
        event_type: "view".into(),
        time,
        value: None,
        attributes: Vec::new(),
    }
}

fn send(gateway: &Gateway, events: &[(Event<'_>, Repeats)]) -> Result<Outcome, PortError> {
    let mut batch = gateway.begin().expect("it takes events");
    for (index, (event, repeats)) in (0..).zip(events) {
        batch.offer_repeatable(index, event, *repeats).expect("it keeps the rules");
    }
    block_on(batch.commit())
}

fn spread_rule(over: u16) -> Option<Rule> {
    Some(Rule { strategy: Strategy::Spread { over }, is_automatic: false })
}

#[test]
fn a_hot_item_is_spread_by_itself_and_gathered_when_it_has_cooled() {
    let world = World::new(16);
    let heat = Arc::new(Heat::new(7));
    let (gateway, routing) = world.gateway(Some(heat.clone()));
    let mut hot = HotItems::new(100);
    let mut number = 0;
    // Rounds of ten seconds, with so many events of which so many in ten are of one item.
    let mut rounds = |rounds: u32, events: u64, of_ten: u64| {
        for _ in 0..rounds {
            let now = world.log_time();
            for _ in 0..events / 100 {
                let batch: Vec<_> = (0..100)
                    .map(|_| {
                        number += 1;
                        let is_hot = number % 10 < of_ten;
                        let item =
                            if is_hot { "hot".to_owned() } else { format!("i{}", number % 999) };
                        (event(&item, &number.to_string(), now), Repeats::ALL)
                    })
                    .collect();
                send(&gateway, &batch).expect("accepted");
            }
            world.now_ms.fetch_add(10_000, Ordering::Relaxed);
            spread(&routing, &heat, &mut hot, 10_000).expect("published or not");
        }
    };
    rounds(2, 8_000, 9);
    assert_eq!(world.table.lock().version(), 1);
    rounds(1, 8_000, 9);
    let table = world.table.lock().clone();
    assert_eq!((table.version(), table.automatic()), (2, 1));
    assert_eq!(world.reached("hot").len(), 1, "nothing goes elsewhere yet");
    rounds(12, 8_000, 9);
    assert_eq!(world.reached("hot").len(), 16);
    // Half of what a partition should have is the bound: 1 in 32. Nothing of it at all is cool.
    rounds(59, 1_600, 0);
    assert_eq!(world.table.lock().version(), 2);
    rounds(1, 1_600, 0);
    let table = world.table.lock().clone();
    assert_eq!((table.version(), table.automatic()), (3, 0));
    assert_eq!(table.partitions_of("hot").len(), 16, "questions look there still");
}

#[test]
fn what_a_repeat_brings_again_decides_where_it_goes() {
    let world = World::new(16);
    let (gateway, routing) = world.gateway(None);
    let changes = vec![RoutingChange { subject: Subject::Item("a".into()), rule: spread_rule(16) }];
    routing.change(changes, None, None).expect("published");
    let first = RoutingTable::first(16).route_first("a").0;
    let later = NOW_MS + ROUTING_LEAD_MS + 10_000;
    world.now_ms.store(later, Ordering::Relaxed);
    let now = TimestampMs(later);
    let ids = |prefix: &str| (0..50).map(|n| format!("{prefix}{n:02}")).collect::<Vec<_>>();
    let go = |ids: Vec<String>, time: TimestampMs, repeats: Repeats| {
        world.appended.lock().clear();
        let events: Vec<_> = ids.iter().map(|id| (event("a", id, time), repeats)).collect();
        send(&gateway, &events).expect("accepted");
        world.reached("a")
    };
    let only = |id: bool, time: bool| Repeats { time, id };
    assert_eq!(go(ids("x"), now, Repeats::ALL).len(), 16);
    assert_eq!(go(ids("x"), TimestampMs(NOW_MS), Repeats::ALL), BTreeSet::from([first]));
    assert_eq!(go(ids("x"), now, only(true, false)), BTreeSet::from([first]), "by version 1");
    assert_eq!(go(ids("x"), now, only(false, false)).len(), 16, "nothing repeats it");
    // Ids that say when they were made: after the version, and before it.
    let uuid =
        |millis: i64| format!("{:08x}-{:04x}-7000-8000-0000000000", millis >> 16, millis & 0xffff);
    assert_eq!(go(ids(&uuid(later)), TimestampMs(later + 5_000), only(true, false)).len(), 16);
    let before = go(ids(&uuid(NOW_MS)), now, only(true, false));
    assert_eq!(before, BTreeSet::from([first]));
    let mut batch = gateway.begin().expect("it takes events");
    let future = format!("{}00", uuid(later + FUTURE_SKEW_MS + 1));
    let offered = batch.offer_repeatable(0, &event("a", &future, now), only(true, false));
    assert_eq!(offered, Err(Violation::InFuture));
}

/// Sends events as the log holds them, stamped or not; how many broke a rule.
fn send_encoded(
    gateway: &Gateway,
    events: &[(Event<'_>, Repeats)],
    stamp: Option<SourceStamp>,
) -> (Result<Outcome, PortError>, usize) {
    let begun = match stamp {
        Some(stamp) => gateway.begin_stamped(stamp),
        None => gateway.begin(),
    };
    let (mut batch, mut refused) = (begun.expect("it takes events"), 0);
    for (index, (event, _)) in (0..).zip(events) {
        let mut records = RecordBuf::new();
        records.push(event);
        let bytes = split(records.payload()).next().expect("a record").expect("whole");
        let (event, _) = EncodedEvent::read_first(bytes).expect("it keeps the rules");
        refused += usize::from(batch.offer_encoded(index, &event).is_err());
    }
    (block_on(batch.commit()), refused)
}

#[test]
fn an_event_that_was_sent_encoded_goes_where_it_would_go_else() {
    let world = World::new(16);
    let (gateway, routing) = world.gateway(None);
    let changes = vec![RoutingChange { subject: Subject::Item("a".into()), rule: spread_rule(16) }];
    routing.change(changes, None, None).expect("published");
    world.now_ms.fetch_add(ROUTING_LEAD_MS + 10_000, Ordering::Relaxed);
    let now = world.log_time();
    let uuid = |n: i64| format!("0192f0c1-7e5a-7cc3-98c4-dc0c0c07{n:04x}");
    let events: Vec<_> = (0..100)
        .map(|n| {
            (event(["a", "b"][n as usize % 2], &uuid(n), TimestampMs(now.0 - n)), Repeats::ALL)
        })
        .chain([(event("a", &uuid(100), TimestampMs(NOW_MS)), Repeats::ALL)])
        .collect();
    let appended = || (world.appended.lock().split_off(0), world.records.lock().split_off(0));
    send(&gateway, &events).expect("accepted");
    let expected = appended();
    assert!(expected.0.iter().map(|(.., partition)| partition).collect::<BTreeSet<_>>().len() > 2);
    let (sent, refused) = send_encoded(&gateway, &events, None);
    assert_eq!((sent.expect("accepted").accepted, refused), (101, 0));
    assert_eq!(appended(), expected);

    let stamp = SourceStamp { source: "phone".into(), first: 7 };
    send_encoded(&gateway, &events, Some(stamp)).0.expect("accepted");
    let (places, records) = appended();
    assert_eq!(places, expected.0);
    let sequences = records.iter().map(|record| Record::read(record).expect("readable").source);
    let sequences: BTreeSet<_> = sequences.collect();
    assert_eq!(sequences, (7..108).map(|n| Some(("phone", n))).collect());

    let far = [event("a", &uuid(0), TimestampMs(now.0 + FUTURE_SKEW_MS + 1))];
    let (sent, refused) = send_encoded(&gateway, &far.map(|event| (event, Repeats::ALL)), None);
    assert_eq!((sent.expect("nothing to write"), refused), (Outcome::default(), 1));
    world.ahead_ms.store(40_000, Ordering::Relaxed);
    let unsure = [event("a", &uuid(0), TimestampMs(now.0 + ROUTING_LEAD_MS + 1))];
    let (sent, _) = send_encoded(&gateway, &unsure.map(|event| (event, Repeats::ALL)), None);
    assert_eq!(sent.expect_err("nobody knows").kind, ErrorKind::Unavailable);
    assert_eq!(appended().0, []);
}

#[test]
fn a_gateway_whose_clock_is_ahead_takes_nothing_that_another_version_may_hold_for() {
    let world = World::new(2);
    let (gateway, _) = world.gateway(None);
    world.ahead_ms.store(40_000, Ordering::Relaxed);
    let at = |ms: i64| [(event("a", "1", TimestampMs(NOW_MS + ms)), Repeats::ALL)];
    assert_eq!(send(&gateway, &at(ROUTING_LEAD_MS)).expect("known").accepted, 1);
    let refused = send(&gateway, &at(ROUTING_LEAD_MS + 1)).expect_err("nobody knows");
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert_eq!(world.appended.lock().len(), 1);
    // What nothing can repeat goes anywhere.
    let free =
        [(event("a", "2", TimestampMs(NOW_MS + 100_000)), Repeats { time: false, id: false })];
    assert_eq!(send(&gateway, &free).expect("known").accepted, 1);
}

#[test]
fn partitions_are_added_before_anything_is_published_and_only_where_they_are_used() {
    let world = World::new(2);
    let (_, routing) = world.gateway(None);
    let told: Arc<Mutex<Vec<(u16, u32)>>> = Arc::default();
    let (seen, asked) = (told.clone(), world.clone());
    routing.on_grown(Box::new(move |partitions| {
        seen.lock().push((partitions, asked.table.lock().version()));
        Ok(())
    }));
    let pinned = |partition| {
        let strategy = Strategy::Dedicated { partitions: vec![partition] };
        let rule = Some(Rule { strategy, is_automatic: false });
        vec![RoutingChange { subject: Subject::Prefix("ads/".into()), rule }]
    };
    let refused = routing.change(pinned(3), None, None).expect_err("2 would be idle");
    assert_eq!((refused.kind, world.partitions()), (ErrorKind::Invalid, 2));
    let table = routing.change(pinned(2), None, None).expect("it follows");
    assert_eq!((table.version(), world.partitions()), (2, 3));
    assert_eq!(*told.lock(), [(3, 1)]);
    let stale = routing.change(Vec::new(), Some(4), Some(1)).expect_err("2 is the newest");
    assert_eq!(stale.kind, ErrorKind::Conflict);
    // Who failed to begin with a partition keeps the version from being published.
    routing.on_grown(Box::new(|_| Err(PortError::new(ErrorKind::Unavailable, "no thread"))));
    routing.change(Vec::new(), Some(5), None).expect_err("nobody counts there");
    assert_eq!(world.table.lock().version(), 2);
}
