//! `/v1/admin/recounts` and `/v1/admin/repairs`: counting again, and correcting what differs.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{
    DifferenceAnswer, NumbersAnswer, ProblemCode, RecountAnswer, RecountRequest, RecountState,
    RecountedPartition, RecountsAnswer, RepairAnswer, RepairsAnswer,
};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use engine::query::Query;
use model::event::{check_item, check_type};
use model::{Cell, HourCell, Summary, TimeRange, TimestampMs};

use super::Routes;
use super::body::{self, BodyBudget, Encoding};
use super::events::read::Fault;
use super::items::decimal;
use super::params::{self, Params};
use super::problem::{Failure, json};
use crate::recount::{AskedBy, Found, Job, Progress, Recounts, RepairError, Repaired};

/// Differences of an answer.
const FOUND_MAX: usize = 1_000;

/// What the paths of this resource need.
pub(super) struct RecountPaths {
    pub(super) recounts: Arc<Recounts>,
    pub(super) query: Arc<Query>,
    pub(super) budget: BodyBudget,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, paths: &Arc<RecountPaths>) -> Routes {
    let of = || paths.clone();
    routes
        .add("/v1/admin/recounts", &["GET", "POST"], get(list).post(start).with_state(of()))
        .add("/v1/admin/recounts/{id}", &["GET", "DELETE"], get(show).delete(stop).with_state(of()))
        .add("/v1/admin/recounts/{id}/repair", &["POST"], post(repair).with_state(of()))
        .add("/v1/admin/repairs", &["GET"], get(repairs).with_state(of()))
        .add("/v1/admin/repairs/{generation}/confirm", &["POST"], post(confirm).with_state(of()))
        .add("/v1/admin/repairs/{generation}/revert", &["POST"], post(revert).with_state(of()))
}

type Paths = State<Arc<RecountPaths>>;
type Number = Result<Path<u64>, PathRejection>;

async fn start(State(paths): Paths, request: Request) -> Result<Response, Failure> {
    Params::of(request.uri().query(), &[])?;
    body::expect_type(request.headers(), body::JSON)?;
    let encoding = Encoding::of(request.headers())?;
    let (head, body) = request.into_parts();
    let body = body::read(&paths.budget, &head.headers, body).await?.decode(encoding)?;
    let request: RecountRequest = serde_json::from_slice(&body.bytes).map_err(|error| {
        let detail = format!("the body must be {{\"start\":…,\"end\":…}}: {error}");
        Failure::new(ProblemCode::InvalidJson, detail)
    })?;
    let (start, end) = (time("start", &request.start)?, time("end", &request.end)?);
    if start >= end {
        let detail = format!("the range [{start}, {end}) is empty: `start` must be before `end`");
        return Err(Failure::new(ProblemCode::InvalidRange, detail));
    }
    request.item.as_deref().map_or(Ok(()), check_item).map_err(Fault::from)?;
    request.event_type.as_deref().map_or(Ok(()), check_type).map_err(Fault::from)?;
    let range = TimeRange::covering(start, end);
    let began = paths.query.now();
    let job = paths
        .recounts
        .start(range, request.item, request.event_type, (AskedBy::Request, began))
        .map_err(|error| Failure::new(ProblemCode::Conflict, error.to_string()))?;
    Ok(json(StatusCode::ACCEPTED, &describe(&job)))
}

fn time(name: &str, value: &serde_json::Value) -> Result<TimestampMs, Failure> {
    let what = format!("`{name}`");
    match value {
        serde_json::Value::String(text) => params::time(&what, text),
        serde_json::Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(whole) if whole.fract() == 0.0 => params::time(&what, &format!("{whole:.0}")),
            _ => params::time(&what, &number.to_string()),
        },
        _ => Err(Failure::parameter(format!("{what} must be RFC 3339 or epoch milliseconds"))),
    }
}

async fn list(State(paths): Paths) -> Response {
    let recounts = paths.recounts.jobs().iter().map(|job| describe(job)).collect();
    json(StatusCode::OK, &RecountsAnswer { recounts })
}

async fn show(State(paths): Paths, id: Number) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &describe(&*find(&paths, id)?)))
}

async fn stop(State(paths): Paths, id: Number) -> Result<Response, Failure> {
    let job = find(&paths, id)?;
    job.stop();
    Ok(json(StatusCode::ACCEPTED, &describe(&job)))
}

fn find(paths: &RecountPaths, id: Number) -> Result<Arc<Job>, Failure> {
    let id = number(id)?;
    paths.recounts.job(id).ok_or_else(|| {
        let detail = format!("there is no recount {id}; GET /v1/admin/recounts lists them");
        Failure::new(ProblemCode::NotFound, detail)
    })
}

fn number(number: Number) -> Result<u64, Failure> {
    let Path(number) = number.map_err(|_| {
        Failure::new(ProblemCode::NotFound, "recounts and generations have numbers")
    })?;
    Ok(number)
}

