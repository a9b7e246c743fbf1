//! `GET /v1/items/{item}/count` and `…/stats`: how often, how much, when.

use std::sync::Arc;

use api::{CountAnswer, DecimalNumber, ProblemCode, StatsAnswer, StatsPoint, StatsSummary};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::answers::Answers;
use engine::query::{Quality, Query, QueryError, Series};
use model::limits::SERIES_POINTS_MAX;
use model::value::format_micros;
use model::{Granularity, Summary, TimeRange, TimestampMs};

use super::Routes;
use super::again::{self, ask_again};
use super::events::read::Fault;
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;
use crate::recount::Recounts;

/// What `status` says of a range that can still grow, and of one that cannot.
const PROVISIONAL: &str = "provisional";
pub(super) const FINAL: &str = "final";
/// What it says of one whose raw events were counted again since.
pub(super) const RECOUNTED: &str = "recounted";

/// A question over more hours than this is asked off the async threads.
const INLINE_HOURS_MAX: u32 = 48;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, asked: &Arc<Asked>) -> Routes {
    routes.add("/v1/items/{item}/count", &["GET"], get(count).with_state(asked.clone())).add(
        "/v1/items/{item}/stats",
        &["GET"],
        get(stats).with_state(asked.clone()),
    )
}

/// Who answers, and who says how good the answer is.
pub(super) struct Asked {
    pub(super) query: Arc<Query>,
    pub(super) answers: Arc<Answers>,
    pub(super) recounts: Arc<Recounts>,
}

/// The item of a path, checked.
pub(super) fn item_of(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    let Path(item) = path.map_err(|_| {
        Failure::new(ProblemCode::InvalidItem, "the item in the path is not percent-encoded UTF-8")
    })?;
    model::event::check_item(&item).map_err(Fault::from)?;
    Ok(item)
}

/// Runs a question where it belongs: short ones here, others off the async threads.
pub(super) async fn ask<T: Send + 'static>(
    query: &Arc<Query>,
    is_long: bool,
    question: impl FnOnce(&Query) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, Failure> {
    if !is_long && !query.reads_afar() {
        return question(query).map_err(Failure::from);
    }
    let query = query.clone();
    match tokio::task::spawn_blocking(move || question(&query)).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::new(ProblemCode::Internal, "answering the question failed")),
    }
}

/// Whether a question is over much, or may have to wait for files.
fn is_long(query: &Query, range: TimeRange) -> bool {
    range.hours().len() > INLINE_HOURS_MAX as usize || query.reaches_days(range)
}

/// A number over a summary's values; none where it has no value.
pub(super) fn decimal(summary: &Summary, micros: i128) -> Option<DecimalNumber> {
    (summary.value_count > 0).then(|| DecimalNumber::from_text(format_micros(micros)))
}

/// A question of how many, all told or in a range.
pub(super) struct CountQuestion {
    pub(super) item: String,
    pub(super) event_type: String,
    pub(super) range: Option<TimeRange>,
}

impl Asked {
    /// Reads a question from path and parameters.
    pub(super) fn count_question(
        &self,
        item: Result<Path<String>, PathRejection>,
        params: Option<&str>,
    ) -> Result<CountQuestion, Failure> {
        let item = item_of(item)?;
        let params = Params::of(params, &["type", "start", "end"])?;
        let event_type = params.event_type()?;
        let range = ranges::count_range(&params, || self.query.now())?;
        Ok(CountQuestion { item, event_type, range })
    }

    /// What `status` says.
    pub(super) fn status(
        &self,
        quality: Quality,
        range: Option<TimeRange>,
        item: &str,
        event_type: &str,
    ) -> String {
        match range.filter(|_| quality.is_final) {
            None => PROVISIONAL.into(),
            Some(range) => self.proven_status(range, item, event_type),
        }
    }

    /// What it says of a range that is final.
    fn proven_status(&self, range: TimeRange, item: &str, event_type: &str) -> String {
        let is_proven = self.recounts.has_proven(&self.query, range, (item, event_type));
        if is_proven { RECOUNTED.into() } else { FINAL.into() }
    }
}

async fn count(
    State(asked): State<Arc<Asked>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let question = asked.count_question(item, params.as_deref())?;
    let (query, CountQuestion { item, event_type, range }) = (&asked.query, question);
    let is_long = range.is_some_and(|range| is_long(query, range));
    let (asked_item, asked_type) = (item.clone(), event_type.clone());
    let counted =
        ask(query, is_long, move |query| query.count(&asked_item, &asked_type, range)).await?;
    let (start, end) = match counted.range {
        Some(range) => {
            let (start, end) = ranges::bounds(range, counted.quality.as_of);
            (Some(start.to_string()), Some(end.to_string()))
        }
        None => (None, None),
    };
    let status = asked.status(counted.quality, counted.range, &item, &event_type);
    Ok(json(
        StatusCode::OK,
        &CountAnswer {
            item,
            event_type,
            start,
            end,
            count: counted.summary.count,
            as_of: counted.quality.as_of.to_string(),
            status,
            stale: false,
        },
    ))
}

