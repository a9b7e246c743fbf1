//! Where events are accepted: judged, routed and made durable. Never waits for counting.

use std::sync::Arc;

use model::bucket::TimestampMs;
use model::control::Control;
use model::event::check_time;
use model::limits::FUTURE_SKEW_MS;
use model::record::{EncodedEvent, uuid_v7_time};
use model::refused::RANGES_OF_A_RECORD_MAX;
use model::route::murmur3_x86_32;
use model::{BulkObject, Event, PartitionId, RecordBuf, Refused, RefusedRanges, Violation};

use crate::admission::{Admission, Refusal, SourceTurn};
use crate::ports::{AppendPart, Appended, Clock, ErrorKind, EventLog, PortError};
use crate::routing::{RoutedBy, Routing};
use crate::spreader::{Heat, Sampled};

/// Room for fewer bytes is not made before they come.
const ROOM_BYTES_MIN: usize = 4 << 10;

/// Accepts events. Cheap to share.
pub struct Gateway {
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
    routing: Arc<Routing>,
    heat: Option<Arc<Heat>>,
    max_event_age_ms: i64,
}

/// What a repeat of an event brings again, beside item and type: by that alone it is routed, so that
/// it reaches the partition of its original. A stamp is brought again always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// The event's time; else it is that of arrival.
    pub time: bool,
    /// The event's id; else the server made one.
    pub id: bool,
}

impl Repeats {
    /// All of it.
    pub const ALL: Self = Self { time: true, id: true };
}

/// What became of the events that a batch offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many events are durable.
    pub accepted: u64,
    /// Events that are not known to be durable although they were offered well, or that broke a
    /// rule of time but are to be offered again: it could not be written down that they did. In
    /// the order of the body.
    pub failed: Vec<Failed>,
}

/// An event that could not be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The index it was offered with.
    pub index: u32,
    /// Whether it surely was not written.
    pub fate: Fate,
}

/// What is known of an event whose write failed; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was not written and never will be.
    NotWritten,
    /// It may or may not have been written; the same id again never counts twice.
    Unknown,
}

/// Who may repeat a request after the dedup window, and where its events stand among what they
/// send: the event offered with index `n` has the sequence `first + n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStamp {
    /// The source, which [`model::event::is_source`] takes.
    pub source: String,
    /// Sequence of the first event, 0 or more.
    pub first: i64,
}

impl Gateway {
    /// A gateway in front of a log. `max_event_age_ms` is in milliseconds.
    pub fn new(
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        max_event_age_ms: i64,
    ) -> Self {
        for partition in 0..log.partitions() {
            admission.note_appended(partition, log.bounds(PartitionId(partition)).durable_offset);
        }
        let routing = Arc::new(Routing::fixed(log.clone()));
        Self { log, clock, admission, routing, heat: None, max_event_age_ms }
    }

    /// Routing by a table that changes, and what tells how hot items are; without, every item goes
    /// by its name alone.
    pub fn with_routing(self, routing: Arc<Routing>, heat: Option<Arc<Heat>>) -> Self {
        Self { routing, heat, ..self }
    }

    /// Names a file in the log: durable when this returns, and noted by the processor of partition 0.
    ///
    /// # Errors
    /// After `Unavailable` and `Overloaded` it was not named; after any other kind it may have been.
    pub async fn name_bulk_object(&self, object: BulkObject) -> Result<Appended, PortError> {
        let refused = |refusal: Refusal| {
            PortError::caused(ErrorKind::Unavailable, "no file is taken now", refusal)
        };
        drop(self.begin().map_err(refused)?);
        let records = Control::BulkObject(object).records();
        let part = AppendPart { partition: PartitionId(0), records, is_control: true };
        let result = self.log.append(vec![part])?.await.pop();
        result.unwrap_or_else(|| Err(PortError::new(ErrorKind::Corrupt, "the log gave no answer")))
    }

    /// Begins a batch, unless events cannot be accepted now.
    pub fn begin(&self) -> Result<EventBatch<'_>, Refusal> {
        self.admission.check()?;
        self.log.append_time().map_err(|error| Refusal::Clock(error.to_string()))?;
        let routed_by =
            self.routing.current().map_err(|error| Refusal::Routing(error.to_string()))?;
        // Those that the table does not name yet too: what is refused is noted everywhere.
        let partitions = self.log.partitions().max(routed_by.table.log_partitions());
        let parts = (0..partitions).map(|_| Part::default()).collect();
        let sampled = self.heat.as_ref().map(|heat| heat.begin());
        let (now, stamp) = (self.clock.now().wall, None);
        Ok(EventBatch { gateway: self, now, routed_by, parts, stamp, sampled, is_unsure: false })
    }

    /// Begins a batch whose events are stamped. A source has one batch at a time: events that
    /// overtake others of the same source would make those look like repeats.
    pub fn begin_stamped(&self, stamp: SourceStamp) -> Result<EventBatch<'_>, Refusal> {
        let batch = self.begin()?;
        let turn = self.admission.take_turn(stamp.source)?;
        Ok(EventBatch { stamp: Some((turn, stamp.first)), ..batch })
    }
}

