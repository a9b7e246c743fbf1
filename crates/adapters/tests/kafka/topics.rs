//! The topic: made as counting needs it, refused where it is otherwise.

use engine::ports::{ErrorKind, EventLog};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::bench::{Bench, client};

#[test]
fn a_topic_is_made_once_and_has_its_partitions_for_ever() {
    let mut bench = Bench::new();
    bench.settings.partitions_default = 5;
    assert_eq!(bench.open().partitions(), 5);
    bench.settings.partitions_default = 2;
    assert_eq!(bench.open().partitions(), 5);
    bench.settings.partitions = Some(5);
    let log = bench.open();
    assert_eq!(log.cluster_id(), bench.open().cluster_id());
    bench.settings.partitions = Some(4);
    let error = bench.try_open().err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.context.contains("has 5"), "{error}");
}

#[test]
fn a_topic_with_times_of_producers_is_refused_with_the_command_that_helps() {
    let bench = Bench::new();
    let admin: AdminClient<DefaultClientContext> = client().create().expect("a client");
    let topic = NewTopic::new(bench.topic(), 1, TopicReplication::Fixed(1));
    let made = block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("answered");
    made.into_iter().next().expect("one").expect("made");
    let error = bench.try_open().err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid);
    let command = format!(
        "--entity-name {} --add-config message.timestamp.type=LogAppendTime",
        bench.topic()
    );
    assert!(error.context.contains(&command), "{error}");
}

#[test]
fn brokers_that_are_not_there_are_named() {
    let mut bench = Bench::new();
    bench.settings.place = "kafka://127.0.0.1:1/t".parse().expect("a place");
    let error = bench.try_open().err().expect("nobody answers");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.context.contains("kafka://127.0.0.1:1/t"), "{error}");
}
