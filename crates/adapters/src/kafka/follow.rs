//! Follows a topic of state: everything from an offset on, one record after the other, on a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use engine::ports::{ErrorKind, PortError};
use model::TimestampMs;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Timestamp, TopicPartitionList};

use super::reader::is_final;

/// How often [`Following::tick`] is called at least.
const TICK: Duration = Duration::from_millis(100);
/// A broker has so long to say where the topic ends.
const ANSWER: Duration = Duration::from_secs(5);

/// A record of a topic of state.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicRecord<'a> {
    pub(super) offset: u64,
    /// When the broker appended it; none where it did not say.
    pub(super) append_time: Option<TimestampMs>,
    pub(super) key: &'a [u8],
    /// None says that what the key names is gone.
    pub(super) value: Option<&'a [u8]>,
}

/// Who hears of records. Calls come one after the other.
pub(super) trait Following: Send + Sync + 'static {
    /// The next record. An offset that is not given out holds nothing any more.
    fn take(&self, record: &TopicRecord<'_>);

    /// Every record that the topic had a moment ago was given out.
    fn reached_end(&self);

    /// Nothing more is here now; what comes next may take a while.
    fn rests(&self);

    /// The topic cannot be followed any further.
    fn broke(&self, error: KafkaError);

    /// Something else may be done. `end` asks for the offset that the next record gets.
    fn tick(&self, end: &dyn Fn() -> Result<u64, PortError>);
}

/// The thread. Ends when it is dropped.
pub(super) struct Follower {
    consumer: Arc<BaseConsumer>,
    topic: String,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins at an offset; none is the oldest there is.
    pub(super) fn start(
        config: &ClientConfig,
        topic: &str,
        from: Option<u64>,
        following: Arc<impl Following>,
    ) -> Result<Self, PortError> {
        let mut config = config.clone();
        config
            // The group is only a name: nobody joins it to read.
            .set("group.id", format!("{topic}-followers"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true");
        let consumer: BaseConsumer = config.create().map_err(super::bad_client)?;
        let mut list = TopicPartitionList::new();
        let offset = match from {
            Some(from) => rdkafka::Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)),
            None => rdkafka::Offset::Beginning,
        };
        let assigned =
            list.add_partition_offset(topic, 0, offset).and_then(|()| consumer.assign(&list));
        assigned.map_err(|error| {
            let context = format!("the topic {topic} cannot be followed");
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        let consumer = Arc::new(consumer);
        let is_ending = Arc::new(AtomicBool::new(false));
        let (polled, ending, name) = (consumer.clone(), is_ending.clone(), topic.to_owned());
        let run = move || {
            while !ending.load(Ordering::Relaxed) {
                let next = polled.poll(Duration::ZERO).or_else(|| {
                    following.rests();
                    polled.poll(TICK)
                });
                match next {
                    None => {}
                    Some(Ok(message)) => give(&message, &*following),
                    Some(Err(KafkaError::PartitionEOF(_))) => following.reached_end(),
                    Some(Err(error)) if is_final(&error) => {
                        tracing::error!(
                            topic = name,
                            error = &error as &dyn std::error::Error,
                            "the topic cannot be followed any further"
                        );
                        return following.broke(error);
                    }
                    Some(Err(error)) => tracing::warn!(
                        topic = name,
                        error = &error as &dyn std::error::Error,
                        "following met an error; trying on"
                    ),
                }
                following.tick(&|| end_of(&polled, &name));
            }
        };
        let thread =
            Builder::new().name("kafka-follow".into()).spawn(run).map_err(super::no_thread)?;
        Ok(Self { consumer, topic: topic.to_owned(), is_ending, thread: Some(thread) })
    }

    /// The offset that a record gets that is appended now, if nobody else does.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers.
    pub(super) fn end(&self) -> Result<u64, PortError> {
        end_of(&self.consumer, &self.topic)
    }
}

fn end_of(consumer: &BaseConsumer, topic: &str) -> Result<u64, PortError> {
    let (_, end) = consumer.fetch_watermarks(topic, 0, ANSWER).map_err(|error| {
        let context = format!("nobody says where the topic {topic} ends");
        PortError::caused(ErrorKind::Unavailable, context, error)
    })?;
    Ok(u64::try_from(end).unwrap_or(0))
}

fn give(message: &impl Message, following: &impl Following) {
    let append_time = match message.timestamp() {
        Timestamp::LogAppendTime(millis) => Some(TimestampMs(millis)),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    };
    following.take(&TopicRecord {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        append_time,
        key: message.key().unwrap_or_default(),
        value: message.payload(),
    });
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
