//! `GET /v1/top`: the most counted items of a range, exactly.

use std::sync::Arc;

use api::{ProblemCode, TopAnswer, TopItem};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::ports::ItemDetailsStore;
use engine::query::Query;
use model::limits::LIST_ROWS_MAX;

use super::Routes;
use super::details;
use super::items::ask;
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;

const LIMIT_DEFAULT: usize = 10;

/// Who ranks items, and who knows their titles.
pub(super) struct Ranked {
    pub(super) query: Arc<Query>,
    pub(super) details: Arc<dyn ItemDetailsStore>,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, ranked: &Arc<Ranked>) -> Routes {
    routes.add("/v1/top", &["GET"], get(top).with_state(ranked.clone()))
}

/// How many rows are asked for.
pub(super) fn limit_of(params: &Params) -> Result<usize, Failure> {
    let limit = params.number("limit", 1..=usize::MAX)?.unwrap_or(LIMIT_DEFAULT);
    if limit > LIST_ROWS_MAX {
        let detail = format!("the parameter `limit` is {limit}; at most {LIST_ROWS_MAX} are given");
        return Err(Failure::new(ProblemCode::TooManyPoints, detail));
    }
    Ok(limit)
}

async fn top(
    State(ranked): State<Arc<Ranked>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["type", "window", "start", "end", "limit"])?;
    let event_type = params.event_type()?;
    let limit = limit_of(&params)?;
    let range = ranges::top_range(&params, || ranked.query.now())?;
    let (asked_type, store) = (event_type.clone(), ranked.details.clone());
    let question = move |query: &Query| {
        let top = query.top(&asked_type, range, limit)?;
        let row = |(item, count)| TopItem { item, count, title: None };
        let mut items: Vec<TopItem> = top.items.into_iter().map(row).collect();
        details::add_titles(&*store, &mut items);
        Ok((top.range, items, top.quality))
    };
    let (range, items, quality) = ask(&ranked.query, true, question).await?;
    let (start, end) = ranges::bounds(range, quality.as_of);
    let answer = TopAnswer {
        event_type,
        start: start.to_string(),
        end: end.to_string(),
        items,
        as_of: quality.as_of.to_string(),
    };
    Ok(json(StatusCode::OK, &answer))
}
