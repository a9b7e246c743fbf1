//! `GET /v1/counts`: the totals of many items in one call.

use std::sync::Arc;

use api::{CountsAnswer, ItemCount, ProblemCode};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::query::Query;
use model::limits::COUNTS_ITEMS_MAX;

use super::Routes;
use super::events::read::Fault;
use super::items::ask;
use super::params::Params;
use super::problem::{Failure, json};

/// More items than this are looked up off the async threads.
const INLINE_ITEMS_MAX: usize = 32;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, query: &Arc<Query>) -> Routes {
    routes.add("/v1/counts", &["GET"], get(counts).with_state(query.clone()))
}

async fn counts(
    State(query): State<Arc<Query>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["item", "type"])?;
    let event_type = params.event_type()?;
    let items: Vec<String> = params.all("item").map(str::to_owned).collect();
    if items.is_empty() {
        return Err(Failure::parameter("the parameter `item` is missing"));
    }
    if items.len() > COUNTS_ITEMS_MAX {
        let detail = format!("{} items were asked for; at most {COUNTS_ITEMS_MAX}", items.len());
        return Err(Failure::new(ProblemCode::TooManyPoints, detail));
    }
    for item in &items {
        model::event::check_item(item).map_err(Fault::from)?;
    }
    let is_long = items.len() > INLINE_ITEMS_MAX;
    let asked_type = event_type.clone();
    let (items, totals, quality) = ask(&query, is_long, move |query| {
        let names: Vec<&str> = items.iter().map(String::as_str).collect();
        let (totals, quality) = query.totals(&names, &asked_type)?;
        Ok((items, totals, quality))
    })
    .await?;
    let counts = items.into_iter().zip(totals);
    let counts = counts.map(|(item, total)| ItemCount { item, count: total.count }).collect();
    let as_of = quality.as_of.to_string();
    let answer = CountsAnswer { event_type, counts, as_of, stale: false };
    Ok(json(StatusCode::OK, &answer))
}
