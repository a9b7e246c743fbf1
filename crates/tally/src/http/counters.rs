//! `GET /v1/admin/counters`: all that store and memory hold, as NDJSON, for who computes with it.

use std::sync::Arc;

use api::{AS_OF_HEADER, COLD_UNTIL_HEADER, CounterLine, ProblemCode};
use axum::extract::{RawQuery, State};
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::get;
use engine::query::{CounterPart, CounterScope, Query, ScanHead};
use model::TimeRange;
use model::bucket::TIME_MIN;
use model::event::{check_item, check_type};

use super::Routes;
use super::events::read::Fault;
use super::items::decimal;
use super::lines::{Begin, LineAnswers, Lines};
use super::params::Params;
use super::problem::Failure;

/// What the path needs.
pub(super) struct Scans {
    query: Arc<Query>,
    answers: LineAnswers,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, query: &Arc<Query>) -> Routes {
    let answers = LineAnswers::new("counters");
    let scans = Arc::new(Scans { query: query.clone(), answers });
    routes.add("/v1/admin/counters", &["GET"], get(counters).with_state(scans))
}

async fn counters(
    State(scans): State<Arc<Scans>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let scope = scope(&Params::of(params.as_deref(), &["start", "end", "type", "item"])?)?;
    let query = scans.query.clone();
    let make = move |begin: &mut Begin<ScanHead>, lines: &mut Lines| {
        query.scan(&scope, &mut |head| begin.with(head), &mut |part| lines.push(&line(part)))
    };
    let (head, mut response) = scans.answers.answer(make).await?;
    let date: String = head.cold_until.start().to_string().chars().take(10).collect();
    for (name, text) in [(COLD_UNTIL_HEADER, date), (AS_OF_HEADER, head.as_of.to_string())] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn scope(params: &Params) -> Result<CounterScope, Failure> {
    let item = params.one("item")?.map(ToOwned::to_owned);
    let event_type = params.one("type")?.map(ToOwned::to_owned);
    item.as_deref().map_or(Ok(()), check_item).map_err(Fault::from)?;
    event_type.as_deref().map_or(Ok(()), check_type).map_err(Fault::from)?;
    let (start, end) = (params.time("start")?, params.time("end")?);
    let start = start.unwrap_or(TIME_MIN);
    let range = match end {
        None => TimeRange { start: start.minute(), ..TimeRange::ALL },
        Some(end) if start < end => TimeRange::covering(start, end),
        Some(_) => {
            let detail = "the range is empty: `start` must be before `end`";
            return Err(Failure::new(ProblemCode::InvalidRange, detail));
        }
    };
    Ok(CounterScope { range, event_type, item })
}

/// A part of a counter as a line.
fn line(part: &CounterPart<'_>) -> CounterLine {
    let summary = part.summary;
    CounterLine {
        item: part.item.to_owned(),
        event_type: part.event_type.to_owned(),
        granularity: part.granularity.as_str().to_owned(),
        time: part.start.to_string(),
        count: summary.count,
        value_count: summary.value_count,
        sum: decimal(summary, summary.sum),
        min: decimal(summary, summary.min.into()),
        max: decimal(summary, summary.max.into()),
    }
}
