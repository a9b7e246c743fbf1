//! The routing table in a topic, shared by several processes.

use std::sync::Arc;
use std::time::Duration;

use adapters::kafka::KafkaRouting;
use engine::conformance::routing_store::{self as conformance, spread};
use engine::ports::{ErrorKind, PortError, RoutingStore};
use futures::executor::block_on;
use model::RoutingTable;
use model::limits::ROUTING_LEAD_MS;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::bench::{Bench, SystemClock, client, until, wall_now};

fn open_as(bench: &Bench, writer: u64, moves_clock: bool) -> Result<Arc<KafkaRouting>, PortError> {
    let clock = Arc::new(SystemClock::start());
    KafkaRouting::open(&bench.settings, 2, writer, moves_clock, clock).map(Arc::new)
}

fn open(bench: &Bench, writer: u64) -> Arc<KafkaRouting> {
    open_as(bench, writer, true).expect("it opens")
}

fn topic(bench: &Bench) -> String {
    format!("{}-routing", bench.topic())
}

fn produce(bench: &Bench, key: &str, value: Option<&str>) {
    let producer: BaseProducer = client().create().expect("a producer");
    let topic = topic(bench);
    let mut record = BaseRecord::<str, str>::to(&topic).partition(0).key(key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).expect("taken");
    producer.flush(Duration::from_secs(30)).expect("confirmed");
}

#[test]
fn conforms() {
    let bench = Bench::new();
    conformance::all(&*open(&bench, 1));
    conformance::survives_reopening(|| open(&bench, 2));
}

#[test]
fn one_of_many_processes_wins() {
    let bench = Bench::new();
    let of = |writer| open(&bench, writer) as Arc<dyn RoutingStore>;
    conformance::one_of_many_wins(&[of(1), of(2), of(3)]);
    let one = of(4);
    conformance::one_of_many_wins(&[one.clone(), one]);
}

