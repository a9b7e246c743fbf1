//! Topics that keep state beside the log: one partition, compacted, so that they are read from the
//! beginning by whoever starts and then followed. Made where one is missing, checked where it is there.

use engine::ports::{ErrorKind, PortError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, ConfigResource, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::KafkaSettings;
use super::place::is_topic;
use super::topic::{
    appearing, config_of, create, described, judge_copies, partitions, refused, wrong_config,
};

/// What is younger than this is never compacted: an hour of everything is there to be read.
const COMPACTION_LAG_MS: &str = "3600000";
/// Only segments that are closed are compacted: one is after so long.
const SEGMENT_MS: &str = "21600000";

/// A topic of state.
pub(super) struct StateTopic {
    pub(super) name: String,
    /// What its clients are configured with.
    pub(super) config: ClientConfig,
}

impl StateTopic {
    /// The topic that keeps `what` beside the log, once it is there and fit.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers or it cannot be made, `Invalid` where it is not fit.
    pub(super) fn ensure(settings: &KafkaSettings, what: &str) -> Result<Self, PortError> {
        let place = &settings.place;
        let name = format!("{}-{what}", place.topic);
        if !is_topic(&name) {
            let context = format!("the topic {} has too long a name: {name} is none", place.topic);
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        let config = settings.client()?;
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(super::bad_client)?;
        if partitions(place, &name, &admin)?.is_none() {
            make(settings, &name, &admin)?;
        }
        let found = appearing(place, &name, &admin)?;
        if found.count != 1 {
            return Err(refused(format!(
                "the topic {name} has {} partitions, but what it keeps has one order: it must have one",
                found.count
            )));
        }
        judge(&described(&name, &admin)?, &name, found.copies)?;
        Ok(Self { name, config })
    }
}

fn make(
    settings: &KafkaSettings,
    name: &str,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<(), PortError> {
    // -1 is what the brokers have by default.
    let copies = settings.place.replication_factor.unwrap_or(-1);
    let mut wanted = NewTopic::new(name, 1, TopicReplication::Fixed(copies))
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", "compact")
        .set("min.compaction.lag.ms", COMPACTION_LAG_MS)
        .set("segment.ms", SEGMENT_MS)
        .set("unclean.leader.election.enable", "false");
    if copies >= 3 {
        wanted = wanted.set("min.insync.replicas", "2");
    }
    create(&wanted, admin)
}

/// Says what is wrong with a topic's configuration, and what sets it right.
fn judge(described: &ConfigResource, topic: &str, copies: usize) -> Result<(), PortError> {
    let wrong = |name: &str, why: &str, set: &str| wrong_config(topic, described, name, why, set);
    judge_copies(described, topic, copies)?;
    if config_of(described, "message.timestamp.type") != "LogAppendTime" {
        let why = "what it keeps goes by the time at which the broker appended it";
        return Err(wrong("message.timestamp.type", why, "LogAppendTime"));
    }
    if config_of(described, "cleanup.policy") != "compact" {
        let why = "what it keeps is kept for ever";
        return Err(wrong("cleanup.policy", why, "compact"));
    }
    let lag_ms: i64 = config_of(described, "min.compaction.lag.ms").parse().unwrap_or(0);
    if lag_ms < COMPACTION_LAG_MS.parse().unwrap_or(i64::MAX) {
        let why = "what was written in the last hour is to be read whole";
        return Err(wrong("min.compaction.lag.ms", why, COMPACTION_LAG_MS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::{ConfigEntry, ConfigSource, OwnedResourceSpecifier};

    use super::*;

    #[test]
    fn a_topic_that_would_forget_is_refused_with_what_sets_it_right() {
        let judge_with = |name: &str, value: &str| {
            let good = [
                ("message.timestamp.type", "LogAppendTime"),
                ("cleanup.policy", "compact"),
                ("min.compaction.lag.ms", COMPACTION_LAG_MS),
                ("min.insync.replicas", "2"),
                ("unclean.leader.election.enable", "false"),
            ];
            let entry = |(known, usual): (&str, &str)| ConfigEntry {
                name: known.to_owned(),
                value: Some(if known == name { value } else { usual }.to_owned()),
                source: ConfigSource::DynamicTopic,
                is_read_only: false,
                is_default: false,
                is_sensitive: false,
            };
            let specifier = OwnedResourceSpecifier::Topic("t".to_owned());
            let entries = good.map(entry).into_iter().collect();
            judge(&ConfigResource { specifier, entries }, "t", 3)
        };
        judge_with("", "").expect("a good topic");
        for (name, value) in [
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "delete"),
            ("cleanup.policy", "compact,delete"),
            ("min.compaction.lag.ms", "0"),
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
        ] {
            let error = judge_with(name, value).expect_err(name);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.context.contains(&format!("--add-config {name}=")), "{error}");
        }
    }
}
