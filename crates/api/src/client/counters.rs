//! The client's call for counters, whose answer may be larger than memory.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use hyper::body::{Body, Incoming};

use super::path::push_parameters;
use super::{ANSWER_LIMIT_BYTES, Client, ClientError};
use crate::{AS_OF_HEADER, COLD_UNTIL_HEADER};

/// How long a server may take from one piece of a long answer to the next.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

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
    url: String,
    body: Incoming,
}

impl CounterLines {
    /// The next bytes of the lines, cut anywhere; none at their end.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] where the server broke off: what came is not everything.
    /// [`ClientError::Timeout`] where nothing comes any more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = tokio::time::timeout(PIECE_TIMEOUT, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError::Timeout {
                url: self.url.clone(),
                after: PIECE_TIMEOUT,
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| ClientError::Interrupted {
                url: self.url.clone(),
                source: Box::new(source),
            })?;
            // Trailers are no lines.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
            if self.body.is_end_stream() {
                return Ok(None);
            }
        }
    }
}

impl Client {
    /// `GET /v1/admin/counters`: all that store and memory of the server hold, at one moment.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn counters(&self, query: &CountersQuery<'_>) -> Result<CounterLines, ClientError> {
        let url = self.base.clone();
        let request = self.request(Method::GET, &query.path(), Bytes::new())?;
        let asked = tokio::time::timeout(self.timeout, self.http.request(request)).await;
        let timeout = ClientError::Timeout { url: url.clone(), after: self.timeout };
        let response = asked.map_err(|_| timeout)?.map_err(|source| self.broken(source))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let body = Limited::new(body, ANSWER_LIMIT_BYTES)
                .collect()
                .await
                .map_err(|source| ClientError::Interrupted { url, source })?;
            return Err(self.failure(head.status, &body.to_bytes(), None));
        }
        let text = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.map(ToOwned::to_owned).ok_or_else(|| ClientError::UnexpectedStatus {
                url: url.clone(),
                status: head.status.as_u16(),
                body: format!("without the header {name}: does the URL lead to Tally?"),
                retry_after: None,
            })
        };
        Ok(CounterLines {
            cold_until: text(COLD_UNTIL_HEADER)?,
            as_of: text(AS_OF_HEADER)?,
            url,
            body,
        })
    }
}
