//! The topic of a log: made where it is missing, checked where it is there. What counting depends on
//! is refused when it is otherwise, with the command that sets it right.

use std::time::{Duration, Instant};

use engine::ports::{ErrorKind, PortError};
use futures::executor::block_on;
use model::limits::PARTITIONS_MAX;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::{KafkaPlace, KafkaSettings};

/// Brokers have so long to answer at start.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// A topic that was just made is known to all brokers after so long.
const SPREAD: Duration = Duration::from_secs(30);
/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The number of partitions of the topic, once it is there and fit.
pub(super) fn ensure(
    settings: &KafkaSettings,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<u16, PortError> {
    let (place, topic) = (&settings.place, settings.place.topic.as_str());
    if partitions(place, topic, admin)?.is_none() {
        make(settings, admin)?;
    }
    let partitions = appearing(place, topic, admin)?;
    if let Some(wanted) = settings.partitions.filter(|wanted| *wanted != partitions.count) {
        return Err(refused(format!(
            "the setting `partitions` is {wanted}, but the topic {} has {}: leave the setting out, or \
             name another topic",
            settings.place.topic, partitions.count
        )));
    }
    check(settings, admin, partitions.copies)?;
    Ok(partitions.count)
}

pub(super) struct Partitions {
    pub(super) count: u16,
    /// The least number of copies of a partition.
    pub(super) copies: usize,
}

/// What the cluster says of a topic that was just made, as soon as it does.
pub(super) fn appearing(
    place: &KafkaPlace,
    topic: &str,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<Partitions, PortError> {
    let deadline = Instant::now() + SPREAD;
    loop {
        match partitions(place, topic, admin)? {
            Some(partitions) => return Ok(partitions),
            None if Instant::now() > deadline => {
                let context = format!("the topic {topic} was made but does not appear");
                return Err(PortError::new(ErrorKind::Unavailable, context));
            }
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// What the cluster says of a topic; none where it is not there.
pub(super) fn partitions(
    place: &KafkaPlace,
    topic: &str,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<Option<Partitions>, PortError> {
    let client: &Client<_> = admin.inner();
    let metadata = client.fetch_metadata(Some(topic), ANSWER).map_err(|error| {
        let context = format!(
            "no broker of {place} answers within {} s; is Kafka running, and are the options right?",
            ANSWER.as_secs()
        );
        PortError::caused(ErrorKind::Unavailable, context, error)
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let is_there = |topic: &&MetadataTopic| topic.error().is_none();
    let Some(found) = found.filter(is_there).filter(|found| !found.partitions().is_empty()) else {
        return Ok(None);
    };
    let all = found.partitions();
    let count = u16::try_from(all.len()).ok().filter(|count| *count <= PARTITIONS_MAX);
    let count = count.ok_or_else(|| {
        refused(format!(
            "the topic {topic} has {} partitions; at most {PARTITIONS_MAX} are counted",
            all.len()
        ))
    })?;
    // One that has just been made may not have chosen its leaders.
    if all.iter().any(|partition| partition.leader() < 0 && partition.replicas().is_empty()) {
        return Ok(None);
    }
    let copies = all.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    Ok(Some(Partitions { count, copies }))
}

fn make(
    settings: &KafkaSettings,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<(), PortError> {
    let topic = settings.place.topic.as_str();
    let partitions = i32::from(settings.partitions.unwrap_or(settings.partitions_default));
    // -1 is what the brokers have by default.
    let copies = settings.place.replication_factor.unwrap_or(-1);
    let retention_ms = settings.retention_ms.to_string();
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies))
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", "delete")
        .set("unclean.leader.election.enable", "false")
        .set("retention.ms", &retention_ms);
    if copies >= 3 {
        wanted = wanted.set("min.insync.replicas", "2");
    }
    create(&wanted, admin)
}

/// Makes a topic, or finds that another process was faster.
pub(super) fn create(
    wanted: &NewTopic<'_>,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<(), PortError> {
    let topic = wanted.name;
    let options = AdminOptions::new().operation_timeout(Some(SPREAD)).request_timeout(Some(SPREAD));
    let failed = |error: KafkaError| {
        let context = format!("the topic {topic} is not there and cannot be made");
        PortError::caused(ErrorKind::Unavailable, context, error)
    };
    let made = block_on(admin.create_topics([wanted], &options)).map_err(failed)?;
    match made.into_iter().next() {
        // Another process was faster.
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            tracing::info!(topic, partitions = wanted.num_partitions, "topic made");
            Ok(())
        }
        Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
        None => Err(refused(format!("the topic {topic} was neither made nor refused"))),
    }
}

/// Refuses a topic on which counting would not be exact.
fn check(
    settings: &KafkaSettings,
    admin: &AdminClient<DefaultClientContext>,
    copies: usize,
) -> Result<(), PortError> {
    let topic = settings.place.topic.as_str();
    let described = described(topic, admin)?;
    if copies < 2 {
        tracing::warn!(
            topic,
            "each event is on one broker only: it is lost with that broker's disk"
        );
    }
    judge(&described, topic, copies, settings.retention_needed_ms)
}

/// The configuration of a topic.
pub(super) fn described(
    topic: &str,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<ConfigResource, PortError> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let failed = |error: KafkaError| {
        let context = format!(
            "the configuration of the topic {topic} cannot be read: whoever counts needs \
             DescribeConfigs on it"
        );
        PortError::caused(ErrorKind::Unavailable, context, error)
    };
    let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    match described.map_err(failed)?.into_iter().next() {
        Some(Ok(described)) => Ok(described),
        Some(Err(code)) => Err(failed(KafkaError::AdminOp(code))),
        None => Err(failed(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopic))),
    }
}

/// Says what is wrong with a topic's configuration, and what sets it right.
fn judge(
    described: &ConfigResource,
    topic: &str,
    copies: usize,
    retention_needed_ms: i64,
) -> Result<(), PortError> {
    let of = |name: &str| config_of(described, name);
    let wrong = |name: &str, why: &str, set: &str| wrong_config(topic, described, name, why, set);
    judge_copies(described, topic, copies)?;
    if of("message.timestamp.type") != "LogAppendTime" {
        let why = "repeats are told by the time at which the broker appended a message";
        return Err(wrong("message.timestamp.type", why, "LogAppendTime"));
    }
    if of("cleanup.policy").contains("compact") {
        let why = "compaction would remove events that are to be counted";
        return Err(wrong("cleanup.policy", why, "delete"));
    }
    let retention_ms: i64 = of("retention.ms").parse().unwrap_or(-1);
    if (0..retention_needed_ms).contains(&retention_ms) {
        let why = "events must stay until they have left the dedup window and are counted";
        return Err(wrong("retention.ms", why, &retention_needed_ms.to_string()));
    }
    Ok(())
}

/// Says what is wrong with how a topic is replicated, and what sets it right.
pub(super) fn judge_copies(
    described: &ConfigResource,
    topic: &str,
    copies: usize,
) -> Result<(), PortError> {
    let wrong = |name: &str, why: &str, set: &str| wrong_config(topic, described, name, why, set);
    if copies > 1 && config_of(described, "unclean.leader.election.enable") == "true" {
        let why = "a broker that lacks what was acknowledged must not become the leader";
        return Err(wrong("unclean.leader.election.enable", why, "false"));
    }
    let in_sync: usize = config_of(described, "min.insync.replicas").parse().unwrap_or(1);
    if copies >= 3 && in_sync < 2 {
        let why = "what is acknowledged would be on one broker alone while others are away";
        return Err(wrong("min.insync.replicas", why, "2"));
    }
    Ok(())
}

/// The value of a topic's option; empty where it is not told.
pub(super) fn config_of(described: &ConfigResource, name: &str) -> String {
    described.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
}

/// What is wrong with a topic's option, and the command that sets it right.
pub(super) fn wrong_config(
    topic: &str,
    described: &ConfigResource,
    name: &str,
    why: &str,
    set: &str,
) -> PortError {
    let has = config_of(described, name);
    refused(format!(
        "the topic {topic} has {name}={has}, but {why}; set it right with kafka-configs.sh --alter \
         --entity-type topics --entity-name {topic} --add-config {name}={set}"
    ))
}

pub(super) fn refused(context: String) -> PortError {
    PortError::new(ErrorKind::Invalid, context)
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    fn described(entries: &[(&str, &str)]) -> ConfigResource {
        let entry = |(name, value): &(&str, &str)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        let specifier = OwnedResourceSpecifier::Topic("t".to_owned());
        ConfigResource { specifier, entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn a_topic_that_would_not_count_exactly_is_refused_with_what_sets_it_right() {
        let good = [
            ("message.timestamp.type", "LogAppendTime"),
            ("cleanup.policy", "delete"),
            ("unclean.leader.election.enable", "false"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "3600000"),
        ];
        let judge_with = |name: &str, value: &str, copies| {
            let change = |(known, usual): (&'static str, &'static str)| {
                (known, if known == name { value.to_owned() } else { usual.to_owned() })
            };
            let entries = good.map(change);
            let entries: Vec<_> =
                entries.iter().map(|(name, value)| (*name, value.as_str())).collect();
            judge(&described(&entries), "t", copies, 3_600_000)
        };
        judge_with("", "", 3).expect("a good topic");
        judge_with("retention.ms", "-1", 3).expect("for ever is long enough");
        judge_with("min.insync.replicas", "1", 1).expect("there is one copy only");
        for (name, value) in [
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "compact,delete"),
            ("unclean.leader.election.enable", "true"),
            ("min.insync.replicas", "1"),
            ("retention.ms", "3599999"),
        ] {
            let error = judge_with(name, value, 3).expect_err(name);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.context.contains(&format!("--add-config {name}=")), "{error}");
        }
    }
}
