//! `GET /v1/top`: the most counted items of a range, exactly.

use std::sync::Arc;

use api::{ProblemCode, TopAnswer, TopItem};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::query::Query;
use model::limits::LIST_ROWS_MAX;

use super::Routes;
use super::items::ask;
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;

const LIMIT_DEFAULT: usize = 10;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, query: &Arc<Query>) -> Routes {
    routes.add("/v1/top", &["GET"], get(top).with_state(query.clone()))
}

async fn top(
    State(query): State<Arc<Query>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["type", "window", "start", "end", "limit"])?;
    let event_type = params.event_type()?;
    let limit = params.number("limit", 1..=usize::MAX)?.unwrap_or(LIMIT_DEFAULT);
    if limit > LIST_ROWS_MAX {
        let detail = format!("the parameter `limit` is {limit}; at most {LIST_ROWS_MAX} are given");
        return Err(Failure::new(ProblemCode::TooManyPoints, detail));
    }
    let range = ranges::top_range(&params, || query.now())?;
    let asked_type = event_type.clone();
    let top = ask(&query, true, move |query| query.top(&asked_type, range, limit)).await?;
    let (start, end) = ranges::bounds(top.range, top.quality.as_of);
    let items = top.items.into_iter().map(|(item, count)| TopItem { item, count, title: None });
    let answer = TopAnswer {
        event_type,
        start: start.to_string(),
        end: end.to_string(),
        items: items.collect(),
        as_of: top.quality.as_of.to_string(),
    };
    Ok(json(StatusCode::OK, &answer))
}
