//! The log as a topic of Kafka: its partitions are ours, its offsets too, one message a record.
//!
//! Many processes write and read it, ours and others. What is written is confirmed by all in-sync
//! replicas before anybody is told (`sender`); who reads has a place of their own (`reader`); where
//! partitions end is asked again and again (`ends`). The topic is made or checked at start (`topic`);
//! what messages look like is in `message`, how the setting names all this in `place`; processors that
//! share the topic meet in `group`. What everybody must know beside the log is in compacted topics next
//! to it (`state_topic`, `follow`): which partition events go to (`routing`), and what is known of items
//! beside their counts (`details`); what could not be counted is told there (`letters`).

mod confirmed;
mod details;
mod ends;
mod follow;
mod gather;
mod group;
mod letters;
mod message;
mod place;
mod pump;
mod reach;
mod reader;
mod routing;
mod sender;
mod state_topic;
mod topic;

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use engine::ports::{AppendPart, Clock, ErrorKind, EventLog, LogBounds, PartResult, PortError};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::{AppendClock, ImplausibleClock};
use model::control::Control;
use model::record::Unreadable;
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

pub use self::details::KafkaDetails;
pub use self::group::KafkaGroup;
pub use self::letters::ToldLetters;
pub use self::message::ForeignMessage;
pub use self::place::{KafkaPlace, KafkaPlaceError};
pub use self::routing::KafkaRouting;

use self::ends::{Ends, Watch};
use self::reader::Reader;
use self::sender::Sender;

/// The identity of a topic, which never changes: one that was made anew ends below what was counted
/// of the old one, and that is refused.
const LOG_EPOCH: u32 = 1;

/// Reads what others produced. What it says is a function of the message alone, or of what nobody
/// changes any more, as schemas in a registry.
pub trait Foreign: Send + Sync {
    /// The record of a message, the Avro binary of model's schema, or why it is no event.
    ///
    /// # Errors
    /// `Away` where that cannot be told now: the partition waits, and asks again.
    fn record(&self, message: &ForeignMessage<'_>) -> Result<Result<Vec<u8>, Unreadable>, Away>;
}

/// Whoever knows how to read a message does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// How the log is opened.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Where it is.
    pub place: KafkaPlace,
    /// Number of partitions; none takes what is there.
    pub partitions: Option<u16>,
    /// Number of partitions of a topic that is made.
    pub partitions_default: u16,
    /// How long messages stay in a topic that is made, in milliseconds.
    pub retention_ms: i64,
    /// How long they must stay at least, in milliseconds.
    pub retention_needed_ms: i64,
    /// What may wait for confirmation, in bytes.
    pub queue_bytes_max: usize,
}

impl KafkaSettings {
    fn client(&self) -> Result<ClientConfig, PortError> {
        self.place.client().map_err(|error| {
            let context = format!("the log {} cannot be opened", self.place);
            PortError::caused(ErrorKind::Invalid, context, error)
        })
    }
}

/// The log of a topic. Closes when it is dropped.
pub struct KafkaLog {
    // Who appends goes first: what is on its way is confirmed while the others still live.
    sender: Sender,
    watch: Watch,
    reader: Arc<Reader>,
    ends: Arc<Ends>,
    clock: Arc<dyn Clock>,
    append_clock: Mutex<AppendClock>,
    cluster: String,
    known_elsewhere: OnceLock<Box<KnownUntil>>,
}

/// The time up to which something is known that goes with the log.
type KnownUntil = dyn Fn() -> TimestampMs + Send + Sync;

