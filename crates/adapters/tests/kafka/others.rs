//! A topic that others write to and read from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::conformance::event_log::{part, read_all};
use engine::ports::EventLog;
use futures::executor::block_on;
use model::control::Control;
use model::record::{Record, RecordError, Unreadable, split};
use model::{Offset, RecordBuf};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::FIRST;
use super::bench::{AsTheyAre, Bench, client};

const PATIENCE: Duration = Duration::from_secs(30);

fn produce(producer: &BaseProducer, topic: &str, value: Option<&str>) {
    let mut record = BaseRecord::<str, str>::to(topic).partition(0);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).expect("taken");
    producer.flush(PATIENCE).expect("confirmed");
}

/// Every record from the beginning on: whether it is a control record, and its bytes.
fn records(log: &dyn EventLog) -> Vec<(bool, Vec<u8>)> {
    let mut all = Vec::new();
    for batch in read_all(log, FIRST, Offset(0), 1_000) {
        all.extend(split(&batch.payload).map(|r| (batch.is_control, r.expect("whole").to_vec())));
    }
    all
}

#[test]
fn messages_of_others_become_records_or_say_why_not() {
    let bench = Bench::new();
    let log = bench.open();
    let producer: BaseProducer = client().create().expect("a producer");
    for value in [Some("{\"item\":\"v\"}"), Some("garbage"), None] {
        produce(&producer, bench.topic(), value);
    }
    super::bench::until("the log knows of them", || log.bounds(FIRST).durable_offset == Offset(3));
    let records = records(&log);
    assert_eq!(records[0], (false, b"{\"item\":\"v\"}".to_vec()));
    let why = |at: usize| Record::read(&records[at].1).expect_err("no event");
    assert_eq!(why(1), RecordError::Foreign(Unreadable::Format));
    assert_eq!(why(2), RecordError::Foreign(Unreadable::Empty));
}

#[test]
fn transactions_of_others_leave_no_gap_and_what_they_took_back_is_not_there() {
    let bench = Bench::new();
    let log = bench.open();
    let mut config = client();
    let producer: BaseProducer =
        config.set("transactional.id", bench.topic()).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("begun");
    for (value, is_kept) in [("{1", true), ("{2", false), ("{3", true)] {
        producer.begin_transaction().expect("begun");
        produce(&producer, bench.topic(), Some(value));
        match is_kept {
            true => producer.commit_transaction(PATIENCE).expect("committed"),
            false => producer.abort_transaction(PATIENCE).expect("taken back"),
        }
    }
    // Each transaction is a message and a marker; that the last place holds a marker too is proven.
    super::bench::until("all of it is known", || log.bounds(FIRST).durable_offset >= Offset(6));
    let records = records(&log);
    let vacant =
        (true, split(&Control::Vacant.payload()).next().expect("one").expect("whole").to_vec());
    let event = |value: &str| (false, value.as_bytes().to_vec());
    let expected =
        [event("{1"), vacant.clone(), vacant.clone(), vacant.clone(), event("{3"), vacant];
    assert_eq!(records[..6], expected);
    block_on(log.append(vec![part(FIRST, "after", 1)]).expect("taken"))
        .pop()
        .expect("one")
        .expect("durable");
}

#[test]
fn others_can_read_what_we_write() {
    let bench = Bench::new();
    let log = bench.open();
    let mut control = RecordBuf::new();
    Control::Settings { dedup_minutes: 10 }.push_to(&mut control);
    let control =
        engine::ports::AppendPart { partition: FIRST, records: control, is_control: true };
    block_on(log.append(vec![part(FIRST, "mine", 1), control]).expect("taken"));
    let mut config = client();
    let consumer: BaseConsumer = config.set("group.id", "others").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(bench.topic(), 0, rdkafka::Offset::Beginning).expect("a place");
    consumer.assign(&list).expect("assigned");
    let message = consumer.poll(PATIENCE).expect("a message").expect("readable");
    assert_eq!(message.key(), Some(&b"item"[..]));
    let value = message.payload().expect("a value");
    assert_eq!(value[..5], [0, 0, 0, 0, 1], "the Confluent wire format");
    assert_eq!(Record::read(&value[5..]).expect("our schema").id_text(), "mine-0");
    let message = consumer.poll(PATIENCE).expect("a message").expect("readable");
    assert_eq!(message.headers().expect("headers").get(0).key, "tally-control");
}

#[test]
fn what_cannot_be_told_now_waits_with_all_behind_it() {
    let bench = Bench::new();
    let foreign: Arc<AsTheyAre> = Arc::default();
    let log = bench.open_with(foreign.clone()).expect("opened");
    let producer: BaseProducer = client().create().expect("a producer");
    let written = |prefix: &str| {
        let appended = block_on(log.append(vec![part(FIRST, prefix, 1)]).expect("taken"));
        assert!(appended.iter().all(Result::is_ok), "durable");
    };
    foreign.is_away.store(true, Ordering::Relaxed);
    written("before");
    produce(&producer, bench.topic(), Some("{theirs"));
    written("after");
    let first = block_on(log.read(FIRST, Offset(0), 1 << 20)).expect("what comes before");
    assert_eq!(first.last().expect("one").next_offset(), Offset(1), "the rest waits");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| records(&log));
        std::thread::sleep(Duration::from_millis(600));
        assert!(!waiting.is_finished(), "nobody reads past it");
        foreign.is_away.store(false, Ordering::Relaxed);
        let records = waiting.join().expect("no panic");
        assert_eq!(records.len(), 3);
        assert_eq!(records[1].1, b"{theirs");
    });
}

#[test]
fn others_may_compress_as_they_like() {
    let bench = Bench::new();
    let log = bench.open();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let mut config = client();
        let producer: BaseProducer =
            config.set("compression.type", codec).create().expect("a producer");
        produce(&producer, bench.topic(), Some(&format!("{{{codec}{}", "x".repeat(2_000))));
    }
    super::bench::until("the log knows of them", || {
        log.bounds(FIRST).durable_offset == Offset(codecs.len() as u64)
    });
    for ((_, record), codec) in records(&log).iter().zip(codecs) {
        assert!(record.starts_with(format!("{{{codec}x").as_bytes()), "{codec}");
    }
}
