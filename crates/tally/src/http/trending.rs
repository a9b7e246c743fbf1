//! `GET /v1/trending`: the items that grew most against the window before.

use std::sync::Arc;

use api::{ProblemCode, TrendingAnswer, TrendingItem};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::query::{Query, Trend};
use model::bucket::MINUTE_MS;
use model::limits::TRENDING_WINDOW_MAX_MS;
use model::{TimeRange, TimestampMs};

use super::Routes;
use super::again::{self, ask_again};
use super::details;
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;
use super::top::{Ranked, limit_of};
use crate::config::units::parse_duration_ms;

/// Minutes of the window where the request does not say.
const MINUTES_DEFAULT: u32 = 60;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, ranked: &Arc<Ranked>) -> Routes {
    routes.add("/v1/trending", &["GET"], get(trending).with_state(ranked.clone()))
}

async fn trending(
    State(ranked): State<Arc<Ranked>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let params = Params::of(params.as_deref(), &["type", "window", "limit"])?;
    let event_type = params.event_type()?;
    let limit = limit_of(&params)?;
    let minutes = window_minutes(&params)?;
    // It ends with the current minute, and so is never closed.
    let now = ranked.answers.query().now();
    let range = TimeRange::covering(now, TimestampMs(now.0 + 1));
    let numbers = [minutes.to_string(), limit.to_string()];
    let asked = again::question("trending", &[&event_type, &numbers[0], &numbers[1]]);
    let store = ranked.details.clone();
    let make = move |query: &Query| {
        let trending = query.trending(&event_type, minutes, limit)?;
        let (start, end) = ranges::bounds(trending.window, trending.quality.as_of);
        Ok(TrendingAnswer {
            event_type: event_type.clone(),
            start: start.to_string(),
            end: end.to_string(),
            before_start: trending.before_start.start().to_string(),
            items: trending.items.into_iter().map(describe).collect(),
            as_of: trending.quality.as_of.to_string(),
            stale: false,
        })
    };
    let finish = move |_: &Query, answer: &mut TrendingAnswer| {
        let found = details::titles(&*store, answer.items.iter().map(|row| row.item.as_str()));
        answer.items.iter_mut().zip(found).for_each(|(row, title)| row.title = title);
    };
    let answer = ask_again(&ranked.answers, asked, range, make, finish).await?;
    Ok(json(StatusCode::OK, &answer))
}

fn describe(row: Trend) -> TrendingItem {
    let Trend { item, count, before, score } = row;
    // More places would show the noise of a float, not of the counts.
    let score = (score * 1_000.0).round() / 1_000.0;
    TrendingItem { item, title: None, count, before, score }
}

/// The window in whole minutes, rounded up.
fn window_minutes(params: &Params) -> Result<u32, Failure> {
    let Some(window) = params.one("window")? else { return Ok(MINUTES_DEFAULT) };
    let millis = parse_duration_ms(window).map_err(|expected| {
        Failure::parameter(format!("the parameter `window` is `{window}`; {expected}"))
    })?;
    if !(1..=TRENDING_WINDOW_MAX_MS as u64).contains(&millis) {
        let days = TRENDING_WINDOW_MAX_MS / 86_400_000;
        let detail = format!("the parameter `window` is `{window}`; it must be at most {days}d");
        return Err(Failure::new(ProblemCode::InvalidRange, detail));
    }
    Ok(millis.div_ceil(MINUTE_MS as u64) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_minutes_within_bounds() {
        let minutes = |query| {
            window_minutes(&Params::of(Some(query), &["window"]).unwrap()).map_err(|f| f.code())
        };
        assert_eq!(minutes(""), Ok(60));
        assert_eq!(minutes("window=90s"), Ok(2));
        assert_eq!(minutes("window=31d"), Ok(31 * 24 * 60));
        assert_eq!(minutes("window=32d"), Err(ProblemCode::InvalidRange));
        assert_eq!(minutes("window=40y"), Err(ProblemCode::InvalidRange));
        assert_eq!(minutes("window=soon"), Err(ProblemCode::InvalidParameter));
    }
}