#[derive(Default)]
struct Part {
    records: RecordBuf,
    /// The index each record was offered with.
    indexes: Vec<u32>,
    /// Stamped events that broke a rule of time, and the indexes they were offered with.
    refused: RefusedRanges,
    refused_indexes: Vec<u32>,
    /// Whether the one before was refused.
    is_refusing: bool,
}

impl Part {
    fn refuse(&mut self, index: u32, sequence: i64) {
        self.refused.push(sequence, self.is_refusing);
        self.refused_indexes.push(index);
        self.is_refusing = true;
    }

    /// Says in the log what was refused: before the records that pass it, so that these are not
    /// durable without.
    fn refused_records(&mut self, source: &str) -> RecordBuf {
        let mut records = RecordBuf::new();
        while !self.refused.is_empty() {
            let ranges = self.refused.split_front(RANGES_OF_A_RECORD_MAX);
            Control::Refused(Refused { source: source.to_owned(), ranges }).push_to(&mut records);
        }
        records
    }
}

/// Events of one request on their way to the log.
pub struct EventBatch<'g> {
    gateway: &'g Gateway,
    now: TimestampMs,
    routed_by: RoutedBy,
    parts: Vec<Part>,
    stamp: Option<(SourceTurn, i64)>,
    sampled: Option<Sampled>,
    /// Whether an event lies beyond the time up to which its route is known.
    is_unsure: bool,
}

