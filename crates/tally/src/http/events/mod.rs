//! `POST /v1/events`: one event, many, or a file of them, and the verdict on each.

mod binary;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(crate) mod pool;
pub(crate) mod read;
pub(crate) mod single;
pub(crate) mod stamp;

use std::sync::Arc;
use std::time::Instant;

use api::{AcceptedAnswer, Durability, ProblemCode, RejectedEvent};
use axum::body::HttpBody;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use engine::gateway::{EventBatch, Fate, Gateway, Outcome, SourceStamp};
use engine::ports::PortError;

use tracing::Instrument;

use super::Routes;
use super::body::{self, BodyBudget, Encoding, ReadBody};
use super::door::{Admitted, KEY_PARAMETER};
use super::metrics::Metrics;
use super::params::Params;
use super::problem::{Failure, json};
use crate::telemetry::TRACES;
use pool::IngestPool;
use read::cloud_events::Attributes;
use read::{EventSink, IdSource, Intake, Verdicts};

/// The path that takes events.
pub(super) const PATH: &str = "/v1/events";
/// A body up to this size is parsed where it arrives: handing it over costs more than it saves.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// How many times as large a compressed body of events is, at most as a rule, once it is read.
const INFLATED: usize = 16;
/// Longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// What taking events needs.
pub(crate) struct Ingest {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) budget: BodyBudget,
    pub(crate) pool: IngestPool,
    pub(crate) metrics: Arc<Metrics>,
    /// What an acknowledged event is.
    pub(crate) durability: &'static str,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, ingest: &Arc<Ingest>) -> Routes {
    let one = post(single::post_event).with_state(ingest.clone());
    routes.add_events(ingest).add("/v1/items/{item}/events", &["POST"], one)
}

/// What a body holds, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Avro,
    CloudEvent,
    CloudEvents,
}

impl Format {
    /// Pages that send with a public key may call NDJSON `text/plain`: anything else makes a browser ask
    /// first, which it does not do for a page that is being left. That is safe, as nothing here acts for
    /// a user whom the browser knows: the key is in the page itself, and only sends events.
    fn of(headers: &HeaderMap, is_public: bool) -> Result<Self, Failure> {
        let unknown = || {
            let detail = "the Content-Type must be one of application/json, application/x-ndjson, \
                          application/avro, application/cloudevents+json and \
                          application/cloudevents-batch+json";
            Failure::new(ProblemCode::UnsupportedMediaType, detail).closing()
        };
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let value = value.ok_or_else(unknown)?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        let is = |name| essence.eq_ignore_ascii_case(name);
        if is("application/json") {
            Ok(Self::Json)
        } else if is("application/x-ndjson")
            || is("application/ndjson")
            || (is_public && is("text/plain"))
        {
            Ok(Self::Ndjson)
        } else if is("application/avro") {
            Ok(Self::Avro)
        } else if is("application/cloudevents+json") {
            Ok(Self::CloudEvent)
        } else if is("application/cloudevents-batch+json") {
            Ok(Self::CloudEvents)
        } else {
            Err(unknown())
        }
    }

    fn read<S: EventSink>(
        self,
        body: &[u8],
        intake: &mut Intake<'_, S>,
    ) -> Result<(), read::BodyFault> {
        match self {
            Self::Json => read::json::read(body, intake),
            Self::Ndjson => read::ndjson::read(body, intake),
            Self::Avro => read::avro::read(body, intake),
            Self::CloudEvent => read::cloud_events::read_one(body, intake),
            Self::CloudEvents => read::cloud_events::read_batch(body, intake),
        }
    }
}

/// What the head of a request says of its events.
struct Told {
    format: Format,
    /// Where they stand in headers, and the body is the data of one event.
    attributes: Option<Attributes>,
    encoding: Encoding,
    ids: IdSource,
    stamp: Option<SourceStamp>,
    admitted: Option<Admitted>,
}

/// Takes the events from the allowance of whoever sends them, before anything is written.
fn charge(admitted: Option<&Admitted>, events: u64) -> Result<(), Failure> {
    admitted.map_or(Ok(()), |admitted| admitted.charge_events(events))
}

/// Where ids come from for events without one.
fn ids(headers: &HeaderMap) -> Result<IdSource, Failure> {
    const KEY: HeaderName = HeaderName::from_static("idempotency-key");
    let mut keys = headers.get_all(KEY).iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(IdSource::random()),
        (Some(key), None) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => {
            Ok(IdSource::from_key(key.as_bytes()))
        }
        _ => Err(Failure::parameter(format!(
            "the header Idempotency-Key must come once, with 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"
        ))
        .closing()),
    }
}

