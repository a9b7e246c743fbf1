//! From the bytes of a body to events: one parser a format, one place for defaults and verdicts.
//!
//! Parsers borrow from the body and know nothing of HTTP, so that they can be tested and measured
//! by themselves against any [`EventSink`].

pub(crate) mod avro;
pub(crate) mod cloud_events;
#[cfg(feature = "kafka")]
pub(crate) mod foreign;
pub(crate) mod json;
pub(crate) mod ndjson;
pub(crate) mod plain;

mod ids;

use std::borrow::Cow;

use api::ProblemCode;
use engine::gateway::{EventBatch, Repeats};
use model::limits::{BATCH_EVENTS_MAX, TYPE_DEFAULT};
use model::record::EncodedEvent;
use model::{Event, TimestampMs, Value, Violation};

pub(crate) use ids::{IdSource, cloud_event_id};

/// Largest zstd window, as a power of two: no back reference can reach further than a whole body.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 24;
const _: () = assert!(1 << ZSTD_WINDOW_LOG_MAX >= model::limits::BODY_BYTES_MAX);
/// Events between two offers of the core to whoever waits for it, some tens of microseconds: the
/// kernel looks only every few milliseconds, and an answer may wait for that.
const STRETCH_EVENTS: u32 = 256;

/// What takes events: the gateway's batch, or a stand-in.
pub(crate) trait EventSink {
    /// The time of arrival.
    fn now(&self) -> TimestampMs;
    /// Takes one event, or says which rule it breaks. `index` is its place in the request.
    fn offer(&mut self, index: u32, event: &Event<'_>, repeats: Repeats) -> Result<(), Violation>;
    /// Takes one event that was sent as the log holds it, or says which rule it breaks.
    fn offer_encoded(&mut self, index: u32, event: &EncodedEvent<'_>) -> Result<(), Violation> {
        self.offer(index, &event.record().to_event(), Repeats::ALL)
    }
}

impl EventSink for EventBatch<'_> {
    fn now(&self) -> TimestampMs {
        EventBatch::now(self)
    }

    fn offer(&mut self, index: u32, event: &Event<'_>, repeats: Repeats) -> Result<(), Violation> {
        self.offer_repeatable(index, event, repeats)
    }

    fn offer_encoded(&mut self, index: u32, event: &EncodedEvent<'_>) -> Result<(), Violation> {
        EventBatch::offer_encoded(self, index, event)
    }
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: ProblemCode,
    pub(crate) detail: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        let (code, detail) = match violation {
            Violation::Item => (
                ProblemCode::InvalidItem,
                "the item must be 1 to 256 bytes of UTF-8 without control characters",
            ),
            Violation::Type => {
                (ProblemCode::InvalidType, "the type must be 1 to 64 of a-z 0-9 _ . -")
            }
            Violation::Id => {
                (ProblemCode::InvalidId, "the id must be 1 to 64 printable ASCII characters")
            }
            Violation::Attributes => (
                ProblemCode::InvalidAttributes,
                "at most 16 attributes, keys of 1 to 64 bytes and values of at most 256 bytes",
            ),
            Violation::TooOld => {
                (ProblemCode::EventTooOld, "the event is older than max_event_age")
            }
            Violation::InFuture => {
                (ProblemCode::EventInFuture, "the event lies more than 60 s in the future")
            }
        };
        Self::new(code, detail)
    }
}

/// An event that was refused, with its place in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) index: u32,
    pub(crate) fault: Fault,
}

/// Why a whole body is refused.
pub(crate) type BodyFault = Fault;

/// An event as it was sent: what is absent or `null` is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) item: Option<Cow<'a, str>>,
    pub(crate) event_type: Option<Cow<'a, str>>,
    pub(crate) time: Option<TimestampMs>,
    pub(crate) value: Option<Value>,
    pub(crate) attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Gives drafts their defaults, offers them and collects the verdicts.
pub(crate) struct Intake<'s, S> {
    sink: &'s mut S,
    ids: IdSource,
    offered: u32,
    rejections: Vec<Rejection>,
}

/// What came of reading a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// Events in the body.
    pub(crate) events: u32,
    /// Those that were refused, in the order of the body.
    pub(crate) rejections: Vec<Rejection>,
}

impl<'s, S: EventSink> Intake<'s, S> {
    pub(crate) fn new(sink: &'s mut S, ids: IdSource) -> Self {
        Self { sink, ids, offered: 0, rejections: Vec::new() }
    }

    /// Takes the next event of the body, or why it is none.
    ///
    /// # Errors
    /// When the body has more events than a request may.
    pub(crate) fn take(&mut self, draft: Result<Draft<'_>, Fault>) -> Result<(), BodyFault> {
        let index = self.next_index()?;
        if let Err(fault) = draft.and_then(|draft| self.offer(index, draft)) {
            self.rejections.push(Rejection { index, fault });
        }
        Ok(())
    }

    /// Takes the next event of the body, which was sent as the log holds it.
    ///
    /// # Errors
    /// When the body has more events than a request may.
    pub(crate) fn take_encoded(&mut self, event: &EncodedEvent<'_>) -> Result<(), BodyFault> {
        let index = self.next_index()?;
        if let Err(violation) = self.sink.offer_encoded(index, event) {
            self.rejections.push(Rejection { index, fault: violation.into() });
        }
        Ok(())
    }

    fn next_index(&mut self) -> Result<u32, BodyFault> {
        let index = self.offered;
        if index as usize >= BATCH_EVENTS_MAX {
            return Err(too_many_events());
        }
        self.offered += 1;
        if self.offered.is_multiple_of(STRETCH_EVENTS) {
            std::thread::yield_now();
        }
        Ok(index)
    }

    fn offer(&mut self, index: u32, draft: Draft<'_>) -> Result<(), Fault> {
        let now = self.sink.now();
        let item = draft
            .item
            .ok_or_else(|| Fault::new(ProblemCode::InvalidItem, "the item is missing"))?;
        let repeats = Repeats {
            time: draft.time.is_some(),
            id: draft.id.is_some() || self.ids.are_repeated(),
        };
        let event = Event {
            id: draft.id.unwrap_or_else(|| self.ids.next(index, now).into()),
            item,
            event_type: draft.event_type.unwrap_or(Cow::Borrowed(TYPE_DEFAULT)),
            time: draft.time.unwrap_or(now),
            value: draft.value,
            attributes: draft.attributes,
        };
        self.sink.offer(index, &event, repeats).map_err(Fault::from)
    }

    /// The verdicts on all that was taken.
    pub(crate) fn finish(self) -> Verdicts {
        Verdicts { events: self.offered, rejections: self.rejections }
    }
}

/// The refusal of a body with too many events.
pub(crate) fn too_many_events() -> BodyFault {
    Fault::new(
        ProblemCode::TooManyEvents,
        format!("a request has at most {BATCH_EVENTS_MAX} events; split the batch"),
    )
}

#[cfg(test)]
pub(crate) mod tests;