impl EventBatch<'_> {
    /// Makes room for records of about so many bytes in all: growing step by step would copy each of them
    /// several times. Where a partition gets few of them, or maybe none, that costs less than the room.
    pub fn expect(&mut self, bytes: usize) {
        let each = bytes / self.parts.len();
        if each >= ROOM_BYTES_MIN {
            self.parts.iter_mut().for_each(|part| part.records.reserve(each));
        }
    }

    /// The time of arrival, for events that carry none.
    pub fn now(&self) -> TimestampMs {
        self.now
    }

    /// Takes one event that was sent with its time, or says which rule it breaks. `index` is its
    /// place in the request.
    pub fn offer(&mut self, index: u32, event: &Event<'_>) -> Result<(), Violation> {
        self.offer_repeatable(index, event, Repeats::ALL)
    }

    /// Takes one event, or says which rule it breaks. `index` is its place in the request.
    pub fn offer_repeatable(
        &mut self,
        index: u32,
        event: &Event<'_>,
        repeats: Repeats,
    ) -> Result<(), Violation> {
        event.check()?;
        let routed_at = self.routed_at(event, repeats);
        let in_time = check_time(event.time, self.now, self.gateway.max_event_age_ms);
        let in_time = in_time.and_then(|()| self.check_routed(routed_at));
        let sequence = self.stamp.as_ref().map(|(_, first)| first + i64::from(index));
        let partition = match sequence.filter(|_| !repeats.id) {
            None => self.route(&event.item, &event.id, routed_at),
            // Sent again it gets another id, and its place is the same.
            Some(sequence) => self.route(&event.item, &sequence.to_string(), routed_at),
        };
        let part = &mut self.parts[usize::from(partition.0)];
        if let (Err(violation), Some(sequence)) = (&in_time, sequence) {
            // Another time it may be good: its source may then have it counted, and not before.
            match violation {
                // By then another version may hold for its time, which sends it anywhere.
                Violation::InFuture => {
                    self.parts.iter_mut().for_each(|part| part.refuse(index, sequence));
                }
                _ => part.refuse(index, sequence),
            }
        }
        in_time?;
        let stamp = self.stamp.as_ref();
        let stamp = stamp.map(|(turn, first)| (turn.source(), first + i64::from(index)));
        self.parts[usize::from(partition.0)].records.push_stamped(event, stamp);
        self.note(index, &event.item, partition, routed_at);
        Ok(())
    }

    /// Takes one event that was sent as the log holds it, or says which rule of time it breaks: all
    /// others it keeps. `index` is its place in the request.
    pub fn offer_encoded(&mut self, index: u32, event: &EncodedEvent<'_>) -> Result<(), Violation> {
        let record = event.record();
        if self.stamp.is_some() {
            // The log is to hold more of it.
            return self.offer(index, &record.to_event());
        }
        check_time(record.time, self.now, self.gateway.max_event_age_ms)?;
        self.check_routed(Some(record.time))?;
        let hash_of_id = || murmur3_x86_32(record.id_text().as_bytes());
        let partition = self.routed_by.table.route_by(record.item, hash_of_id, record.time);
        self.parts[usize::from(partition.0)].records.push_encoded(event.bytes());
        self.note(index, record.item, partition, Some(record.time));
        Ok(())
    }

    /// Notes that an event was written down for a partition.
    fn note(
        &mut self,
        index: u32,
        item: &str,
        partition: PartitionId,
        routed_at: Option<TimestampMs>,
    ) {
        self.is_unsure |= routed_at.is_some_and(|time| time > self.routed_by.until);
        let part = &mut self.parts[usize::from(partition.0)];
        part.indexes.push(index);
        part.is_refusing = false;
        if let Some(sampled) = &mut self.sampled {
            sampled.see(item);
        }
    }

    /// The time by which an event is routed; none where that is the first version's business.
    fn routed_at(&self, event: &Event<'_>, repeats: Repeats) -> Option<TimestampMs> {
        match repeats {
            Repeats { time: true, .. } => Some(event.time),
            Repeats { id: true, .. } => uuid_v7_time(&event.id),
            _ if self.stamp.is_some() => None,
            // Nothing can repeat it, and any version is right: one that is known for sure.
            _ => Some(event.time.min(self.routed_by.until)),
        }
    }

    /// Nothing is routed by a time that lies too far ahead, whether it is the event's or its id's:
    /// another version may be published for it.
    fn check_routed(&self, routed_at: Option<TimestampMs>) -> Result<(), Violation> {
        match routed_at {
            Some(time) if time.0 > self.now.0.saturating_add(FUTURE_SKEW_MS) => {
                Err(Violation::InFuture)
            }
            _ => Ok(()),
        }
    }

    /// The partition of an item's event that is routed by an id and a time.
    fn route(&self, item: &str, id: &str, routed_at: Option<TimestampMs>) -> PartitionId {
        match routed_at {
            Some(time) => self.routed_by.table.route(item, id, time),
            None => self.routed_by.table.route_first(item),
        }
    }

    /// The partition that an event goes to of which a repeat brings all again.
    pub fn partition_of(&self, event: &Event<'_>) -> PartitionId {
        self.route(&event.item, &event.id, Some(event.time))
    }

    /// Makes everything offered durable.
    ///
    /// # Errors
    /// Nothing was written, and the whole request can be sent again.
    pub async fn commit(mut self) -> Result<Outcome, PortError> {
        if self.is_unsure {
            let context = format!(
                "where events after {} go is not known yet: the routing table was not confirmed up \
                 to there",
                self.routed_by.until
            );
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
        if let (Some(heat), Some(sampled)) = (&self.gateway.heat, self.sampled.take()) {
            heat.end(&sampled);
        }
        let parts_max = self.parts.len() * if self.stamp.is_some() { 2 } else { 1 };
        let mut appends = Vec::with_capacity(parts_max);
        let mut offered = Vec::with_capacity(parts_max);
        for (partition, mut part) in (0..).map(PartitionId).zip(std::mem::take(&mut self.parts)) {
            if let Some((turn, _)) = &self.stamp
                && !part.refused.is_empty()
            {
                turn.announce_refused(partition.0, part.refused.len()).map_err(no_room)?;
                let records = part.refused_records(turn.source());
                appends.push(AppendPart { partition, records, is_control: true });
                offered.push((part.refused_indexes, false));
            }
            if !part.records.is_empty() {
                if let Some((turn, _)) = &self.stamp {
                    turn.announce(partition.0);
                }
                appends.push(AppendPart { partition, records: part.records, is_control: false });
                offered.push((part.indexes, true));
            }
        }
        if appends.is_empty() {
            return Ok(Outcome::default());
        }
        let results = self.gateway.log.append(appends)?.await;
        let mut outcome = Outcome::default();
        let mut first_error = None;
        for (result, (indexes, are_events)) in results.into_iter().zip(offered) {
            match result {
                Ok(Appended { partition, next_offset, .. }) if are_events => {
                    let events = indexes.len() as u64;
                    self.gateway.admission.note_appended(partition.0, next_offset);
                    outcome.accepted += events;
                }
                Ok(_) => {}
                Err(error) => {
                    let fate = match error.kind {
                        ErrorKind::Unavailable | ErrorKind::Overloaded => Fate::NotWritten,
                        ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Invalid => {
                            Fate::Unknown
                        }
                    };
                    let failed = indexes.into_iter().map(|index| Failed { index, fate });
                    outcome.failed.extend(failed);
                    first_error.get_or_insert(error);
                }
            }
        }
        outcome.failed.sort_unstable_by_key(|failed| (failed.index, failed.fate));
        // Of what was refused in every partition the worst holds.
        outcome.failed.reverse();
        outcome.failed.dedup_by_key(|failed| failed.index);
        outcome.failed.reverse();
        let surely_nothing =
            outcome.accepted == 0 && outcome.failed.iter().all(|f| f.fate == Fate::NotWritten);
        match first_error {
            Some(error) if surely_nothing => Err(error),
            _ => Ok(outcome),
        }
    }
}

fn no_room(refusal: Refusal) -> PortError {
    PortError::new(ErrorKind::Overloaded, refusal.to_string())
}