#[test]
fn a_table_is_begun_once_however_many_begin_it() {
    let bench = Bench::new();
    let tables: Vec<_> = std::thread::scope(|scope| {
        let begin = |writer: u16| {
            let bench = &bench;
            scope.spawn(move || {
                let partitions = 2 + writer;
                let (settings, clock) = (&bench.settings, Arc::new(SystemClock::start()));
                let opened = KafkaRouting::open(settings, partitions, writer.into(), false, clock);
                opened.expect("it opens").table().expect("known")
            })
        };
        let threads: Vec<_> = (0..4).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(tables.iter().all(|table| *table == tables[0]), "{tables:?}");
    assert_eq!(tables[0].version(), 1);
}

/// What one process publishes all others follow, those too that only ask; and the clock goes on
/// whoever moves it, so that events of now have a route.
#[test]
fn versions_and_the_clock_are_followed() {
    let bench = Bench::new();
    let (gateway, query) = (open(&bench, 1), open_as(&bench, 2, false).expect("it opens"));
    let before = query.confirmed_at().expect("a good clock");
    assert!((wall_now().0 - before.0).abs() < 5_000, "{before}");
    let table = gateway.publish(1, 2, spread("hot")).expect("it follows");
    until("it is known to who only asks", || query.table().expect("known") == table);
    assert!(query.confirmed_at().expect("a good clock") >= table.newest().published);
    // Without anything to publish too.
    let now = gateway.confirmed_at().expect("a good clock");
    until("the clock has moved on", || {
        let moved = |store: &KafkaRouting| store.confirmed_at().expect("a good clock") > now;
        moved(&gateway) && moved(&query)
    });
    let known_at = query.known_until();
    until("more is known to who only asks", || query.known_until() > known_at);
    // Who only asks may publish as well.
    let table = query.publish(2, 2, spread("hotter")).expect("it follows");
    until("it is known to the gateway", || gateway.table().expect("known") == table);
    assert!(table.newest().effective.0 > wall_now().0 + ROUTING_LEAD_MS - 5_000);
}

#[test]
fn what_cannot_be_read_stops_whoever_must_be_sure_and_nobody_else() {
    let bench = Bench::new();
    let routing = open(&bench, 1);
    let table = routing.publish(1, 2, spread("hot")).expect("it follows");
    produce(&bench, "stray", Some("{}"));
    until("it is noticed", || routing.confirmed_at().is_err());
    let error = routing.confirmed_at().expect_err("nobody is sure");
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.to_string().contains("under its key stray"), "{error}");
    assert_eq!(routing.table().expect("what is known is known"), table);
    let refused = routing.publish(2, 2, spread("b")).expect_err("refused");
    assert_eq!(refused.kind, ErrorKind::Corrupt);
    let refused = open_as(&bench, 2, true).err().expect("refused");
    assert_eq!(refused.kind, ErrorKind::Corrupt);
    produce(&bench, "stray", None);
    until("it was taken away", || routing.confirmed_at().is_ok());
    assert_eq!(routing.publish(2, 2, spread("b")).expect("it follows").version(), 3);
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().expect("an admin")
}

#[test]
fn a_topic_that_would_forget_versions_is_refused() {
    let bench = Bench::new();
    let name = topic(&bench);
    let wanted = NewTopic::new(&name, 1, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime")
        .set("min.compaction.lag.ms", "3600000");
    let options = AdminOptions::new();
    block_on(admin().create_topics([&wanted], &options)).expect("made")[0].as_ref().expect("made");
    let error = open_as(&bench, 1, true).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("--add-config cleanup.policy=compact"), "{error}");
    let two = Bench::new();
    let name = topic(&two);
    let wanted = NewTopic::new(&name, 2, TopicReplication::Fixed(1));
    block_on(admin().create_topics([&wanted], &options)).expect("made")[0].as_ref().expect("made");
    let error = open_as(&two, 1, true).err().expect("refused");
    assert!(error.to_string().contains("it must have one"), "{error}");
}

/// Compaction lets go of what the clock showed, and of no version: neither of one that won nor of one
/// that lost against it.
#[test]
fn compaction_lets_go_of_no_version() {
    let bench = Bench::new();
    let (one, other) = (open(&bench, 1), open(&bench, 2));
    conformance::one_of_many_wins(&[one.clone(), other.clone()]);
    let table = one.table().expect("known");
    drop((one, other));
    // As if it were much older.
    let name = topic(&bench);
    let alter = |set: &[(&str, &str)]| {
        let specifier = ResourceSpecifier::Topic(&name);
        let alter = set
            .iter()
            .fold(AlterConfig::new(specifier), |alter, (name, value)| alter.set(name, value));
        block_on(admin().alter_configs([&alter], &AdminOptions::new())).expect("answered")[0]
            .as_ref()
            .expect("set");
    };
    let fit = [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    let soon = [
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "1"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.0"),
    ];
    alter(&[&fit[..], &soon[..]].concat());
    let kept = || {
        let follower = open_records(&name);
        (follower.iter().filter(|key| key[0] == b'c').count(), follower.len())
    };
    let (clocks, _) = kept();
    assert!(clocks > 10, "there is something to let go of");
    // A segment is closed when something is written into the next.
    until("the topic was compacted", || {
        produce(&bench, "c", Some("\u{1}\0\0\0\0\0\0\0\0"));
        kept().0 < clocks
    });
    alter(&[&fit[..], &[("min.compaction.lag.ms", "3600000")]].concat());
    let again = open(&bench, 3);
    assert_eq!(again.table().expect("known"), table);
    assert_ne!(*table, RoutingTable::first(2));
}

/// The keys of all records there are.
fn open_records(topic: &str) -> Vec<Vec<u8>> {
    use rdkafka::TopicPartitionList;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::error::KafkaError;
    use rdkafka::message::Message;

    let mut config = client();
    config.set("group.id", "look").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("assigned");
    let mut keys = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(30)).expect("an answer") {
            Ok(message) => keys.push(message.key().expect("a key").to_vec()),
            Err(KafkaError::PartitionEOF(_)) => return keys,
            Err(error) => panic!("{error}"),
        }
    }
}
