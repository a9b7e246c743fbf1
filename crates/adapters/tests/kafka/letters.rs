//! Dead letters that are told in a topic before the store has them.

use std::sync::Arc;
use std::time::Duration;

use adapters::kafka::ToldLetters;
use engine::conformance::counter_store as conformance;
use engine::conformance::mem_store::MemStore;
use engine::ports::{CounterStore, Flush};
use model::record::{RecordError, Unreadable};
use model::{Checkpoint, DeadLetter, Horizons, Offset, PartitionId, Retention, TimestampMs};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};

use super::bench::{Bench, client};

fn told(bench: &Bench, store: Arc<dyn CounterStore>) -> ToldLetters {
    ToldLetters::open(&bench.settings, store).expect("it opens")
}

#[test]
fn is_the_counter_store_behind_it() {
    let bench = Bench::new();
    conformance::all(|| Arc::new(told(&bench, Arc::new(MemStore::new()))));
}

#[test]
fn a_letter_is_told_with_where_it_stands_and_why() {
    let (bench, store) = (Bench::new(), Arc::new(MemStore::new()));
    let told = told(&bench, store.clone());
    let letter = DeadLetter {
        offset: Offset(4),
        append_time: TimestampMs(77),
        reason: RecordError::Foreign(Unreadable::Format),
        record: Unreadable::Format.record(b"garbage"),
    };
    let checkpoint = Checkpoint {
        log_epoch: 1,
        next_offset: Offset(5),
        append_time: TimestampMs(77),
        window_start_offset: Offset(0),
        window_start_minute: 0,
        window_minutes: 10,
        retention: Retention::FOREVER,
        horizons: Horizons::default(),
    };
    let flush = Flush {
        partition: PartitionId(1),
        dead_letters: std::slice::from_ref(&letter),
        sources: &[],
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    told.flush(&flush, &mut std::iter::empty()).expect("flushed");
    // A late one is refused by the store, and has told the same again.
    assert!(told.flush(&flush, &mut std::iter::empty()).is_err());
    let stored = store.snapshot().expect("a snapshot").dead_letters(PartitionId(1), Offset(0), 9);
    assert_eq!(stored.expect("read").len(), 1);
    let records = records(&format!("{}-dead-letters", bench.topic()));
    let expected = ("1/4".to_owned(), b"garbage".to_vec(), "4".to_owned());
    assert_eq!(records, [expected.clone(), expected]);
}

/// Key, value and the header that says the offset, of all records there are.
fn records(topic: &str) -> Vec<(String, Vec<u8>, String)> {
    let mut config = client();
    config.set("group.id", "look").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("assigned");
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
    let mut records = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(30)).expect("an answer") {
            Ok(message) => {
                let headers = message.headers().expect("headers");
                let mut of = headers.iter().filter(|header| header.key == "tally-offset");
                let offset = text(of.next().and_then(|header| header.value));
                let value = message.payload().unwrap_or_default().to_vec();
                records.push((text(message.key()), value, offset));
            }
            Err(KafkaError::PartitionEOF(_)) => return records,
            Err(error) => panic!("{error}"),
        }
    }
}
