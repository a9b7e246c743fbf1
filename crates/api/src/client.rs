//! The Rust client: speaks the contract over HTTP/1.1 with kept-alive connections.
//!
//! [`tracker::Tracker`] is for programs that report what happens in them: it takes events without
//! waiting, and sends, repeats, balances and spools by itself. [`Client`] sends one request and
//! makes no retries of its own: [`ClientError::is_retryable`] and [`ClientError::retry_after`] say
//! when the same request may be sent again, and the caller knows how long that is worth it; the
//! pieces for it are in [`retry`], [`breaker`] and [`endpoints`].

mod audits;
mod backups;
pub mod breaker;
mod bulk;
mod connect;
mod counters;
mod dead_letters;
pub mod endpoints;
mod error;
mod items;
mod keys;
mod lines;
mod log_level;
mod path;
mod recounts;
pub mod retry;
mod routing;
mod spool;
#[cfg(feature = "client-tls")]
mod tls;
#[cfg(not(feature = "client-tls"))]
#[path = "client/no_tls.rs"]
mod tls;
pub mod tracker;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::{AcceptedAnswer, CountAnswer, CountsAnswer, Problem, StatsAnswer, TopAnswer};

pub use audits::AUDITS;
pub use bulk::BulkFile;
pub use counters::{CounterLines, CountersQuery};
pub use error::{ClientError, is_retryable_status};
pub use items::{
    ItemsQuery, TrendingQuery, channel_report_path, item_path, item_report_path, live_path,
};
pub use lines::Lines;
pub use path::{CountQuery, StatsQuery, TopQuery, encode_segment};
pub use routing::ROUTING_PATH;

/// The content type of one event a line.
pub const NDJSON: &str = "application/x-ndjson";

/// How long a connection may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take, its answer included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: 10,000 points of a series are far below.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// Who sends, and the place of a request's first event among all that they send: what is stamped
/// can be repeated at any time. A source sends one request after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStamp<'a> {
    /// 1 to 64 printable ASCII characters.
    pub source: &'a str,
    /// Rises from request to request; the events count on from it.
    pub sequence: u64,
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    /// `Authorization`, marked as a secret: nothing prints it.
    authorization: Option<HeaderValue>,
    tls: tls::Trust,
    http: legacy::Client<tls::Connector, Full<Bytes>>,
    timeout: Duration,
    connect_timeout: Duration,
    /// The header `Host`, where it is not what the URL says.
    host: Option<HeaderValue>,
}

