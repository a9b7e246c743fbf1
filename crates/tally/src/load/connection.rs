//! One HTTP/1.1 connection, bare: the load generator wants to know which connection a request is
//! on, and pays for nothing that it does not need.

use std::time::Duration;

use anyhow::Context;
use api::client::{Client, REQUEST_TIMEOUT};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Uri};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Opens connections, and knows the key.
    client: Client,
    /// For the header.
    host: HeaderValue,
    /// Before every path; empty for most.
    prefix: String,
}

impl Peer {
    pub(super) fn new(client: &Client) -> anyhow::Result<Self> {
        let base_url = client.base_url();
        let uri: Uri = base_url.parse().with_context(|| format!("`{base_url}` is no URL"))?;
        let authority = uri.authority().context("the URL has no host")?;
        let host = HeaderValue::from_str(authority.as_str()).context("the host is no header")?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { client: client.clone(), host, prefix })
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) retry_after: Option<Duration>,
}

/// A connection that opens when it is needed, and again after it broke.
pub(super) struct Connection {
    peer: Peer,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(peer: &Peer) -> Self {
        Self { peer: peer.clone(), open: None }
    }

    /// Opens it if it is not; one that cannot be opened now is tried again by what is asked next.
    pub(super) async fn open(&mut self) {
        let _ = tokio::time::timeout(REQUEST_TIMEOUT, self.ready()).await;
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, &'static str> {
        self.exchange(Method::GET, path, None, None, Bytes::new()).await
    }

    pub(super) async fn post(
        &mut self,
        path: &str,
        content_type: &'static str,
        idempotency_key: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, &'static str> {
        self.exchange(Method::POST, path, Some(content_type), idempotency_key, body).await
    }

    /// The error is a code for the table of errors; the connection is then closed.
    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        idempotency_key: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, &'static str> {
        let uri = format!("{}{path}", self.peer.prefix).parse::<Uri>().map_err(|_| "bad_path")?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, self.peer.host.clone());
        if let Some(authorization) = self.peer.client.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(key) = idempotency_key {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        let exchange = async {
            let connection = self.ready().await?;
            let response = connection.send_request(request).await.map_err(|_| "interrupted")?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|_| "interrupted")?.to_bytes();
            let seconds = head.headers.get(RETRY_AFTER).and_then(|text| text.to_str().ok());
            let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            Ok(Answer { status: head.status.as_u16(), body, retry_after })
        };
        let result =
            tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or(Err("timeout"));
        if result.is_err() {
            self.open = None;
        }
        result
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, &'static str> {
        let is_usable = match &mut self.open {
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            let stream = self.peer.client.connect().await.map_err(|_| "connect")?;
            let (sender, driver) = http1::handshake(stream).await.map_err(|_| "connect")?;
            tokio::spawn(driver);
            self.open = Some(sender);
        }
        self.open.as_mut().ok_or("connect")
    }
}
