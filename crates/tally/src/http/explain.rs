//! `GET /v1/items/{item}/explain`: the parts behind a number.

use std::sync::Arc;

use api::{
    ColdPart, CorrectionPart, DecimalNumber, ExplainAnswer, MemoryPart, PartitionPart, RowsPart,
};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::query::{self, RowsKind};
use model::Summary;

use super::Routes;
use super::items::{Asked, CountQuestion, ask, decimal};
use super::problem::{Failure, json};
use super::ranges;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, asked: &Arc<Asked>) -> Routes {
    routes.add("/v1/items/{item}/explain", &["GET"], get(explain).with_state(asked.clone()))
}

async fn explain(
    State(asked): State<Arc<Asked>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let question = asked.count_question(item, params.as_deref())?;
    let (query, CountQuestion { item, event_type, range }) = (&asked.query, question);
    let (asked_item, asked_type) = (item.clone(), event_type.clone());
    let explained =
        ask(query, true, move |query| query.explain(&asked_item, &asked_type, range)).await?;
    let bounds = explained.range.map(|range| ranges::bounds(range, explained.quality.as_of));
    let status = asked.status(explained.quality, explained.range, &item, &event_type);
    let answer = ExplainAnswer {
        item,
        event_type,
        start: bounds.map(|(start, _)| start.to_string()),
        end: bounds.map(|(_, end)| end.to_string()),
        count: explained.summary.count,
        sum: sum(&explained.summary),
        minute_horizon: explained.horizons.minute().start().to_string(),
        hour_horizon: explained.horizons.hour().start().to_string(),
        partitions: explained.partitions.iter().map(partition).collect(),
        cold: ColdPart {
            count: explained.cold.count,
            sum: sum(&explained.cold),
            until: (explained.cold_until.0 > 0).then(|| explained.cold_until.start().to_string()),
        },
        corrections: explained.partitions.iter().flat_map(corrections).collect(),
        as_of: explained.quality.as_of.to_string(),
        status,
    };
    Ok(json(StatusCode::OK, &answer))
}

fn partition(parts: &query::PartitionParts) -> PartitionPart {
    PartitionPart {
        partition: parts.partition.0,
        checkpoint_offset: parts.checkpoint.unwrap_or_default().next_offset.0,
        rows: parts.rows.iter().map(rows).collect(),
        memory: parts.memory.iter().map(memory).collect(),
        duplicates_since_start: parts.duplicates,
    }
}

fn corrections(parts: &query::PartitionParts) -> impl Iterator<Item = CorrectionPart> {
    let partition = parts.partition.0;
    parts.corrections.iter().map(move |cell| CorrectionPart {
        partition,
        offset: cell.offset.0,
        time: cell.start.to_string(),
        count: cell.count,
    })
}

fn rows(part: &query::RowsPart) -> RowsPart {
    let kind = match part.kind {
        RowsKind::Total => "total",
        RowsKind::Hours => "hours",
        RowsKind::Days => "days",
    };
    RowsPart {
        kind: kind.into(),
        rows: part.rows,
        count: part.summary.count,
        sum: sum(&part.summary),
        log_epoch: part.stamp.log_epoch,
        base_offset: part.stamp.base_offset.0,
        next_offset: part.stamp.next_offset.0,
    }
}

fn memory(part: &query::MemoryPart) -> MemoryPart {
    MemoryPart {
        state: if part.is_frozen { "frozen".into() } else { "active".into() },
        from_offset: part.from.0,
        next_offset: part.next_offset.0,
        count: part.summary.count,
        sum: sum(&part.summary),
    }
}

fn sum(summary: &Summary) -> Option<DecimalNumber> {
    decimal(summary, summary.sum)
}
