//! `GET /v1/admin/partitions` and `…/dead-letters`: how far each partition is, and what it could not
//! count.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::processor::PartitionStatus;
use model::limits::LIST_ROWS_MAX;
use model::record::Record;
use model::{Offset, PartitionId};
use serde::Serialize;

use super::params::Params;
use super::problem::{Failure, json};
use super::{Parts, Routes};

const LIMIT_DEFAULT: usize = 100;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, parts: &Parts) -> Routes {
    routes.add("/v1/admin/partitions", &["GET"], get(partitions).with_state(parts.clone())).add(
        "/v1/admin/dead-letters",
        &["GET"],
        get(dead_letters).with_state(parts.clone()),
    )
}

#[derive(Serialize)]
struct PartitionsAnswer {
    partitions: Vec<PartitionAnswer>,
}

#[derive(Serialize)]
struct PartitionAnswer {
    partition: u16,
    log_epoch: u32,
    start_offset: u64,
    durable_offset: u64,
    next_offset: u64,
    checkpoint_offset: u64,
    lag_events: u64,
    append_time: String,
    checkpoint_age_ms: u64,
    counted: u64,
    duplicates: u64,
    dead_letters: u64,
    dedup_ids: u64,
    dedup_bytes: u64,
    is_stopped: bool,
}

impl From<&PartitionStatus> for PartitionAnswer {
    fn from(status: &PartitionStatus) -> Self {
        Self {
            partition: status.partition.0,
            log_epoch: status.log_epoch,
            start_offset: status.start_offset.0,
            durable_offset: status.durable_offset.0,
            next_offset: status.next_offset.0,
            checkpoint_offset: status.checkpoint_offset.0,
            lag_events: status.lag,
            append_time: status.append_time.to_string(),
            checkpoint_age_ms: status.checkpoint_age_ms,
            counted: status.counted,
            duplicates: status.duplicates,
            dead_letters: status.dead_letters,
            dedup_ids: status.dedup_ids,
            dedup_bytes: status.dedup_bytes,
            is_stopped: status.is_stopped,
        }
    }
}

async fn partitions(
    State(parts): State<Parts>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    let statuses = parts.processors.status();
    let answer = PartitionsAnswer { partitions: statuses.iter().map(Into::into).collect() };
    Ok(json(StatusCode::OK, &answer))
}

#[derive(Serialize)]
struct DeadLettersAnswer {
    dead_letters: Vec<DeadLetterAnswer>,
}

#[derive(Serialize)]
struct DeadLetterAnswer {
    partition: u16,
    offset: u64,
    append_time: String,
    reason: String,
    /// What can be read of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// The record's bytes in hexadecimal digits.
    record: String,
}

async fn dead_letters(
    State(parts): State<Parts>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["partition", "offset", "limit"])?;
    let limit = params.number("limit", 1..=LIST_ROWS_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let only = params.number("partition", 0..=usize::from(u16::MAX))?;
    let from = params.number("offset", 0..=usize::MAX)?.unwrap_or(0);
    let task = tokio::task::spawn_blocking(move || list(&parts, only, from as u64, limit));
    let dead_letters = task.await.map_err(|_| {
        Failure::new(api::ProblemCode::Internal, "reading the dead letters failed")
    })??;
    Ok(json(StatusCode::OK, &DeadLettersAnswer { dead_letters }))
}

fn list(
    parts: &Parts,
    only: Option<usize>,
    from: u64,
    limit: usize,
) -> Result<Vec<DeadLetterAnswer>, Failure> {
    let snapshot = parts.store.snapshot()?;
    let mut letters = Vec::new();
    for status in parts.processors.status() {
        let PartitionId(partition) = status.partition;
        if only.is_some_and(|only| only != usize::from(partition)) || letters.len() >= limit {
            continue;
        }
        let room = limit - letters.len();
        for letter in snapshot.dead_letters(status.partition, Offset(from), room)? {
            let read = Record::read(&letter.record).ok();
            letters.push(DeadLetterAnswer {
                partition,
                offset: letter.offset.0,
                append_time: letter.append_time.to_string(),
                reason: letter.reason,
                item: read.map(|record| record.item.to_owned()),
                event_type: read.map(|record| record.event_type.to_owned()),
                record: letter.record.iter().map(|byte| format!("{byte:02x}")).collect(),
            });
        }
    }
    Ok(letters)
}
