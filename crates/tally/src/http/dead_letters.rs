//! `/v1/admin/dead-letters`: what could not be counted, and what is to become of it.

use std::sync::Arc;

use api::{
    DeadLetterAnswer, DeadLettersAnswer, DecimalNumber, Durability, LetterState as WireState,
    ProblemCode, ReplayedEvent,
};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use engine::dead_letters::{DeadLetters, LetterError, Place, replay_id};
use engine::gateway::Outcome;
use engine::ports::{LetterState, Replay, StoredDeadLetter};
use model::limits::{LIST_ROWS_MAX, TYPE_DEFAULT};
use model::record::{Glimpse, Record};
use model::value::format_micros;
use model::{Event, Offset, PartitionId, TimestampMs};

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::events::read::{Fault, json as event_json};
use super::metrics::Metrics;
use super::params::Params;
use super::problem::{Failure, json};

/// Letters of a page where the request does not say.
const LIMIT_DEFAULT: usize = 100;

/// What the paths of this resource need.
pub(super) struct Letters {
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) budget: BodyBudget,
    pub(super) metrics: Arc<Metrics>,
    /// What an acknowledged event is.
    pub(super) durability: &'static str,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, letters: &Arc<Letters>) -> Routes {
    routes
        .add("/v1/admin/dead-letters", &["GET"], get(list).with_state(letters.clone()))
        .add(
            "/v1/admin/dead-letters/{partition}/{offset}",
            &["GET", "DELETE"],
            get(show).delete(discard).with_state(letters.clone()),
        )
        .add(
            "/v1/admin/dead-letters/{partition}/{offset}/replay",
            &["POST"],
            post(replay).with_state(letters.clone()),
        )
}

async fn list(
    State(letters): State<Arc<Letters>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["partition", "from", "limit"])?;
    let limit = params.number("limit", 1..=LIST_ROWS_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let only = params.number("partition", 0..=usize::from(u16::MAX))?;
    let only = only.map(|partition| PartitionId(partition as u16));
    let from = page_start(only, params.one("from")?)?;
    let page = blocking(&letters, move |dead_letters| dead_letters.list(only, from, limit)).await?;
    let answer = DeadLettersAnswer {
        dead_letters: page.letters.iter().map(|(id, letter)| describe(*id, letter)).collect(),
        next: page.next.map(|(partition, offset)| format!("{partition}/{offset}")),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Where a page begins: `PARTITION/OFFSET`, or an offset of the one partition asked for.
fn page_start(only: Option<PartitionId>, from: Option<&str>) -> Result<Place, Failure> {
    let Some(text) = from else { return Ok((only.unwrap_or(PartitionId(0)), Offset(0))) };
    let place = match text.split_once('/') {
        Some((partition, offset)) => partition.parse().ok().zip(offset.parse().ok()),
        None => only.map(|only| only.0).zip(text.parse().ok()),
    };
    match place {
        Some((partition, _)) if only.is_some_and(|only| only.0 != partition) => {
            let detail = format!("the parameter `from` is `{text}`, of another partition");
            Err(Failure::new(ProblemCode::InvalidRange, detail))
        }
        Some((partition, offset)) => Ok((PartitionId(partition), Offset(offset))),
        None => Err(Failure::parameter(format!(
            "the parameter `from` is `{text}`; it must be PARTITION/OFFSET, as `next` of the page \
             before, or with `partition` an offset of that partition"
        ))),
    }
}

async fn show(
    State(letters): State<Arc<Letters>>,
    place: Result<Path<(u16, u64)>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let place = place_of(place, params.as_deref())?;
    let letter = blocking(&letters, move |dead_letters| dead_letters.get(place)).await?;
    Ok(json(StatusCode::OK, &describe(place.0, &letter)))
}

async fn discard(
    State(letters): State<Arc<Letters>>,
    place: Result<Path<(u16, u64)>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let place = place_of(place, params.as_deref())?;
    let settle = move |dead_letters: &DeadLetters| {
        dead_letters.discard(place)?;
        dead_letters.get(place)
    };
    let letter = blocking(&letters, settle).await?;
    Ok(json(StatusCode::OK, &describe(place.0, &letter)))
}

async fn replay(
    State(letters): State<Arc<Letters>>,
    place: Result<Path<(u16, u64)>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let place = place_of(place, request.uri().query())?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&letters.budget, &head.headers, body).await?;
    // Without a body it is the event as it is.
    if !body.bytes.is_empty() {
        body::expect_type(&head.headers, body::JSON)?;
    }
    // On a thread of its own it goes on to its end, also when the client has gone.
    let letter = blocking(&letters, move |dead_letters| {
        let body = body.decode(encoding)?;
        let letter = dead_letters.get(place)?;
        let text = event_json::utf8(&body.bytes)?;
        let event = match text.trim_ascii() {
            "" => original(&letter)?,
            text => corrected(text, place.0, &letter)?,
        };
        let done = dead_letters.replay(place, &event)?;
        Ok::<_, Failure>(StoredDeadLetter { state: LetterState::Replayed(done), ..letter })
    })
    .await?;
    letters.metrics.events_judged(&Outcome { accepted: 1, failed: Vec::new() }, &[]);
    let mut response = json(StatusCode::ACCEPTED, &describe(place.0, &letter));
    response.headers_mut().insert(
        HeaderName::from_static(Durability::HEADER),
        HeaderValue::from_static(letters.durability),
    );
    Ok(response)
}

/// The event of the record as it is.
fn original(letter: &StoredDeadLetter) -> Result<Event<'_>, Fault> {
    Record::read(&letter.record).map(|record| record.to_event()).map_err(|reason| {
        let detail = format!("{reason}; send a corrected event as the body, or drop the letter");
        Fault::new(ProblemCode::UnreadableRecord, detail)
    })
}