async fn stats(
    State(asked): State<Arc<Asked>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    let params = Params::of(params.as_deref(), &["type", "function", "start", "end", "step"])?;
    let event_type = params.event_type()?;
    let functions = Functions::of(&params)?;
    let step = step_of(&params)?;
    let query = &asked.query;
    let range = ranges::series_range(&params, step, || query.now())?;
    let points = ranges::points(range, step);
    if points > SERIES_POINTS_MAX {
        return Err(QueryError::TooManyPoints { points, max: SERIES_POINTS_MAX }.into());
    }
    let of_series = {
        let (item, event_type) = (item.clone(), event_type.clone());
        move |series: Series| describe(&item, &event_type, functions, &series)
    };
    let (asked_item, asked_type) = (item.clone(), event_type.clone());
    let make = move |query: &Query| query.series(&asked_item, &asked_type, range, step);
    // What is not over yet is looked at beside the item's count, which is of this moment.
    let is_over = range.end.start() <= query.now();
    let mut answer = if !is_long(query, range) {
        of_series(make(query)?)
    } else if !is_over {
        of_series(ask(query, true, make).await?)
    } else {
        let parts = [item.as_str(), &event_type, step.as_str(), &functions.text()];
        let make = move |query: &Query| make(query).map(&of_series).map_err(Failure::from);
        ask_again(&asked.answers, again::question("stats", &parts), range, make, |_, _| {}).await?
    };
    // What a recount has proven since is no part of the numbers.
    let covered = [&answer.start, &answer.end].map(|text| TimestampMs::parse_rfc3339(text));
    if answer.status == FINAL
        && let [Ok(start), Ok(end)] = covered
    {
        let range = TimeRange::covering(start, end);
        answer.status = asked.proven_status(range, &item, &event_type);
    }
    Ok(json(StatusCode::OK, &answer))
}

fn describe(item: &str, event_type: &str, functions: Functions, series: &Series) -> StatsAnswer {
    let Series { range, step, total, points, quality } = series;
    let (start, end) = ranges::bounds(*range, quality.as_of);
    let point = |(time, summary): &(TimestampMs, Summary)| StatsPoint {
        time: time.to_string(),
        summary: functions.of_summary(summary),
    };
    StatsAnswer {
        item: item.to_owned(),
        event_type: event_type.to_owned(),
        start: start.to_string(),
        end: end.to_string(),
        step: step.as_str().into(),
        total: functions.of_summary(total),
        series: points.iter().map(point).collect(),
        as_of: quality.as_of.to_string(),
        status: if quality.is_final { FINAL.into() } else { PROVISIONAL.into() },
        stale: false,
    }
}

fn step_of(params: &Params) -> Result<Granularity, Failure> {
    let name = params.one("step")?.unwrap_or("hour");
    Granularity::from_name(name).ok_or_else(|| {
        Failure::parameter(format!(
            "the parameter `step` is `{name}`; it must be minute, hour, day or total"
        ))
    })
}

/// Which numbers were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Functions {
    count: bool,
    sum: bool,
    average: bool,
    min: bool,
    max: bool,
}

impl Functions {
    /// Names with commas between, or the parameter more than once; `count,sum,average` by default.
    fn of(params: &Params) -> Result<Self, Failure> {
        let mut functions = Self::default();
        for name in params.all("function").flat_map(|list| list.split(',')) {
            match name.trim() {
                "count" => functions.count = true,
                "sum" => functions.sum = true,
                "average" => functions.average = true,
                "min" => functions.min = true,
                "max" => functions.max = true,
                name => {
                    return Err(Failure::parameter(format!(
                        "the parameter `function` has `{name}`; it may have count, sum, average, \
                         min and max with commas between"
                    )));
                }
            }
        }
        if functions == Self::default() {
            functions = Self { count: true, sum: true, average: true, ..functions };
        }
        Ok(functions)
    }

    /// The same text for the same functions.
    fn text(self) -> String {
        let flags = [self.count, self.sum, self.average, self.min, self.max];
        flags.map(|is_asked| if is_asked { '1' } else { '0' }).iter().collect()
    }

    fn of_summary(self, summary: &Summary) -> StatsSummary {
        let number = |micros: i128| decimal(summary, micros);
        StatsSummary {
            count: self.count.then_some(summary.count),
            sum: self.sum.then(|| number(summary.sum)),
            average: self.average.then(|| summary.average().and_then(number)),
            min: self.min.then(|| number(i128::from(summary.min))),
            max: self.max.then(|| number(i128::from(summary.max))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_chosen_and_exact() {
        let params = |query| Params::of(Some(query), &["function"]).unwrap();
        let default = Functions::of(&params("")).unwrap();
        assert!(default.count && default.sum && default.average && !default.min && !default.max);
        let some = Functions::of(&params("function=min,max&function=sum")).unwrap();
        assert!(!some.count && some.min && some.max && some.sum);
        assert!(Functions::of(&params("function=mean")).is_err());
        let mut summary = Summary::of(model::Value::parse("0.1").ok());
        summary.add(&Summary::of(model::Value::parse("0.2").ok()));
        let text = serde_json::to_string(&some.of_summary(&summary)).unwrap();
        assert_eq!(text, r#"{"sum":0.3,"min":0.1,"max":0.2}"#);
        let text = serde_json::to_string(&default.of_summary(&Summary::of(None))).unwrap();
        assert_eq!(text, r#"{"count":1,"sum":null,"average":null}"#);
    }
}
