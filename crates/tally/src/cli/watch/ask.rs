//! What the view asks a server, once per interval: a handful of requests, and less often where an
//! answer takes long.

use std::time::Instant;

use api::client::{
    Client, ClientError, CountQuery, StatsQuery, TopQuery, TrendingQuery, item_report_path,
};
use api::{ItemReportAnswer, StatsAnswer, StatsSummary, TopAnswer, TrendingAnswer, TrendingItem};
use bytes::Bytes;
use serde::Serialize;

use super::vitals::Vitals;

/// A list that took so long is not asked for again before this many times as long.
const REST: u32 = 10;
/// How far back the overview's lists look.
const WINDOW: &str = "1h";
/// Items of `top` that are asked for: more than a terminal has lines costs nothing.
const TOP_ITEMS: u32 = 50;
const TRENDING_ITEMS: u32 = 10;
/// Types of an item that are shown, the most counted first.
const TYPES_MAX: usize = 8;
pub(super) const HOURS: i64 = 48;
const HOUR_MS: i64 = 3_600_000;

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// None is the overview.
    pub(crate) item: Option<String>,
    pub(crate) event_type: String,
    /// The types that an item's page compares.
    pub(crate) types: Vec<String>,
    /// Epoch milliseconds.
    pub(crate) now_ms: i64,
}

/// One answer to all of it. A part is none where it was not asked for this time.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) vitals: Vitals,
    /// Why the server is not ready; empty where it is.
    pub(crate) not_ready: String,
    pub(crate) top: Option<TopAnswer>,
    pub(crate) trending: Option<Vec<TrendingItem>>,
    pub(crate) item: Option<ItemNumbers>,
    /// What the server refused to answer, and why.
    pub(crate) refused: Option<String>,
}

/// The numbers of one item.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ItemNumbers {
    pub(crate) item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    /// Count, sum and average of all time.
    pub(crate) total: StatsSummary,
    /// Totals of the types that have events.
    pub(crate) types: Vec<TypeCount>,
    /// The last 60, oldest first, the current one included.
    pub(crate) minutes: Vec<u64>,
    /// The last 48, oldest first, the current one included.
    pub(crate) hours: Vec<u64>,
    pub(crate) as_of: String,
}

/// The total of one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TypeCount {
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) count: u64,
}

/// Asks one server, and remembers what it lacks and what takes it long.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    has_trending: bool,
    has_reports: bool,
    lists_from: Instant,
}

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{url} does not answer as Tally would; does it lead to Tally?")]
    NotTally { url: String },
}

/// How a part failed: with the server away nothing else can be shown either.
enum Failure {
    Away(ClientError),
    Refused(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            error @ (ClientError::Problem { .. } | ClientError::UnexpectedStatus { .. }) => {
                Self::Refused(error.to_string())
            }
            error => Self::Away(error),
        }
    }
}

impl Asker {
    pub(crate) fn new(client: Client) -> Self {
        let lists_from = Instant::now();
        Self { client, has_trending: true, has_reports: true, lists_from }
    }

    /// Another page is shown: its lists are asked for at once. A server that came back may be
    /// another one.
    pub(crate) fn start_over(&mut self) {
        *self = Self::new(self.client.clone());
    }

    /// Asks everything that a page needs.
    ///
    /// # Errors
    /// When the server does not answer, or not as Tally would. What it refuses is in the answer.
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<Answer, AskError> {
        let (vitals, not_ready) =
            futures::try_join!(vitals(&self.client), readiness(&self.client))?;
        let (top, trending, item, refused) = (None, None, None, None);
        let mut answer = Answer { vitals, not_ready, top, trending, item, refused };
        let asked = match &question.item {
            Some(item) => self.item(item, question).await.map(|item| answer.item = Some(item)),
            None if Instant::now() < self.lists_from => Ok(()),
            None => {
                let began = Instant::now();
                let asked = self.lists(&question.event_type, &mut answer).await;
                self.lists_from = Instant::now() + began.elapsed() * REST;
                asked
            }
        };
        match asked {
            Ok(()) => {}
            Err(Failure::Refused(why)) => answer.refused = Some(why),
            Err(Failure::Away(error)) => return Err(error.into()),
        }
        Ok(answer)
    }

