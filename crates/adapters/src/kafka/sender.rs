//! Appends: each record becomes a message, and a part is answered when all of its messages are.
//!
//! The client never gives up a message of itself: a later one must not become readable while an
//! earlier one is gone, or a source's repeats would be told wrongly. What is not confirmed in time is
//! answered as unknown and stays on its way; while that is so its partition takes nothing more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use engine::ports::{AppendPart, Appended, ErrorKind, PartResult, PortError};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, join_all};
use model::record::split;
use model::{Offset, PartitionId, TimestampMs};
use parking_lot::{Mutex, MutexGuard};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::KafkaSettings;
use super::ends::Ends;
use super::message::{encode, headers};

/// What is not confirmed after so long is answered as unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// While the oldest unconfirmed part of a partition is older than this, it takes nothing more.
const STALL: Duration = Duration::from_secs(5);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);
/// At the end the client has so long to get its messages away.
const FLUSH: Duration = Duration::from_secs(15);
/// What a message takes beside its record, about.
const MESSAGE_BYTES: usize = 256;

/// Produces messages. Ends when it is dropped.
pub(super) struct Sender {
    producer: Arc<BaseProducer<Deliveries>>,
    flight: Arc<Flight>,
    topic: String,
    schema_id: u32,
    /// Messages of one request follow each other.
    turns: Vec<Mutex<()>>,
    bytes_max: usize,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is on its way.
#[derive(Default)]
struct Flight(Mutex<Under>);

#[derive(Default)]
struct Under {
    bytes: usize,
    /// Oldest first; those that are answered are taken out from the front.
    parts: VecDeque<(Instant, Arc<Part>)>,
}

/// One part on its way.
struct Part {
    partition: PartitionId,
    bytes: usize,
    fate: Mutex<PartFate>,
}

struct PartFate {
    /// Messages that are not confirmed.
    missing: u32,
    delivered: u32,
    base_offset: Offset,
    next_offset: Offset,
    append_time: TimestampMs,
    error: Option<KafkaError>,
    /// Whether every message that failed was surely not written.
    is_surely_unwritten: bool,
    /// Gone once the part was answered.
    reply: Option<oneshot::Sender<PartResult>>,
}

/// Hears what became of messages.
struct Deliveries {
    flight: Arc<Flight>,
    ends: Arc<Ends>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Part>;

    fn delivery(&self, result: &DeliveryResult<'_>, part: Arc<Part>) {
        let mut fate = part.fate.lock();
        match result {
            Ok(message) => {
                let offset = Offset(u64::try_from(message.offset()).unwrap_or(0));
                self.ends.note_appended(part.partition, offset.plus(1));
                fate.delivered(offset, message.timestamp().to_millis());
            }
            Err((error, _)) => fate.failed(error.clone()),
        }
        self.flight.settle(&part, fate);
    }
}

impl PartFate {
    fn delivered(&mut self, offset: Offset, append_ms: Option<i64>) {
        self.missing -= 1;
        if self.delivered == 0 {
            self.base_offset = offset;
        }
        self.delivered += 1;
        self.next_offset = self.next_offset.max(offset.plus(1));
        self.append_time = self.append_time.max(TimestampMs(append_ms.unwrap_or(0)));
    }

    fn failed(&mut self, error: KafkaError) {
        self.missing -= 1;
        self.is_surely_unwritten &= is_surely_unwritten(&error);
        self.error.get_or_insert(error);
    }

    fn result(&mut self, partition: PartitionId) -> PartResult {
        let Self { base_offset, next_offset, append_time, .. } = *self;
        let Some(error) = self.error.take() else {
            return Ok(Appended { partition, base_offset, next_offset, append_time });
        };
        if self.delivered == 0 && self.is_surely_unwritten {
            let context = format!("Kafka refuses what is written to partition {partition}");
            return Err(PortError::caused(ErrorKind::Unavailable, context, error));
        }
        let context = format!("whether all was written to partition {partition} is not known");
        Err(PortError::caused(ErrorKind::Conflict, context, error))
    }
}

/// Whether a failure says that the broker did not take the message, now or earlier.
fn is_surely_unwritten(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::InvalidTopic
                | Code::PolicyViolation
                | Code::QueueFull
                | Code::PurgeQueue
        )
    )
}