impl Ingest {
    /// Answers a request to [`PATH`].
    ///
    /// # Errors
    /// What the head or the body has wrong, or that the events cannot be taken now.
    pub(super) async fn answer_to(
        self: &Arc<Self>,
        head: Parts,
        body: impl HttpBody<Data = Bytes> + Unpin,
    ) -> Result<Response, Failure> {
        // A page names its key also where none is asked for.
        Params::of(head.uri.query(), &[KEY_PARAMETER])?;
        let admitted = head.extensions.get::<Admitted>().cloned();
        let is_public = admitted.as_ref().is_some_and(|admitted| admitted.is_public);
        let attributes = binary::attributes(&head.headers)?;
        let format = match &attributes {
            Some(_) => Format::CloudEvent,
            None => Format::of(&head.headers, is_public)?,
        };
        let encoding = Encoding::of(&head.headers)?;
        let ids = ids(&head.headers)?;
        let stamp = stamp::stamp(&head.headers)?;
        let body = body::read(&self.budget, &head.headers, body).await?;
        // What a small body holds is unknown where it is compressed.
        let is_small = body.bytes.len() <= INLINE_BYTES_MAX
            && encoding == Encoding::Identity
            && format != Format::Avro;
        let told = Told { format, attributes, encoding, ids, stamp, admitted };
        // Nothing may hold the connection's buffer while the events are made durable: it is used again.
        drop(head);
        if is_small {
            return self.take(told, body, std::future::ready(())).await;
        }
        // What a compressed one holds is not known.
        let bytes = body.bytes.len() * if encoding == Encoding::Identity { 1 } else { INFLATED };
        let ingest = self.clone();
        let batch = async move { ingest.take(told, body, pool::until_round_ends()).await };
        self.pool.run(bytes, Box::pin(batch)).await?
    }

    /// Reads, judges and commits the events of a body. All CPU work lies before `read`, which is awaited
    /// then, and what is sent to the log is sent at once after it.
    async fn take(
        &self,
        told: Told,
        body: ReadBody,
        read: impl Future<Output = ()>,
    ) -> Result<Response, Failure> {
        let Told { format, attributes, encoding, ids, stamp, admitted } = told;
        let body = body.decode(encoding)?;
        let mut batch = stamp::begin(&self.gateway, stamp)?;
        // JSON takes half as much again as its records.
        batch.expect(body.bytes.len() * 2 / 3);
        let mut intake = Intake::new(&mut batch, ids);
        match &attributes {
            None => format.read(&body.bytes, &mut intake)?,
            Some(attributes) => {
                read::cloud_events::read_binary(attributes, &body.bytes, &mut intake)?;
            }
        }
        let verdicts = intake.finish();
        if verdicts.events == 0 {
            let detail = "the body has no event";
            return Err(Failure::new(ProblemCode::EmptyBatch, detail));
        }
        drop(body);
        charge(admitted.as_ref(), u64::from(verdicts.events))?;
        read.await;
        let outcome = self.commit(batch).await?;
        self.answer(verdicts, &outcome, None)
    }

    /// Makes a batch durable, and measures how long that takes.
    async fn commit(&self, batch: EventBatch<'_>) -> Result<Outcome, PortError> {
        let begun = Instant::now();
        let span = tracing::info_span!(target: TRACES, "append");
        let outcome = batch.commit().instrument(span).await?;
        self.metrics.made_durable(begun.elapsed(), &outcome);
        Ok(outcome)
    }

    /// Puts verdicts and outcome together. Where every event was refused the problem has the code
    /// given, or `all_rejected`.
    fn answer(
        &self,
        verdicts: Verdicts,
        outcome: &Outcome,
        all_rejected: Option<ProblemCode>,
    ) -> Result<Response, Failure> {
        self.metrics.events_judged(outcome, &verdicts.rejections);
        let rejected = merge(verdicts, outcome);
        if outcome.accepted > 0 {
            let answer = AcceptedAnswer { accepted: outcome.accepted, rejected };
            let mut response = json(StatusCode::ACCEPTED, &answer);
            response.headers_mut().insert(
                HeaderName::from_static(Durability::HEADER),
                HeaderValue::from_static(self.durability),
            );
            return Ok(response);
        }
        let failure = if outcome.failed.is_empty() {
            let code = all_rejected.unwrap_or(ProblemCode::AllRejected);
            let detail = match rejected.as_slice() {
                [only] => only.detail.clone(),
                [first, ..] => {
                    format!("none of {} events; the first: {}", rejected.len(), first.detail)
                }
                [] => String::new(),
            };
            Failure::new(code, detail)
        } else {
            let detail = "the log failed while it wrote; send the same events with the same ids \
                          or stamp again, they never count twice";
            Failure::new(ProblemCode::OutcomeUnknown, detail)
        };
        Ok(failure.with_rejected(rejected).into_response())
    }
}

/// The refusals of the rules and of the log, in the order of the body.
fn merge(verdicts: Verdicts, outcome: &Outcome) -> Vec<RejectedEvent> {
    // A verdict that could not be written down is none: the event is to be sent again.
    let is_said = |index: u32| outcome.failed.binary_search_by_key(&index, |f| f.index).is_err();
    let settled = verdicts.rejections.into_iter().filter(|rejection| is_said(rejection.index));
    let refused = settled.map(|rejection| RejectedEvent {
        index: u64::from(rejection.index),
        code: rejection.fault.code.as_str().into(),
        detail: rejection.fault.detail.into_owned(),
        retryable: false,
    });
    let failed = outcome.failed.iter().map(|failed| {
        let (code, detail) = match failed.fate {
            Fate::NotWritten => {
                (ProblemCode::Unavailable, "the event was not written; send it again")
            }
            Fate::Unknown => (
                ProblemCode::OutcomeUnknown,
                "the event may have been written; send it again with the same id",
            ),
        };
        RejectedEvent {
            index: u64::from(failed.index),
            code: code.as_str().into(),
            detail: detail.into(),
            retryable: true,
        }
    });
    let mut rejected: Vec<_> = refused.chain(failed).collect();
    rejected.sort_by_key(|event| event.index);
    rejected
}