impl KafkaLog {
    /// Opens the topic, or makes it.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers or the topic cannot be made, `Invalid` where the brokers
    /// refuse the user or their certificate is not trusted, and where the topic or the settings are such
    /// that counting would not be exact.
    pub fn open(
        settings: &KafkaSettings,
        clock: Arc<dyn Clock>,
        foreign: Arc<dyn Foreign>,
    ) -> Result<Self, PortError> {
        let config = settings.client()?;
        reach::reach(settings)?;
        let admin: AdminClient<DefaultClientContext> = config.create().map_err(bad_client)?;
        let partitions = topic::ensure(settings, &admin)?;
        let cluster = admin.inner().fetch_cluster_id(std::time::Duration::from_secs(10));
        let cluster = cluster.ok_or_else(|| {
            let context = format!("the cluster of {} does not say who it is", settings.place);
            PortError::new(ErrorKind::Unavailable, context)
        })?;
        let ends = Arc::new(Ends::new(partitions));
        let reader = Arc::new(Reader::new(settings, ends.clone(), foreign)?);
        let asking: BaseConsumer = settings
            .client()?
            .set("isolation.level", "read_committed")
            .create()
            .map_err(bad_client)?;
        let waking = reader.clone();
        let topic = settings.place.topic.clone();
        let watch =
            Watch::start(asking, topic, ends.clone(), clock.clone(), move || waking.wake_all())?;
        let sender = Sender::start(settings, partitions, ends.clone())?;
        let append_clock = Mutex::new(AppendClock::start(TimestampMs(0), clock.now()));
        let known_elsewhere = OnceLock::new();
        Ok(Self { sender, watch, reader, ends, clock, append_clock, cluster, known_elsewhere })
    }

    /// The log's time is never ahead of this from now on: nobody calls complete what they find by a
    /// routing table that is older. The first one holds.
    pub fn know_no_more_than(&self, known_until: Box<KnownUntil>) {
        self.known_elsewhere.get_or_init(|| known_until);
    }

    /// The id that the cluster gave itself.
    pub fn cluster_id(&self) -> &str {
        &self.cluster
    }

    /// Ends every read that waits.
    pub fn close(&self) {
        self.reader.close();
    }

    fn check(&self, partition: PartitionId) -> Result<(), PortError> {
        if partition.0 < self.ends.count() {
            return Ok(());
        }
        Err(PortError::new(ErrorKind::Invalid, format!("there is no partition {partition}")))
    }

    /// Whether the log can be read from an offset on.
    fn check_offset(&self, partition: PartitionId, from: Offset) -> Result<(), PortError> {
        self.check(partition)?;
        if from > self.ends.of(partition).durable_offset {
            self.watch.look_at(partition)?;
        }
        let LogBounds { start_offset, durable_offset, .. } = self.ends.of(partition);
        if (start_offset..=durable_offset).contains(&from) {
            return Ok(());
        }
        let context = format!(
            "partition {partition} holds the offsets from {start_offset} to {durable_offset} and \
             not {from}"
        );
        Err(PortError::new(ErrorKind::Invalid, context))
    }

    /// Appends a record whose place proves what stands before it: markers of transactions alone do
    /// not show.
    fn probe(&self, partition: PartitionId) {
        let records = Control::Vacant.records();
        let part = AppendPart { partition, records, is_control: true };
        // Whether it succeeds shows in what can be read; else it is tried again.
        drop(self.sender.append(vec![part]));
    }
}

impl EventLog for KafkaLog {
    fn partitions(&self) -> u16 {
        self.ends.count()
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        parts.iter().try_for_each(|part| self.check(part.partition))?;
        if parts.iter().any(|part| part.records.is_empty()) {
            return Err(PortError::new(ErrorKind::Invalid, "a part has no records"));
        }
        self.sender.append(parts)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        async move {
            self.check_offset(partition, from)?;
            let mut taken = self.reader.take(partition, from)?;
            let probe = || self.probe(partition);
            poll_fn(|context| taken.poll(context, bytes_max, &probe)).await
        }
        .boxed()
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        self.ends.of(partition)
    }

    /// The brokers let go of what is older than the topic's retention.
    fn trim(&self, partition: PartitionId, _: Offset) -> Result<(), PortError> {
        self.check(partition)
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        let own = self.append_clock.lock().now(self.clock.now())?;
        let elsewhere = self.known_elsewhere.get().map_or(own, |known_until| known_until());
        Ok(own.min(self.ends.known_until()).min(elsewhere))
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn bad_client(error: KafkaError) -> PortError {
    let context = "Kafka's client does not take its options; see the setting `log`";
    PortError::caused(ErrorKind::Invalid, context, error)
}

fn no_thread(error: std::io::Error) -> PortError {
    PortError::caused(ErrorKind::Unavailable, "no thread for Kafka's client", error)
}