async fn repair(State(paths): Paths, id: Number) -> Result<Response, Failure> {
    let job = find(&paths, id)?;
    let repaired = blocking(&paths, move |recounts| recounts.repair(&job)).await?;
    Ok(json(StatusCode::OK, &repair_answer(&repaired)))
}

async fn repairs(State(paths): Paths) -> Result<Response, Failure> {
    let kept = blocking(&paths, |recounts| Ok(recounts.kept()?)).await?;
    let mut generations: BTreeMap<u64, RepairAnswer> = BTreeMap::new();
    for (_, repair) in kept {
        let generation = repair.corrections.generation;
        let empty = RepairAnswer { generation, corrected: 0, refused: 0 };
        let answer = generations.entry(generation).or_insert(empty);
        answer.corrected += repair.corrections.cells.len() as u64;
        answer.refused += repair.refused;
    }
    let repairs = generations.into_values().collect();
    Ok(json(StatusCode::OK, &RepairsAnswer { repairs }))
}

async fn confirm(State(paths): Paths, generation: Number) -> Result<Response, Failure> {
    let generation = number(generation)?;
    blocking(&paths, move |recounts| recounts.confirm(generation)).await?;
    let confirmed = RepairAnswer { generation, corrected: 0, refused: 0 };
    Ok(json(StatusCode::OK, &confirmed))
}

async fn revert(State(paths): Paths, generation: Number) -> Result<Response, Failure> {
    let generation = number(generation)?;
    let reverted = blocking(&paths, move |recounts| recounts.revert(generation)).await?;
    Ok(json(StatusCode::OK, &repair_answer(&reverted)))
}

/// Repairs wait for the log and for flushes: off the threads that answer requests.
async fn blocking<T: Send + 'static>(
    paths: &Arc<RecountPaths>,
    call: impl FnOnce(&Recounts) -> Result<T, RepairError> + Send + 'static,
) -> Result<T, Failure> {
    let paths = paths.clone();
    let called = tokio::task::spawn_blocking(move || call(&paths.recounts)).await;
    let result = called.map_err(|error| {
        Failure::new(ProblemCode::Internal, format!("the repair ended in a panic: {error}"))
    })?;
    result.map_err(|error| match error {
        RepairError::Port(error) => Failure::from(error),
        error @ RepairError::Unknown(_) => Failure::new(ProblemCode::NotFound, error.to_string()),
        error @ RepairError::Slow(_) => Failure::new(ProblemCode::Unavailable, error.to_string()),
        error => Failure::new(ProblemCode::Conflict, error.to_string()),
    })
}

fn repair_answer(repaired: &Repaired) -> RepairAnswer {
    let Repaired { generation, corrected, refused } = *repaired;
    RepairAnswer { generation, corrected, refused }
}

fn describe(job: &Job) -> RecountAnswer {
    let (work, state) = (job.work(), job.state());
    let (wire, error) = match state.progress {
        Progress::Running => (RecountState::Running, None),
        Progress::Done => (RecountState::Done, None),
        Progress::Stopped => (RecountState::Stopped, None),
        Progress::Failed(error) => (RecountState::Failed, Some(error)),
    };
    RecountAnswer {
        id: job.id,
        state: wire,
        start: job.start.to_string(),
        end: job.end.to_string(),
        item: job.item.clone(),
        event_type: job.event_type.clone(),
        began: job.began.to_string(),
        error,
        events_planned: work.planned,
        events_read: work.read,
        events: work.judged,
        repeats: work.repeats,
        totals_checked: job.has_checked_totals(),
        differences: state.found.len() as u64,
        found: state.found.iter().take(FOUND_MAX).map(difference).collect(),
        partitions: state
            .offsets
            .iter()
            .map(|(partition, offset)| RecountedPartition {
                partition: partition.0,
                next_offset: offset.0,
            })
            .collect(),
        repair: state.repaired.map(|repaired| repair_answer(&repaired)),
    }
}

fn difference(found: &Found) -> DifferenceAnswer {
    let cell = &found.cell;
    let (granularity, time) = match cell.place {
        None => ("total", None),
        Some(HourCell { hour, slot: Cell::WHOLE }) => ("hour", Some(hour.start())),
        Some(HourCell { hour, slot }) => ("minute", Some(hour.minute(slot).start())),
    };
    DifferenceAnswer {
        partition: found.partition.0,
        item: cell.item.clone(),
        event_type: cell.event_type.clone(),
        granularity: granularity.into(),
        time: time.map(|time| time.to_string()),
        stored: numbers(&cell.was),
        recounted: numbers(&cell.is),
    }
}

fn numbers(summary: &Summary) -> NumbersAnswer {
    NumbersAnswer {
        count: summary.count,
        value_count: summary.value_count,
        sum: decimal(summary, summary.sum),
        min: decimal(summary, summary.min.into()),
        max: decimal(summary, summary.max.into()),
    }
}
