//! The client's call for counters, whose answer may be larger than memory.

use bytes::Bytes;
use hyper::StatusCode;

use super::lines::Lines;
use super::path::push_parameters;
use super::{Client, ClientError};
use crate::{AS_OF_HEADER, COLD_UNTIL_HEADER};

/// What `GET /v1/admin/counters` is asked; everything where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountersQuery<'a> {
    /// Only this item.
    pub item: Option<&'a str>,
    /// Only this event type.
    pub event_type: Option<&'a str>,
    /// Buckets that begin at or after: RFC 3339 or epoch milliseconds.
    pub start: Option<&'a str>,
    /// Buckets that begin before.
    pub end: Option<&'a str>,
}

impl CountersQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let mut path = String::from("/v1/admin/counters");
        let parameters = [
            ("item", self.item),
            ("type", self.event_type),
            ("start", self.start),
            ("end", self.end),
        ];
        push_parameters(&mut path, &parameters);
        path
    }
}

/// Counters on their way: one [`crate::CounterLine`] a line.
#[derive(Debug)]
pub struct CounterLines {
    /// The first day whose counters are not in the archive's files, as `2026-05-03`.
    pub cold_until: String,
    /// Everything acknowledged before this time is in.
    pub as_of: String,
    lines: Lines,
}

impl CounterLines {
    /// As [`Lines::next`].
    ///
    /// # Errors
    /// As [`Lines::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.lines.next().await
    }
}

impl Client {
    /// `GET /v1/admin/counters`: all that store and memory of the server hold, at one moment.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn counters(&self, query: &CountersQuery<'_>) -> Result<CounterLines, ClientError> {
        let (headers, lines) = self.lines(&query.path()).await?;
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(ToOwned::to_owned).ok_or_else(|| ClientError::UnexpectedStatus {
                url: self.base.clone(),
                status: StatusCode::OK.as_u16(),
                body: format!("without the header {name}: does the URL lead to Tally?"),
                retry_after: None,
            })
        };
        Ok(CounterLines { cold_until: text(COLD_UNTIL_HEADER)?, as_of: text(AS_OF_HEADER)?, lines })
    }
}
