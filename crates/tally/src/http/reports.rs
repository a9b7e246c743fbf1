//! `GET /v1/items/{item}/report` and `/v1/channels/{channel}/report`: what a creator looks at.

use std::cmp::Reverse;
use std::sync::Arc;

use api::{
    ChannelReportAnswer, ItemReportAnswer, ProblemCode, StatsPoint, StatsSummary, TopItem,
    TypeTotal, ViewsReport,
};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::answers::Answers;
use engine::ports::{ItemDetailsStore, PortError};
use engine::query::{Query, Report};
use model::bucket::{HOUR_MS, TIME_MIN};
use model::limits::{CHANNEL_ITEMS_MAX, REPORT_HOURS_MAX, TYPE_DEFAULT};
use model::{ItemDetails, Summary, TimeRange, TimestampMs};
use siphasher::sip128::SipHasher13;
use tokio::sync::Semaphore;

use super::Routes;
use super::again::{self, answer, ask_again};
use super::details::{add_titles, describe, unreadable};
use super::items::{decimal, item_of};
use super::params::Params;
use super::problem::{Failure, json};
use super::ranges;

const HOURS_DEFAULT: usize = 24;
/// Rows of `top` in a channel's report.
const TOP_ROWS: usize = 10;
/// Most rows that a report may look up: some seconds of work.
const LOOKUPS_MAX: usize = 2_500_000;
/// Channels that are added up at a time, each by a few threads; others wait.
const CHANNELS_AT_A_TIME: usize = 4;
/// Items of a channel read at a time.
const PAGE: usize = 1_000;

/// A month of an ordinary channel and a day of the largest can be asked for.
const _: () = assert!(LOOKUPS_MAX >= 1_000 * REPORT_HOURS_MAX);
const _: () = assert!(LOOKUPS_MAX >= CHANNEL_ITEMS_MAX * HOURS_DEFAULT);

/// What the paths of this resource need.
pub(super) struct Reports {
    answers: Arc<Answers>,
    details: Arc<dyn ItemDetailsStore>,
    channels: Arc<Semaphore>,
    /// Of the digest of channels: random, so that no client can choose collisions.
    keys: (u64, u64),
}

impl Reports {
    pub(super) fn new(answers: Arc<Answers>, details: Arc<dyn ItemDetailsStore>) -> Self {
        let channels = Arc::new(Semaphore::new(CHANNELS_AT_A_TIME));
        Self { answers, details, channels, keys: rand::random() }
    }
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, reports: &Arc<Reports>) -> Routes {
    routes.add("/v1/items/{item}/report", &["GET"], get(of_item).with_state(reports.clone())).add(
        "/v1/channels/{channel}/report",
        &["GET"],
        get(of_channel).with_state(reports.clone()),
    )
}

async fn of_item(
    State(reports): State<Arc<Reports>>,
    item: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let item = item_of(item)?;
    let (_, range) = reports.hours(params.as_deref())?;
    let asked = again::question("report", &[&item]);
    let (store, named) = (reports.details.clone(), item.clone());
    let make = move |query: &Query| {
        let report = query.report(&[&item], TYPE_DEFAULT, range)?;
        let (start, end) = ranges::bounds(report.range, report.quality.as_of);
        Ok(ItemReportAnswer {
            item: item.clone(),
            details: None,
            start: start.to_string(),
            end: end.to_string(),
            as_of: report.quality.as_of.to_string(),
            stale: false,
            totals: totals(&report),
            views: views(&report),
        })
    };
    let mut answer = ask_again(&reports.answers, asked, range, make, |_, _| {}).await?;
    let known = store.get(&[&named]).map_err(unreadable)?.pop().flatten();
    answer.details = known.map(|details| describe(named, &details));
    Ok(json(StatusCode::OK, &answer))
}

async fn of_channel(
    State(reports): State<Arc<Reports>>,
    channel: Result<Path<String>, PathRejection>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let Path(channel) = channel.map_err(|_| not_a_channel())?;
    model::event::check_item(&channel).map_err(|_| not_a_channel())?;
    let (hours, range) = reports.hours(params.as_deref())?;
    let turn = reports.channels.clone().acquire_owned().await;
    let turn = turn.map_err(|_| Failure::new(ProblemCode::NotReady, "the server is stopping"))?;
    let on = reports.clone();
    let added_up = tokio::task::spawn_blocking(move || {
        // Held to the end of the work, also where the client has gone.
        let _turn = turn;
        on.channel(channel, hours, range)
    });
    let failed = |_| Failure::new(ProblemCode::Internal, "adding up the channel failed");
    Ok(json(StatusCode::OK, &added_up.await.map_err(failed)??))
}

fn not_a_channel() -> Failure {
    let detail = "the channel must be 1 to 256 bytes of percent-encoded UTF-8 without control \
                  characters";
    Failure::new(ProblemCode::InvalidParameter, detail)
}

