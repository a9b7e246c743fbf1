//! The share of a processor in the topic: a consumer group says which partitions are its own. Its
//! consumer reads nothing; the offsets that it commits are for lag tools to show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use engine::ports::{ErrorKind, Membership, Owner, PortError};
use model::{Offset, PartitionId};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::{KafkaLog, KafkaSettings};

/// How often the group is asked for news at least.
const TICK: Duration = Duration::from_millis(200);

/// Membership in the group of a place.
pub struct KafkaGroup {
    config: ClientConfig,
    topic: String,
    log: Arc<KafkaLog>,
    is_ending: Arc<AtomicBool>,
    joined: Mutex<Option<Joined>>,
}

struct Joined {
    consumer: Weak<BaseConsumer<Changes>>,
    thread: JoinHandle<()>,
}

/// Hears of changes, and passes them on.
struct Changes {
    owner: Arc<dyn Owner>,
    log: Arc<KafkaLog>,
}

impl KafkaGroup {
    /// Joins nothing yet. The log is that of the same place.
    ///
    /// # Errors
    /// Where the options of the place cannot be read.
    pub fn new(settings: &KafkaSettings, log: Arc<KafkaLog>) -> Result<Self, PortError> {
        let mut config = settings.client()?;
        // A member that died is known to be dead after so long.
        for (name, value) in [("session.timeout.ms", "10000"), ("heartbeat.interval.ms", "2000")] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            .set("group.id", &settings.place.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        let topic = settings.place.topic.clone();
        let is_ending = Arc::new(AtomicBool::new(false));
        Ok(Self { config, topic, log, is_ending, joined: Mutex::default() })
    }

    /// How many members the group has now.
    ///
    /// # Errors
    /// `Unavailable` where nobody answers.
    pub fn members(&self) -> Result<usize, PortError> {
        let name = self.config.get("group.id");
        let groups = self.log.watch.groups(name).map_err(|error| {
            let context = "nobody says who is in the group of processors";
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        Ok(groups.groups().iter().map(|group| group.members().len()).sum())
    }
}

impl Membership for KafkaGroup {
    fn join(&self, owner: Arc<dyn Owner>) -> Result<(), PortError> {
        let mut joined = self.joined.lock();
        if joined.is_some() {
            return Err(PortError::new(ErrorKind::Conflict, "the group was joined before"));
        }
        let (is_ending, changes) =
            (self.is_ending.clone(), Changes { owner, log: self.log.clone() });
        let consumer: BaseConsumer<Changes> =
            self.config.create_with_context(changes).map_err(super::bad_client)?;
        consumer.subscribe(&[&self.topic]).map_err(super::bad_client)?;
        let consumer = Arc::new(consumer);
        let weak = Arc::downgrade(&consumer);
        let run = move || {
            while !is_ending.load(Ordering::Relaxed) {
                // Messages that came before the partition was paused are read elsewhere.
                if let Some(Err(error)) = consumer.poll(TICK) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the group of processors met an error; trying on"
                    );
                }
            }
            // Leaves the group, which revokes what is assigned.
            drop(consumer);
        };
        let thread =
            Builder::new().name("kafka-group".into()).spawn(run).map_err(super::no_thread)?;
        *joined = Some(Joined { consumer: weak, thread });
        Ok(())
    }

    fn note_progress(&self, progress: &[(PartitionId, Offset)]) {
        let joined = self.joined.lock();
        let Some(consumer) = joined.as_ref().and_then(|joined| joined.consumer.upgrade()) else {
            return;
        };
        let mut list = TopicPartitionList::new();
        for (partition, offset) in progress {
            let offset = rdkafka::Offset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
            let id = i32::from(partition.0);
            if list.add_partition_offset(&self.topic, id, offset).is_err() {
                return;
            }
        }
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "no offsets were committed");
        }
    }

    fn leave(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(joined) = self.joined.lock().take() {
            drop(joined.consumer);
            drop(joined.thread.join());
        }
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.leave();
    }
}

impl ClientContext for Changes {}

impl ConsumerContext for Changes {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let partitions = partitions_of(list);
        let is_lost = consumer.assignment_lost();
        tracing::info!(?partitions, is_lost, "partitions go to somebody else");
        match is_lost {
            true => self.owner.lost(&partitions),
            false => self.owner.revoked(&partitions),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Whoever counts reads for themselves.
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(error = &error as &dyn std::error::Error, "partitions are not paused");
        }
        let (partitions, added): (Vec<_>, Vec<_>) =
            partitions_of(list).into_iter().partition(|id| id.0 < self.log.ends.count());
        if !added.is_empty() {
            tracing::error!(
                ?added,
                "the topic was given partitions while this process runs: they are counted once all \
                 processes were started again"
            );
        }
        tracing::info!(?partitions, "partitions are ours to count");
        // Whoever had them may have counted further than this process knows the log to go: the owner waits
        // for that, for each on its own.
        self.owner.assigned(&partitions);
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<PartitionId> {
    let ids = list.elements().into_iter().map(|element| element.partition());
    ids.filter_map(|id| u16::try_from(id).ok()).map(PartitionId).collect()
}
