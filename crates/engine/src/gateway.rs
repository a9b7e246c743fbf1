//! Where events are accepted: judged, routed and made durable. Never waits for counting.

use std::sync::Arc;

use model::bucket::TimestampMs;
use model::control::Control;
use model::refused::RANGES_OF_A_RECORD_MAX;
use model::{
    BulkObject, Event, PartitionId, RecordBuf, Refused, RefusedRanges, RoutingTable, Violation,
};

use crate::admission::{Admission, Refusal, SourceTurn};
use crate::ports::{AppendPart, Appended, Clock, ErrorKind, EventLog, PortError};

/// Accepts events. Cheap to share.
pub struct Gateway {
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
    routing: RoutingTable,
    max_event_age_ms: i64,
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

/// What is known of an event whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let routing = RoutingTable { partitions: log.partitions() };
        for partition in 0..routing.partitions {
            admission.note_appended(partition, log.bounds(PartitionId(partition)).durable_offset);
        }
        Self { log, clock, admission, routing, max_event_age_ms }
    }

    /// The partition that an event goes to.
    pub fn route(&self, event: &Event<'_>) -> PartitionId {
        self.routing.route(&event.item)
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
        let parts = (0..self.routing.partitions).map(|_| Part::default()).collect();
        Ok(EventBatch { gateway: self, now: self.clock.now().wall, parts, stamp: None })
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
    parts: Vec<Part>,
    stamp: Option<(SourceTurn, i64)>,
}

impl EventBatch<'_> {
    /// The time of arrival, for events that carry none.
    pub fn now(&self) -> TimestampMs {
        self.now
    }

    /// Takes one event, or says which rule it breaks. `index` is its place in the request.
    pub fn offer(&mut self, index: u32, event: &Event<'_>) -> Result<(), Violation> {
        event.check()?;
        let part = &mut self.parts[usize::from(self.gateway.routing.route(&event.item).0)];
        let stamp = self.stamp.as_ref();
        let stamp = stamp.map(|(turn, first)| (turn.source(), first + i64::from(index)));
        let in_time = event.check_time(self.now, self.gateway.max_event_age_ms);
        if let (Err(_), Some((_, sequence))) = (&in_time, stamp) {
            // Another time it may be good: its source may then have it counted, and not before.
            part.refuse(index, sequence);
        }
        in_time?;
        part.records.push_stamped(event, stamp);
        part.indexes.push(index);
        part.is_refusing = false;
        Ok(())
    }

    /// Makes everything offered durable.
    ///
    /// # Errors
    /// Nothing was written, and the whole request can be sent again.
    pub async fn commit(mut self) -> Result<Outcome, PortError> {
        let (mut appends, mut indexes) = (Vec::new(), Vec::new());
        for (partition, mut part) in (0..).map(PartitionId).zip(std::mem::take(&mut self.parts)) {
            if let Some((turn, _)) = &self.stamp
                && !part.refused.is_empty()
            {
                turn.announce_refused(partition.0, part.refused.len()).map_err(no_room)?;
                let records = part.refused_records(turn.source());
                appends.push(AppendPart { partition, records, is_control: true });
                indexes.push(part.refused_indexes);
            }
            if !part.records.is_empty() {
                if let Some((turn, _)) = &self.stamp {
                    turn.announce(partition.0);
                }
                appends.push(AppendPart { partition, records: part.records, is_control: false });
                indexes.push(part.indexes);
            }
        }
        if appends.is_empty() {
            return Ok(Outcome::default());
        }
        let are_events: Vec<_> = appends.iter().map(|part| !part.is_control).collect();
        let results = self.gateway.log.append(appends)?.await;
        let mut outcome = Outcome::default();
        let mut first_error = None;
        for ((result, indexes), are_events) in results.into_iter().zip(indexes).zip(are_events) {
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
        outcome.failed.sort_unstable_by_key(|failed| failed.index);
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
