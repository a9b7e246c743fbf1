//! `GET /v1/top`: the most counted items of a range, exactly.

use std::sync::Arc;

use api::{ProblemCode, TopAnswer, TopItem};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::answers::Answers;
use engine::ports::ItemDetailsStore;
use engine::query::Query;
use model::limits::LIST_ROWS_MAX;

use super::Routes;
use super::again::{self, ask_again};
use super::details;
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;

const LIMIT_DEFAULT: usize = 10;

/// Who ranks items, and who knows their titles.
pub(super) struct Ranked {
    pub(super) answers: Arc<Answers>,
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
    let range = ranges::top_range(&params, || ranked.answers.query().now())?;
    let asked = again::question("top", &[&event_type, &limit.to_string()]);
    let store = ranked.details.clone();
    let make = move |query: &Query| {
        let top = query.top(&event_type, range, limit)?;
        let (start, end) = ranges::bounds(top.range, top.quality.as_of);
        let row = |(item, count)| TopItem { item, count, title: None };
        Ok(TopAnswer {
            event_type: event_type.clone(),
            start: start.to_string(),
            end: end.to_string(),
            items: top.items.into_iter().map(row).collect(),
            as_of: top.quality.as_of.to_string(),
            stale: false,
        })
    };
    let finish = move |_: &Query, answer: &mut TopAnswer| {
        details::add_titles(&*store, &mut answer.items);
    };
    let answer = ask_again(&ranked.answers, asked, range, make, finish).await?;
    Ok(json(StatusCode::OK, &answer))
}
