//! Reads: a few consumers, each of which has a place in every partition that was read by it.
//!
//! Who reads on finds the place where the read before ended, with messages fetched ahead. Who reads
//! elsewhere, as recounts and the archiver do, gets a place of another consumer, so that it does not
//! move the places of those who count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use model::{Batch, Offset, PartitionId};
use parking_lot::Mutex;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::ends::Ends;
use super::gather::Gathered;
use super::message::{ReadRecord, decode};
use super::pump::Pump;
use super::{Away, Foreign, KafkaSettings};

/// Consumers beyond which a place is moved rather than another one opened.
const LANES: usize = 3;
/// A consumer has so long to move a place.
const MOVE: Duration = Duration::from_secs(10);
/// Where the log has an end that nobody can read up to for so long, a place may hold no record.
const PROBE_AFTER: Duration = Duration::from_secs(2);

/// All consumers.
pub(super) struct Reader {
    config: ClientConfig,
    topic: String,
    ends: Arc<Ends>,
    foreign: Arc<dyn Foreign>,
    lanes: Mutex<Vec<Lane>>,
    is_closed: AtomicBool,
}

/// One consumer.
struct Lane {
    // In this order: places go before their consumer.
    places: Vec<Place>,
    wakers: Vec<Arc<WakerCell>>,
    consumer: Arc<BaseConsumer>,
    _pump: Pump,
}

/// A consumer's place in a partition.
enum Place {
    None,
    Idle(Box<Slot>),
    Busy,
}

#[derive(Default)]
struct WakerCell(Mutex<Option<Waker>>);

impl WakerCell {
    fn wake(&self) {
        let waker = self.0.lock().take();
        waker.into_iter().for_each(Waker::wake);
    }
}

struct Slot {
    queue: PartitionQueue<DefaultConsumerContext>,
    next_offset: Offset,
    /// A message that did not fit into the read before.
    held: Option<ReadRecord>,
    /// A message that nobody could read yet, behind what is held.
    unread: Option<OwnedMessage>,
    /// Since when the log goes on here and nothing comes.
    behind_since: Option<Instant>,
    used: Instant,
}

/// A place while somebody reads there. It goes back when this is dropped.
pub(super) struct Taken<'r> {
    reader: &'r Reader,
    partition: PartitionId,
    lane: usize,
    waker: Arc<WakerCell>,
    slot: Option<Box<Slot>>,
}