impl Flight {
    /// Takes so many bytes, or says why nothing is taken.
    fn take_off(&self, parts: &[Arc<Part>], bytes_max: usize) -> Result<(), PortError> {
        let mut under = self.0.lock();
        while under.parts.front().is_some_and(|(_, part)| part.fate.lock().missing == 0) {
            under.parts.pop_front();
        }
        let stalled = under.parts.iter().take_while(|(since, _)| since.elapsed() > STALL);
        let mut stalled = stalled.filter(|(_, part)| part.fate.lock().missing > 0);
        let is_wanted =
            |waiting: &Arc<Part>| parts.iter().any(|p| p.partition == waiting.partition);
        if let Some((since, part)) = stalled.find(|(_, part)| is_wanted(part)) {
            let (partition, seconds) = (part.partition, since.elapsed().as_secs());
            let context =
                format!("Kafka has confirmed nothing of partition {partition} for {seconds} s");
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
        let bytes: usize = parts.iter().map(|part| part.bytes).sum();
        // A request that alone is larger is taken when nothing else is under way.
        if under.bytes > 0 && under.bytes + bytes > bytes_max {
            let context = "too much waits for Kafka's confirmation";
            return Err(PortError::new(ErrorKind::Overloaded, context));
        }
        under.bytes += bytes;
        let now = Instant::now();
        under.parts.extend(parts.iter().map(|part| (now, part.clone())));
        Ok(())
    }

    /// Answers a part whose last message has its fate, and takes it off what is on its way.
    fn settle(&self, part: &Part, mut fate: MutexGuard<'_, PartFate>) {
        if fate.missing > 0 {
            return;
        }
        let result = fate.result(part.partition);
        let reply = fate.reply.take();
        // Whoever looks at what is on its way locks that first, and then fates.
        drop(fate);
        self.0.lock().bytes -= part.bytes;
        // Who no longer waits does not need to know.
        reply.map(|reply| reply.send(result));
    }

    /// Answers what has waited for too long. It stays on its way.
    fn answer_late(&self) {
        let late: Vec<Arc<Part>> = {
            let under = self.0.lock();
            let is_late = |(since, _): &&(Instant, Arc<Part>)| since.elapsed() > ANSWER_WITHIN;
            under.parts.iter().take_while(is_late).map(|(_, part)| part.clone()).collect()
        };
        for part in late {
            let Some(reply) = part.fate.lock().reply.take() else { continue };
            let context = format!(
                "Kafka did not confirm what was written to partition {} within {} s; it may do so yet",
                part.partition,
                ANSWER_WITHIN.as_secs()
            );
            drop(reply.send(Err(PortError::new(ErrorKind::Conflict, context))));
        }
    }
}

impl Sender {
    /// A producer for a topic with so many partitions.
    pub(super) fn start(
        settings: &KafkaSettings,
        partitions: u16,
        ends: Arc<Ends>,
    ) -> Result<Self, PortError> {
        let mut config = settings.client()?;
        let defaults = [("compression.type", "lz4"), ("linger.ms", "2"), ("batch.size", "1000000")];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            // What waits is bounded here, before anything is taken.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647");
        let flight: Arc<Flight> = Arc::default();
        let context = Deliveries { flight: flight.clone(), ends };
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(context).map_err(super::bad_client)?;
        let producer = Arc::new(producer);
        let is_ending = Arc::new(AtomicBool::new(false));
        let (polled, expiring, ending) = (producer.clone(), flight.clone(), is_ending.clone());
        let run = move || {
            while !ending.load(Ordering::Relaxed) {
                polled.poll(TICK);
                expiring.answer_late();
            }
        };
        let thread =
            Builder::new().name("kafka-send".into()).spawn(run).map_err(super::no_thread)?;
        Ok(Self {
            producer,
            flight,
            topic: settings.place.topic.clone(),
            schema_id: settings.place.schema_id,
            turns: (0..partitions).map(|_| Mutex::default()).collect(),
            bytes_max: settings.queue_bytes_max,
            is_ending,
            thread: Some(thread),
        })
    }

    /// See [`engine::ports::EventLog::append`]; every part has records, and a partition that is
    /// there.
    pub(super) fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        if let Some((_, why)) = self.producer.client().fatal_error() {
            let context = format!("Kafka's client has failed for good, restart the server: {why}");
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
        let (under_way, receivers): (Vec<_>, Vec<_>) = parts.iter().map(under_way).unzip();
        self.flight.take_off(&under_way, self.bytes_max)?;
        for (part, under_way) in parts.iter().zip(&under_way) {
            let _turn = self.turns[usize::from(part.partition.0)].lock();
            self.send(part, under_way);
        }
        let unanswered = |_| {
            let context = "the log has ended; whether it wrote is unknown";
            Err(PortError::new(ErrorKind::Conflict, context))
        };
        let answers = receivers
            .into_iter()
            .map(move |receiver| receiver.map(move |result| result.unwrap_or_else(unanswered)));
        Ok(join_all(answers).boxed())
    }

    fn send(&self, part: &AppendPart, under_way: &Arc<Part>) {
        let mut value = Vec::new();
        let partition = i32::from(part.partition.0);
        for record in split(part.records.payload()) {
            let record = record.unwrap_or_default();
            let key = encode(record, part.is_control, self.schema_id, &mut value);
            let mut message = BaseRecord::with_opaque_to(&self.topic, under_way.clone())
                .partition(partition)
                .payload(value.as_slice())
                .headers(headers(part.is_control));
            message.key = key;
            if let Err((error, _)) = self.producer.send(message) {
                let deliveries = self.producer.context();
                deliveries.refused(error, under_way);
            }
        }
    }
}

impl Deliveries {
    /// The client did not take a message.
    fn refused(&self, error: KafkaError, part: &Arc<Part>) {
        let mut fate = part.fate.lock();
        fate.failed(error);
        self.flight.settle(part, fate);
    }
}

fn under_way(part: &AppendPart) -> (Arc<Part>, oneshot::Receiver<PartResult>) {
    let (reply, receiver) = oneshot::channel();
    let missing = part.records.record_count();
    let fate = PartFate {
        missing,
        delivered: 0,
        base_offset: Offset(0),
        next_offset: Offset(0),
        append_time: TimestampMs(0),
        error: None,
        is_surely_unwritten: true,
        reply: Some(reply),
    };
    let bytes = part.records.len() + missing as usize * MESSAGE_BYTES;
    (Arc::new(Part { partition: part.partition, bytes, fate: Mutex::new(fate) }), receiver)
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Waits for the confirmations; the thread hears them meanwhile.
        if let Err(error) = self.producer.flush(FLUSH) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the log ends, and Kafka has not confirmed everything that was on its way"
            );
        }
        self.is_ending.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
