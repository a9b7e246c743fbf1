//! `GET /v1/admin/partitions`: how far each partition is.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::archiver::ArchiveStatus;
use engine::processor::PartitionStatus;
use serde::Serialize;

use super::params::Params;
use super::problem::{Failure, json};
use super::skew::Skew;
use super::{Parts, Routes};

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, parts: &Parts, skew: &Arc<Skew>) -> Routes {
    let state = (parts.clone(), skew.clone());
    routes.add("/v1/admin/partitions", &["GET"], get(partitions).with_state(state))
}

#[derive(Serialize)]
pub(super) struct PartitionsAnswer {
    partitions: Vec<PartitionAnswer>,
}

impl PartitionsAnswer {
    /// `rates` are in events a second; empty where nobody watches them.
    pub(super) fn of(
        statuses: &[PartitionStatus],
        archive: &[ArchiveStatus],
        rates: &[f64],
    ) -> Self {
        let rows = statuses.iter().enumerate();
        let row = |(at, status): (usize, &PartitionStatus)| {
            let archive = archive.iter().find(|archive| archive.partition == status.partition);
            PartitionAnswer::of(status, archive, rates.get(at).copied())
        };
        let rows = rows.map(row);
        Self { partitions: rows.collect() }
    }
}

#[derive(Serialize)]
struct PartitionAnswer {
    partition: u16,
    log_epoch: u32,
    start_offset: u64,
    durable_offset: u64,
    next_offset: u64,
    checkpoint_offset: u64,
    /// None where no raw events are kept.
    archived_offset: Option<u64>,
    lag_events: u64,
    /// Over the last ten seconds or so, to a tenth; none where nobody watches it.
    events_per_second: Option<f64>,
    append_time: String,
    checkpoint_age_ms: u64,
    counted: u64,
    duplicates: u64,
    dead_letters: u64,
    dedup_ids: u64,
    dedup_bytes: u64,
    minute_horizon: String,
    hour_horizon: String,
    folded_rows: u64,
    is_stopped: bool,
}

impl PartitionAnswer {
    fn of(status: &PartitionStatus, archive: Option<&ArchiveStatus>, rate: Option<f64>) -> Self {
        Self {
            partition: status.partition.0,
            log_epoch: status.log_epoch,
            start_offset: status.start_offset.0,
            durable_offset: status.durable_offset.0,
            next_offset: status.next_offset.0,
            checkpoint_offset: status.checkpoint_offset.0,
            archived_offset: archive.map(|archive| archive.archived_offset.0),
            lag_events: status.lag,
            events_per_second: rate.map(|rate| (rate * 10.0).round() / 10.0),
            append_time: status.append_time.to_string(),
            checkpoint_age_ms: status.checkpoint_age_ms,
            counted: status.counted,
            duplicates: status.duplicates,
            dead_letters: status.dead_letters,
            dedup_ids: status.dedup_ids,
            dedup_bytes: status.dedup_bytes,
            minute_horizon: status.horizons.minute().start().to_string(),
            hour_horizon: status.horizons.hour().start().to_string(),
            folded_rows: status.folded_rows,
            is_stopped: status.is_stopped,
        }
    }
}

async fn partitions(
    State((parts, skew)): State<(Parts, Arc<Skew>)>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    let statuses = parts.processors.status();
    let archive = parts.archiver.as_ref().map(|archiver| archiver.status()).unwrap_or_default();
    Ok(json(StatusCode::OK, &PartitionsAnswer::of(&statuses, &archive, &skew.rates())))
}