impl Reader {
    pub(super) fn new(
        settings: &KafkaSettings,
        ends: Arc<Ends>,
        foreign: Arc<dyn Foreign>,
    ) -> Result<Self, PortError> {
        let mut config = settings.client()?;
        let defaults = [
            // A place that nobody reads on holds so much, and no more.
            ("queued.max.messages.kbytes", "4096"),
            ("queued.min.messages", "20000"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", "250"),
        ];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        // The group is only a name: nobody joins it to read.
        config
            .set("group.id", format!("{}-readers", settings.place.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true");
        let topic = settings.place.topic.clone();
        let (lanes, is_closed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { config, topic, ends, foreign, lanes, is_closed })
    }

    /// A place at `from`, which the log has.
    pub(super) fn take(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Result<Taken<'_>, PortError> {
        let at = usize::from(partition.0);
        let mut lanes = self.lanes.lock();
        let is_there =
            |place: &Place| matches!(place, Place::Idle(slot) if slot.next_offset == from);
        if let Some(lane) = lanes.iter().position(|lane| is_there(&lane.places[at])) {
            return Ok(self.taken(&mut lanes, lane, partition));
        }
        let is_free = |lane: &Lane| matches!(lane.places[at], Place::None);
        let used = |(lane, place): (usize, &Place)| match place {
            Place::Idle(slot) => Some((slot.used, lane)),
            Place::None | Place::Busy => None,
        };
        let places = lanes.iter().map(|lane| &lane.places[at]);
        let oldest = places.enumerate().filter_map(used).min();
        let lane = match (lanes.iter().position(is_free), oldest) {
            (Some(lane), _) => lane,
            (None, Some((_, lane))) if lanes.len() >= LANES => {
                let mut taken = self.taken(&mut lanes, lane, partition);
                let consumer = lanes[lane].consumer.clone();
                drop(lanes);
                taken.go_to(&consumer, from)?;
                return Ok(taken);
            }
            (None, _) => {
                lanes.push(self.open_lane()?);
                lanes.len() - 1
            }
        };
        self.begin(&mut lanes[lane], partition, from)?;
        Ok(self.taken(&mut lanes, lane, partition))
    }

    fn taken(&self, lanes: &mut [Lane], lane: usize, partition: PartitionId) -> Taken<'_> {
        let at = usize::from(partition.0);
        let waker = lanes[lane].wakers[at].clone();
        let slot = match std::mem::replace(&mut lanes[lane].places[at], Place::Busy) {
            Place::Idle(slot) => Some(slot),
            Place::None | Place::Busy => None,
        };
        Taken { reader: self, partition, lane, waker, slot }
    }

    fn open_lane(&self) -> Result<Lane, PortError> {
        let consumer: BaseConsumer = self.config.create().map_err(super::bad_client)?;
        let consumer = Arc::new(consumer);
        let count = usize::from(self.ends.count());
        Ok(Lane {
            places: (0..count).map(|_| Place::None).collect(),
            wakers: (0..count).map(|_| Arc::default()).collect(),
            _pump: Pump::start(consumer.clone())?,
            consumer,
        })
    }

    /// Makes a place of a consumer in a partition.
    fn begin(
        &self,
        lane: &mut Lane,
        partition: PartitionId,
        from: Offset,
    ) -> Result<(), PortError> {
        let at = usize::from(partition.0);
        let id = i32::from(partition.0);
        let failed = |error| {
            let context = format!("partition {partition} cannot be read from offset {from}");
            PortError::caused(ErrorKind::Unavailable, context, error)
        };
        let mut list = TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(i64::try_from(from.0).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.topic, id, offset).map_err(failed)?;
        // Before it is assigned: messages never take another way.
        let queue = lane.consumer.split_partition_queue(&self.topic, id);
        let mut queue = queue.ok_or_else(|| {
            let context = format!("partition {partition} has no queue");
            PortError::new(ErrorKind::Unavailable, context)
        })?;
        let waker = lane.wakers[at].clone();
        queue.set_nonempty_callback(move || waker.wake());
        lane.consumer.incremental_assign(&list).map_err(failed)?;
        let used = Instant::now();
        let slot =
            Slot { queue, next_offset: from, held: None, unread: None, behind_since: None, used };
        lane.places[at] = Place::Idle(Box::new(slot));
        Ok(())
    }

    /// Has everybody who waits look again.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<Arc<WakerCell>> =
            self.lanes.lock().iter().flat_map(|lane| lane.wakers.iter().cloned()).collect();
        wakers.iter().for_each(|waker| waker.wake());
    }

    /// Ends every read that waits.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.wake_all();
    }
}