impl Reports {
    /// The newest hours, the current one included, and their number.
    fn hours(&self, params: Option<&str>) -> Result<(usize, TimeRange), Failure> {
        let params = Params::of(params, &["hours"])?;
        let hours = params.number("hours", 1..=REPORT_HOURS_MAX)?.unwrap_or(HOURS_DEFAULT);
        let end = TimestampMs(self.answers.query().now().0 + 1).ceil(HOUR_MS);
        let start = TimestampMs(end.0 - hours as i64 * HOUR_MS).max(TIME_MIN);
        Ok((hours, TimeRange::covering(start, end)))
    }

    fn channel(
        &self,
        channel: String,
        hours: usize,
        range: TimeRange,
    ) -> Result<ChannelReportAnswer, Failure> {
        let items = self.items_of(&channel)?;
        if items.len() * hours > LOOKUPS_MAX {
            let detail = format!(
                "the channel has {} items; of so many a report has at most {} hours",
                items.len(),
                LOOKUPS_MAX / items.len()
            );
            return Err(Failure::new(ProblemCode::TooManyPoints, detail));
        }
        let names: Vec<&str> = items.iter().map(String::as_str).collect();
        // Its items are a part of the question: they come and go without being counted.
        let asked = again::question("channel", &names);
        let mut answer = answer(&self.answers, &self.digest(&asked), range, |query| {
            let report = query.report(&names, TYPE_DEFAULT, range)?;
            let (start, end) = ranges::bounds(report.range, report.quality.as_of);
            Ok(ChannelReportAnswer {
                channel: channel.clone(),
                channel_name: None,
                items: items.len() as u64,
                start: start.to_string(),
                end: end.to_string(),
                as_of: report.quality.as_of.to_string(),
                stale: false,
                totals: totals(&report),
                views: views(&report),
                top: top(&names, &report.by_item),
            })
        })?;
        answer.channel = channel;
        answer.channel_name = self.name_of(&names).map_err(unreadable)?;
        add_titles(&*self.details, &mut answer.top);
        Ok(answer)
    }

    /// A question of thousands of names in few bytes. Keyed, so that nobody finds two with the same.
    fn digest(&self, question: &[u8]) -> Vec<u8> {
        let hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        [&b"channel"[..], &hasher.hash(question).as_bytes()].concat()
    }

    /// All items of a channel.
    fn items_of(&self, channel: &str) -> Result<Vec<String>, Failure> {
        let mut items: Vec<String> = Vec::new();
        loop {
            let behind = items.last().map(String::as_str);
            let page = self.details.of_channel(channel, behind, PAGE).map_err(unreadable)?;
            let is_last = page.len() < PAGE;
            items.extend(page);
            if items.len() > CHANNEL_ITEMS_MAX {
                let detail = format!(
                    "the channel has more than {CHANNEL_ITEMS_MAX} items; a report adds up at most \
                     so many"
                );
                return Err(Failure::new(ProblemCode::TooManyPoints, detail));
            }
            if is_last {
                return Ok(items);
            }
        }
    }

    /// What a channel is called: as the first of its items has it that says so.
    fn name_of(&self, items: &[&str]) -> Result<Option<String>, PortError> {
        for some in items.chunks(PAGE) {
            let of = |details: Option<ItemDetails>| details?.channel_name;
            if let Some(name) = self.details.get(some)?.into_iter().find_map(of) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

fn totals(report: &Report) -> Vec<TypeTotal> {
    let total = |(event_type, summary): &(String, Summary)| TypeTotal {
        event_type: event_type.clone(),
        count: summary.count,
        sum: decimal(summary, summary.sum),
        average: summary.average().and_then(|micros| decimal(summary, micros)),
    };
    report.totals.iter().map(total).collect()
}

fn views(report: &Report) -> ViewsReport {
    let total = &report.total;
    let point = |(time, summary): &(TimestampMs, Summary)| StatsPoint {
        time: time.to_string(),
        summary: StatsSummary {
            count: Some(summary.count),
            sum: Some(decimal(summary, summary.sum)),
            average: Some(summary.average().and_then(|micros| decimal(summary, micros))),
            ..StatsSummary::default()
        },
    };
    ViewsReport {
        event_type: TYPE_DEFAULT.into(),
        count: total.count,
        sum: decimal(total, total.sum),
        average: total.average().and_then(|micros| decimal(total, micros)),
        series: report.series.iter().map(point).collect(),
    }
}

/// The most viewed items; equal counts in item order, which is that of a channel.
fn top(items: &[&str], counts: &[u64]) -> Vec<TopItem> {
    let counted = items.iter().zip(counts).filter(|(_, count)| **count > 0);
    let mut ranked: Vec<(&str, u64)> = counted.map(|(item, count)| (*item, *count)).collect();
    ranked.sort_by_key(|(_, count)| Reverse(*count));
    ranked.truncate(TOP_ROWS);
    let row = |(item, count): (&str, u64)| TopItem { item: item.to_owned(), count, title: None };
    ranked.into_iter().map(row).collect()
}