impl Client {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:8080`. With `https` it trusts the
    /// certificates that the system trusts.
    ///
    /// # Errors
    /// [`ClientError::InvalidUrl`] when the text is no URL, has no host, or is neither `http` nor, with the
    /// feature `client-tls`, `https`;
    /// [`ClientError::InvalidCertificates`] when TLS cannot be set up.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let base = path::check_base(base_url)?;
        let tls = tls::Trust::of_system(&base)?;
        let connect_timeout = CONNECT_TIMEOUT;
        let http = client_of(&tls, connect_timeout);
        let (timeout, authorization, host) = (REQUEST_TIMEOUT, None, None);
        Ok(Self { base, authorization, tls, http, timeout, connect_timeout, host })
    }

    /// The same client with another time limit for opening a connection, and connections of its
    /// own.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.http = client_of(&self.tls, timeout);
        self
    }

    /// The same client with another header `Host`, for a server that is named by its address.
    ///
    /// # Errors
    /// [`ClientError::InvalidHeader`].
    pub fn with_host(mut self, host: &str) -> Result<Self, ClientError> {
        self.host = Some(header(host)?);
        Ok(self)
    }

    /// The same client with another time limit for a request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same client, that trusts the certificates in this PEM text and no others.
    ///
    /// # Errors
    /// [`ClientError::InvalidCertificates`] when there is none in it, or one that cannot be read.
    pub fn with_ca_pem(mut self, pem: &[u8]) -> Result<Self, ClientError> {
        self.tls = tls::Trust::of_pem(pem)?;
        self.http = client_of(&self.tls, self.connect_timeout);
        Ok(self)
    }

    /// The same client with a key, `tk_…`, that it sends with every request.
    ///
    /// # Errors
    /// [`ClientError::InvalidKey`] when the text has characters that no key has.
    pub fn with_key(mut self, key: &str) -> Result<Self, ClientError> {
        let mut value =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ClientError::InvalidKey)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// What is sent as `Authorization`, marked as a secret; none without a key.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The URL of the server, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// Sends events, one JSON object a line, to `POST /v1/events`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_ndjson(&self, body: Bytes) -> Result<AcceptedAnswer, ClientError> {
        self.send(NDJSON, body, None).await
    }

    /// Sends a body of events to `POST /v1/events`. When every event was refused (422
    /// `all_rejected`) the answer has `accepted` 0 and the verdicts, as for any other batch.
    ///
    /// # Errors
    /// Any [`ClientError`]; after a retryable one the same body can be sent again, and events that
    /// carry ids are still counted once.
    pub async fn send(
        &self,
        content_type: &str,
        body: Bytes,
        content_encoding: Option<&str>,
    ) -> Result<AcceptedAnswer, ClientError> {
        self.send_stamped(content_type, body, content_encoding, None).await
    }

    /// As [`Client::send`], with a stamp: the same request again is not counted again, however late.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_stamped(
        &self,
        content_type: &str,
        body: Bytes,
        content_encoding: Option<&str>,
        stamp: Option<SourceStamp<'_>>,
    ) -> Result<AcceptedAnswer, ClientError> {
        let mut request = self.request(Method::POST, "/v1/events", body)?;
        if let Some(SourceStamp { source, sequence }) = stamp {
            request.headers_mut().insert("tally-source", header(source)?);
            request.headers_mut().insert("tally-sequence", sequence.into());
        }
        request.headers_mut().insert(CONTENT_TYPE, header(content_type)?);
        if let Some(encoding) = content_encoding {
            request.headers_mut().insert(CONTENT_ENCODING, header(encoding)?);
        }
        match self.answer(request).await {
            Ok(body) => self.parse(&body),
            Err(ClientError::Problem { problem, .. })
                if problem.code == crate::ProblemCode::AllRejected.as_str() =>
            {
                Ok(AcceptedAnswer { accepted: 0, rejected: problem.rejected })
            }
            Err(error) => Err(error),
        }
    }

    /// `GET /v1/items/{item}/count`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn count(&self, query: &CountQuery<'_>) -> Result<CountAnswer, ClientError> {
        self.parse(&self.get(&query.path()).await?)
    }

    /// `GET /v1/items/{item}/stats`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn stats(&self, query: &StatsQuery<'_>) -> Result<StatsAnswer, ClientError> {
        self.parse(&self.get(&query.path()).await?)
    }

    /// `GET /v1/counts`: totals of up to 500 items, in the order asked.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn counts<'a>(
        &self,
        event_type: &str,
        items: impl IntoIterator<Item = &'a str>,
    ) -> Result<CountsAnswer, ClientError> {
        self.parse(&self.get(&path::counts(event_type, items)).await?)
    }

    /// `GET /v1/top`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn top(&self, query: &TopQuery<'_>) -> Result<TopAnswer, ClientError> {
        self.parse(&self.get(&query.path()).await?)
    }

    /// The body of the answer to a GET of this path and query, as the server wrote it.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn get(&self, path_and_query: &str) -> Result<Bytes, ClientError> {
        let request = self.request(Method::GET, path_and_query, Bytes::new())?;
        self.answer(request).await
    }

    fn request(
        &self,
        method: Method,
        path_and_query: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let url = format!("{}{path_and_query}", self.base);
        let uri: Uri = url.parse().map_err(|_| ClientError::InvalidUrl {
            url,
            reason: "it is too long or has characters that no URL has",
        })?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let agent = concat!("tally/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        Ok(request)
    }

    /// The body of a good answer; a problem or anything else is an error.
    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        self.read_answer(self.http.request(request), self.timeout).await
    }

    /// The body of a good answer to what was asked.
    async fn read_answer(
        &self,
        asked: legacy::ResponseFuture,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let exchange = async {
            let response = asked.await.map_err(|source| self.broken(source))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT_BYTES)
                .collect()
                .await
                .map_err(|source| ClientError::Interrupted { url: self.base.clone(), source })?;
            Ok((head, body.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| ClientError::Timeout { url: self.base.clone(), after: timeout })??;
        if head.status.is_success() {
            return Ok(body);
        }
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|text| text.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Err(self.failure(head.status, &body, retry_after))
    }

    fn broken(&self, source: legacy::Error) -> ClientError {
        let url = self.base.clone();
        match source.is_connect() {
            true => ClientError::Connect { url, source: Box::new(source) },
            false => ClientError::Interrupted { url, source: Box::new(source) },
        }
    }

    fn failure(
        &self,
        status: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> ClientError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ClientError::Problem { problem: Box::new(problem), retry_after },
            Err(_) => ClientError::UnexpectedStatus {
                url: self.base.clone(),
                status: status.as_u16(),
                body: error::first_chars(body),
                retry_after,
            },
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|source| ClientError::UnexpectedBody {
            url: self.base.clone(),
            body: error::first_chars(body),
            source,
        })
    }
}

fn client_of<B>(tls: &tls::Trust, connect_timeout: Duration) -> legacy::Client<tls::Connector, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(tls.connector(connect_timeout))
}

fn plain_connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    connector
}

fn header(text: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(text).map_err(|_| ClientError::InvalidHeader { value: text.to_owned() })
}

#[cfg(test)]
mod tests;
