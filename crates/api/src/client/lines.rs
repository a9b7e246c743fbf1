//! Answers of many lines, which may be larger than memory.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::{HeaderMap, Method};

use super::{ANSWER_LIMIT_BYTES, Client, ClientError};

/// How long a server may take from one piece of a long answer to the next.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines on their way, a JSON object each.
#[derive(Debug)]
pub struct Lines {
    url: String,
    body: Incoming,
}

impl Lines {
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
    /// Asks for lines: the headers before them, and them.
    pub(super) async fn lines(&self, path: &str) -> Result<(HeaderMap, Lines), ClientError> {
        let url = self.base.clone();
        let request = self.request(Method::GET, path, Bytes::new())?;
        let asked = tokio::time::timeout(self.timeout, self.http.request(request)).await;
        let timeout = ClientError::Timeout { url: url.clone(), after: self.timeout };
        let response = asked.map_err(|_| timeout)?.map_err(|source| self.broken(source))?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok((head.headers, Lines { url, body }));
        }
        let body = Limited::new(body, ANSWER_LIMIT_BYTES)
            .collect()
            .await
            .map_err(|source| ClientError::Interrupted { url, source })?;
        Err(self.failure(head.status, &body.to_bytes(), None))
    }
}