/// The event of the body. Its id, where it has none, and its time are those of the letter, the same
/// in every replay of it.
fn corrected<'a>(
    text: &'a str,
    partition: PartitionId,
    letter: &StoredDeadLetter,
) -> Result<Event<'a>, Fault> {
    let draft = event_json::event(text)?;
    let missing = || Fault::new(ProblemCode::InvalidItem, "the item is missing");
    Ok(Event {
        id: draft.id.unwrap_or_else(|| replay_id(partition, letter).into()),
        item: draft.item.ok_or_else(missing)?,
        event_type: draft.event_type.unwrap_or(TYPE_DEFAULT.into()),
        time: draft.time.unwrap_or(letter.append_time),
        value: draft.value,
        attributes: draft.attributes,
    })
}

impl From<LetterError> for Failure {
    fn from(error: LetterError) -> Self {
        let detail = error.to_string();
        let code = match error {
            LetterError::Refused(refusal) => return refusal.into(),
            LetterError::Violation(violation) => return Fault::from(violation).into(),
            LetterError::Port(error) => return error.into(),
            LetterError::NotFound(_) => ProblemCode::NotFound,
            LetterError::Dropped => ProblemCode::AlreadyDropped,
            LetterError::InDoubt => ProblemCode::OutcomeUnknown,
            LetterError::Unprovable(_) => ProblemCode::ReplayUnprovable,
            LetterError::Replayed(replay) => {
                let detail = match replayed_event(&replay) {
                    Some(event) => format!(
                        "{detail}; written on {} as the event {} of {}",
                        replay.at, event.id, event.item
                    ),
                    None => detail,
                };
                return Self::new(ProblemCode::AlreadyReplayed, detail);
            }
        };
        Self::new(code, detail)
    }
}

/// The place that a path names; a path of this resource takes no parameters beside it.
fn place_of(
    path: Result<Path<(u16, u64)>, PathRejection>,
    query: Option<&str>,
) -> Result<Place, Failure> {
    Params::of(query, &[])?;
    match path {
        Ok(Path((partition, offset))) => Ok((PartitionId(partition), Offset(offset))),
        Err(_) => Err(Failure::parameter("partition and offset in the path must be whole numbers")),
    }
}

/// Runs what blocks off the async threads.
async fn blocking<T: Send + 'static, E: Into<Failure> + Send + 'static>(
    letters: &Arc<Letters>,
    call: impl FnOnce(&DeadLetters) -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    let dead_letters = letters.dead_letters.clone();
    match tokio::task::spawn_blocking(move || call(&dead_letters)).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::new(ProblemCode::Internal, "settling the dead letter failed")),
    }
}

fn describe(partition: PartitionId, letter: &StoredDeadLetter) -> DeadLetterAnswer {
    let (state, state_time, replay) = match &letter.state {
        LetterState::Open => (WireState::Open, None, None),
        LetterState::Replaying(replay) => (WireState::Replaying, Some(replay.at), Some(replay)),
        LetterState::Replayed(replay) => (WireState::Replayed, Some(replay.at), Some(replay)),
        LetterState::Dropped { at } => (WireState::Dropped, Some(*at), None),
    };
    let read = Glimpse::of(&letter.record);
    let time = read.time.and_then(|ms| TimestampMs(ms).checked().ok());
    let pairs = read.attributes.iter();
    DeadLetterAnswer {
        partition: partition.0,
        offset: letter.offset.0,
        append_time: letter.append_time.to_string(),
        reason: letter.reason.clone(),
        state,
        state_time: state_time.map(|at| at.to_string()),
        replay: replay.and_then(replayed_event),
        id: read.id,
        item: read.item.map(str::to_owned),
        event_type: read.event_type.map(str::to_owned),
        time: time.map(|time| time.to_string()),
        value: read
            .value
            .map(|value| DecimalNumber::from_text(format_micros(value.micros().into()))),
        attributes: pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        record: letter.record.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn replayed_event(replay: &Replay) -> Option<ReplayedEvent> {
    let record = Record::read(&replay.record).ok()?;
    Some(ReplayedEvent {
        id: record.id_text(),
        item: record.item.to_owned(),
        event_type: record.event_type.to_owned(),
        time: record.time.to_string(),
        partition: replay.partition.0,
        from_offset: replay.from.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_at_a_place_or_at_an_offset_of_one_partition() {
        let place = |partition, offset| Some((PartitionId(partition), Offset(offset)));
        let cases = [
            (None, None, place(0, 0)),
            (Some(3), None, place(3, 0)),
            (None, Some("2/7"), place(2, 7)),
            (Some(2), Some("2/7"), place(2, 7)),
            (Some(2), Some("7"), place(2, 7)),
            (None, Some("7"), None),
            (Some(1), Some("2/7"), None),
            (None, Some("2/-7"), None),
            (None, Some("/"), None),
        ];
        for (only, from, expected) in cases {
            let found = page_start(only.map(PartitionId), from).ok();
            assert_eq!(found, expected, "{only:?} {from:?}");
        }
    }
}