impl Taken<'_> {
    /// Moves the place.
    fn go_to(&mut self, consumer: &BaseConsumer, from: Offset) -> Result<(), PortError> {
        let Some(slot) = self.slot.as_mut() else { return Ok(()) };
        let offset = rdkafka::Offset::Offset(i64::try_from(from.0).unwrap_or(i64::MAX));
        let id = i32::from(self.partition.0);
        slot.held = None;
        slot.unread = None;
        slot.behind_since = None;
        // What was fetched before is not given out any more from here on, and a place that could
        // not be moved is not trusted.
        slot.next_offset = Offset(u64::MAX);
        consumer.seek(&self.reader.topic, id, offset, MOVE).map_err(|error| {
            let context = format!("partition {} cannot be read from offset {from}", self.partition);
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        slot.next_offset = from;
        Ok(())
    }

    /// What has come, or where nothing has, a look again when something does. `probe` is called
    /// where the log goes on but nothing comes.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        bytes_max: usize,
        probe: &dyn Fn(),
    ) -> Poll<Result<Vec<Batch<Bytes>>, PortError>> {
        // Before the queue is looked into: what comes afterwards wakes.
        *self.waker.0.lock() = Some(context.waker().clone());
        let reader = self.reader;
        let Some(slot) = self.slot.as_mut() else {
            let context = "the place of a read is gone";
            return Poll::Ready(Err(PortError::new(ErrorKind::Unavailable, context)));
        };
        let mut gathered = Gathered::new(self.partition, slot.next_offset, bytes_max);
        let failed = slot.gather(&mut gathered, &*reader.foreign);
        slot.next_offset = gathered.next_offset();
        // What others appended may be here before the next look at the ends.
        reader.ends.note_appended(self.partition, slot.next_offset);
        if !gathered.is_empty() {
            slot.behind_since = None;
            return Poll::Ready(Ok(gathered.finish()));
        }
        if let Some(error) = failed {
            return Poll::Ready(Err(unreadable(self.partition, slot.next_offset, error)));
        }
        if reader.is_closed.load(Ordering::SeqCst) {
            let context = "the log is closing";
            return Poll::Ready(Err(PortError::new(ErrorKind::Unavailable, context)));
        }
        let is_behind = reader.ends.of(self.partition).durable_offset > slot.next_offset;
        match (is_behind, slot.behind_since) {
            (false, _) => slot.behind_since = None,
            (true, None) => slot.behind_since = Some(Instant::now()),
            (true, Some(since)) if since.elapsed() > PROBE_AFTER && slot.unread.is_none() => {
                slot.behind_since = Some(Instant::now());
                probe();
            }
            (true, Some(_)) => {}
        }
        Poll::Pending
    }
}

impl Slot {
    /// Takes what has come, as far as there is room; an error that ends the read.
    fn gather(&mut self, gathered: &mut Gathered, foreign: &dyn Foreign) -> Option<KafkaError> {
        if let Some(held) = self.held.take()
            && let Err(held) = gathered.offer(held)
        {
            self.held = Some(held);
            return None;
        }
        if let Some(unread) = self.unread.take() {
            match decode(&unread, foreign) {
                Ok(record) => {
                    if let Err(held) = gathered.offer(record) {
                        self.held = Some(held);
                        return None;
                    }
                }
                // Everybody who waits looks again and again.
                Err(Away) => {
                    self.unread = Some(unread);
                    return None;
                }
            }
        }
        while let Some(polled) = self.queue.poll(Duration::ZERO) {
            match polled {
                Ok(message) => {
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if offset < gathered.next_offset().0 {
                        continue;
                    }
                    let record = match decode(&message, foreign) {
                        Ok(record) => record,
                        Err(Away) => {
                            self.unread = Some(message.detach());
                            return None;
                        }
                    };
                    if let Err(held) = gathered.offer(record) {
                        self.held = Some(held);
                        return None;
                    }
                }
                Err(error) if is_final(&error) => return Some(error),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a read from Kafka failed; trying on"
                ),
            }
        }
        None
    }
}

/// Whether trying on is no use.
pub(super) fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::AutoOffsetReset
                    | Code::OffsetOutOfRange
                    | Code::BadMessage
                    | Code::BadCompression
                    | Code::InvalidMessage
                    | Code::NotImplemented
            )
        )
}

fn unreadable(partition: PartitionId, at: Offset, error: KafkaError) -> PortError {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    if matches!(code, Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) {
        let context = format!(
            "the topic no longer has offset {at} of partition {partition}: its retention is too \
             short, or it was made anew"
        );
        return PortError::caused(ErrorKind::Invalid, context, error);
    }
    let context = format!("partition {partition} cannot be read at offset {at}");
    PortError::caused(ErrorKind::Corrupt, context, error)
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.waker.0.lock() = None;
        let place = match self.slot.take() {
            Some(mut slot) => {
                slot.used = Instant::now();
                Place::Idle(slot)
            }
            None => Place::None,
        };
        self.reader.lanes.lock()[self.lane].places[usize::from(self.partition.0)] = place;
    }
}
