//! Processors that share a topic and a store: partitions go from one to the other as members come
//! and go, while events come, and each event counts once.

use std::collections::BTreeSet;
use std::sync::Arc;

use adapters::kafka::{KafkaGroup, KafkaLog};
use engine::admission::Admission;
use engine::conformance::mem_store::MemStore;
use engine::ports::{AppendPart, CounterStore, EventLog, Membership};
use engine::processor::{Group, ProcessorSettings};
use futures::executor::block_on;
use model::counter::RowKey;
use model::{Event, Offset, PartitionId, RecordBuf, Retention, RoutingTable};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::bench::{Bench, SystemClock, client, until, wall_now};

const PARTITIONS: u16 = 6;
const ITEMS: u64 = 25;

/// One process that counts.
struct Member {
    // It leaves before what it counts with goes.
    membership: KafkaGroup,
    group: Arc<Group>,
}

impl Member {
    fn join(bench: &Bench, store: &Arc<MemStore>) -> Self {
        let log = Arc::new(bench.open());
        let settings = ProcessorSettings {
            flush_interval_ms: 50,
            table_cells_max: 10_000,
            known_bytes_max: 64 << 10,
            hash_keys: (3, 4),
            dedup_minutes: 10,
        };
        let clock = Arc::new(SystemClock::start());
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let (shared, retention) = (store.clone(), Retention::FOREVER);
        let group = Group::new(log.clone(), shared, clock, admission, settings, retention);
        let group = Arc::new(group);
        let membership = KafkaGroup::new(&bench.settings, log).expect("options");
        membership.join(group.clone()).expect("joined");
        Self { membership, group }
    }

    fn partitions(&self) -> BTreeSet<PartitionId> {
        self.group.partitions().into_iter().collect()
    }
}

/// Appends events, of which every fourth one is a repeat; how many are none.
fn append(log: &KafkaLog, from: u64, count: u64) {
    let routing = RoutingTable::first(PARTITIONS);
    let parts = (from..from + count).map(|n| {
        let n = if n % 4 == 3 { n - 3 } else { n };
        let item = format!("item-{}", n % ITEMS);
        let mut records = RecordBuf::new();
        records.push(&Event {
            id: format!("event-{n}").into(),
            item: item.as_str().into(),
            event_type: "view".into(),
            time: wall_now(),
            value: None,
            attributes: Vec::new(),
        });
        AppendPart { partition: routing.route(&item, "", wall_now()), records, is_control: false }
    });
    let results = block_on(log.append(parts.collect()).expect("taken"));
    assert!(results.iter().all(Result::is_ok), "durable");
}

fn stored(store: &MemStore, item: &str) -> u64 {
    let partition = RoutingTable::first(PARTITIONS).route(item, "", wall_now());
    let snapshot = store.snapshot().expect("a snapshot");
    let rows = snapshot.get(partition, &[RowKey::Total { item, event_type: "view" }]);
    rows.expect("read")[0].as_ref().map_or(0, |row| row.summary().count)
}

fn stored_until(store: &MemStore, partition: PartitionId) -> Offset {
    let checkpoint = store.snapshot().expect("a snapshot").checkpoint(partition).expect("read");
    checkpoint.map_or(Offset(0), |checkpoint| checkpoint.next_offset)
}

#[test]
fn members_come_and_go_and_every_event_counts_once() {
    let mut bench = Bench::new();
    bench.settings.partitions_default = PARTITIONS;
    bench.settings.place.group = format!("group-of-{}", bench.topic());
    let (log, store) = (bench.open(), Arc::new(MemStore::new()));
    let mut sent = 0;
    let mut send = |count: u64| {
        append(&log, sent, count);
        sent += count;
        sent
    };
    let one = Member::join(&bench, &store);
    until("one has all", || one.partitions().len() == usize::from(PARTITIONS));
    send(400);
    let two = Member::join(&bench, &store);
    let has_half = |member: &Member| member.partitions().len() == usize::from(PARTITIONS) / 2;
    while !(has_half(&one) && has_half(&two)) {
        send(20);
    }
    assert!(one.partitions().is_disjoint(&two.partitions()), "a partition has one owner");
    let three = Member::join(&bench, &store);
    while three.partitions().len() < 2 {
        send(20);
    }
    one.membership.leave();
    assert!(one.partitions().is_empty(), "who leaves has nothing any more");
    while two.partitions().len() + three.partitions().len() < usize::from(PARTITIONS) {
        send(20);
    }
    two.membership.leave();
    until("the last one has all", || three.partitions().len() == usize::from(PARTITIONS));
    let sent = send(400);
    let all: Vec<_> = (0..PARTITIONS).map(PartitionId).collect();
    until("everything is flushed", || {
        all.iter().all(|p| stored_until(&store, *p) == log.bounds(*p).durable_offset)
    });
    for n in 0..ITEMS {
        let is_new = |event: &u64| event % 4 != 3 && event % ITEMS == n;
        let expected = (0..sent).filter(is_new).count() as u64;
        assert_eq!(stored(&store, &format!("item-{n}")), expected, "item-{n}");
    }
    // What lag tools see.
    three.membership.note_progress(&three.group.progress());
    let mut config = client();
    let tool: BaseConsumer =
        config.set("group.id", &bench.settings.place.group).create().expect("a consumer");
    let committed = |partition: PartitionId| {
        let mut list = TopicPartitionList::new();
        list.add_partition(bench.topic(), i32::from(partition.0));
        let found = tool.committed_offsets(list, std::time::Duration::from_secs(10));
        found.expect("answered").elements()[0].offset().to_raw()
    };
    let counted = |p: &PartitionId| i64::try_from(stored_until(&store, *p).0).ok();
    until("offsets are committed", || all.iter().all(|p| committed(*p) == counted(p)));
    assert_eq!(three.membership.members().expect("answered"), 1);
}