    async fn lists(&mut self, event_type: &str, answer: &mut Answer) -> Result<(), Failure> {
        let query = TopQuery {
            event_type: Some(event_type),
            window: Some(WINDOW),
            limit: Some(TOP_ITEMS),
            ..TopQuery::default()
        };
        answer.top = Some(self.client.top(&query).await?);
        if self.has_trending {
            let query = TrendingQuery {
                event_type: Some(event_type),
                window: Some(WINDOW),
                limit: Some(TRENDING_ITEMS),
            };
            let path = query.path();
            match optional::<TrendingAnswer>(&self.client, &path).await? {
                Some(trending) => answer.trending = Some(trending.items),
                None => self.has_trending = false,
            }
        }
        Ok(())
    }

    async fn item(&mut self, item: &str, question: &Question) -> Result<ItemNumbers, Failure> {
        let event_type = question.event_type.as_str();
        // From the start of the oldest hour; where the series ends, the server's clock says.
        let start = (question.now_ms.div_euclid(HOUR_MS) - HOURS + 1) * HOUR_MS;
        let start = start.max(0).to_string();
        let query = |function, step, start| StatsQuery {
            item,
            event_type: Some(event_type),
            function: Some(function),
            step: Some(step),
            start,
            end: None,
        };
        let client = &self.client;
        let (total, minutes, hours) = (
            query("count,sum,average", "total", None),
            query("count", "minute", None),
            query("count", "hour", Some(start.as_str())),
        );
        let (total, minutes, hours) =
            futures::try_join!(client.stats(&total), client.stats(&minutes), client.stats(&hours))?;
        let (title, types) = self.report(item, question).await?;
        let counts = |answer: &StatsAnswer| {
            answer.series.iter().map(|point| point.summary.count.unwrap_or(0)).collect()
        };
        let mut hours: Vec<u64> = counts(&hours);
        // Clocks may differ by an hour's border.
        hours.drain(..hours.len().saturating_sub(HOURS as usize));
        Ok(ItemNumbers {
            item: item.to_owned(),
            title,
            event_type: event_type.to_owned(),
            minutes: counts(&minutes),
            hours,
            types,
            as_of: total.as_of,
            total: total.total,
        })
    }

    /// The title of an item, and its totals by type. A server without reports is asked for the
    /// types that the page knows.
    async fn report(
        &mut self,
        item: &str,
        question: &Question,
    ) -> Result<(Option<String>, Vec<TypeCount>), Failure> {
        if self.has_reports {
            let path = item_report_path(item, Some(1));
            match optional::<ItemReportAnswer>(&self.client, &path).await? {
                Some(report) => {
                    let totals = report.totals.into_iter().take(TYPES_MAX);
                    let types =
                        totals.map(|of| TypeCount { event_type: of.event_type, count: of.count });
                    let title = report.details.and_then(|details| details.title);
                    return Ok((title, types.collect()));
                }
                None => self.has_reports = false,
            }
        }
        let mut types = Vec::new();
        for event_type in &question.types {
            let query = CountQuery { item, event_type: Some(event_type), ..CountQuery::default() };
            let count = self.client.count(&query).await?.count;
            if count > 0 {
                types.push(TypeCount { event_type: event_type.clone(), count });
            }
        }
        Ok((None, types))
    }
}

async fn vitals(client: &Client) -> Result<Vitals, AskError> {
    let body = match client.get("/metrics").await {
        Err(ClientError::UnexpectedStatus { status: 404, .. }) => Bytes::new(),
        other => other?,
    };
    let vitals = std::str::from_utf8(&body).ok().and_then(Vitals::read);
    vitals.ok_or_else(|| AskError::NotTally { url: client.base_url().to_owned() })
}

async fn readiness(client: &Client) -> Result<String, AskError> {
    match client.get("/readyz").await {
        Ok(_) => Ok(String::new()),
        Err(ClientError::Problem { problem, .. }) => {
            Ok(if problem.detail.is_empty() { problem.title } else { problem.detail })
        }
        Err(error) => Err(error.into()),
    }
}

/// An answer that older servers do not have.
async fn optional<T: serde::de::DeserializeOwned>(
    client: &Client,
    path: &str,
) -> Result<Option<T>, ClientError> {
    let lacks = |status: u16| matches!(status, 404 | 405);
    match client.get(path).await {
        Ok(body) => {
            serde_json::from_slice(&body).map(Some).map_err(|source| ClientError::UnexpectedBody {
                url: client.base_url().to_owned(),
                body: path.to_owned(),
                source,
            })
        }
        Err(ClientError::Problem { problem, .. }) if lacks(problem.status) => Ok(None),
        Err(ClientError::UnexpectedStatus { status, .. }) if lacks(status) => Ok(None),
        Err(error) => Err(error),
    }
}
