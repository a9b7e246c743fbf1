//! The bulk lane: files of any size.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Method, Request};
use tokio::sync::mpsc;

use super::{Client, ClientError, header};
use crate::{BulkAnswer, BulkListAnswer};

/// The rate that an upload has at least, in bytes a second, before it is given up.
const RATE_MIN: u64 = 16 << 10;

/// What a file is, for [`Client::submit_bulk`].
#[derive(Clone, Copy, Debug)]
pub struct BulkFile<'a> {
    /// `application/x-ndjson`, `text/csv` or `application/vnd.apache.parquet`.
    pub content_type: &'a str,
    /// `gzip` or `zstd` where it is compressed.
    pub content_encoding: Option<&'a str>,
    /// Size as sent, in bytes.
    pub bytes: u64,
    /// `map`, `set` and `shift_days`, encoded as a query; empty where there are none.
    pub query: &'a str,
}

/// A body that comes in pieces. One that ends before its size is an interrupted request.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(context).map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Some(Ok(Frame::data(piece)))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Client {
    /// Sends a file to `POST /v1/bulk`. The same file can be sent again at any time: it is counted
    /// once.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn submit_bulk(
        &self,
        file: BulkFile<'_>,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<BulkAnswer, ClientError> {
        let mark = if file.query.is_empty() { "" } else { "?" };
        let path = format!("/v1/bulk{mark}{}", file.query);
        let (mut head, _) = self.request(Method::POST, &path, Bytes::new())?.into_parts();
        head.headers.insert(CONTENT_TYPE, header(file.content_type)?);
        if let Some(encoding) = file.content_encoding {
            head.headers.insert(CONTENT_ENCODING, header(encoding)?);
        }
        let body = Pieces { receiver: pieces, left: file.bytes };
        let http = super::client_of(&self.tls, self.connect_timeout);
        let timeout = self.timeout + Duration::from_secs(file.bytes / RATE_MIN);
        let exchange = http.request(Request::from_parts(head, body));
        self.parse(&self.read_answer(exchange, timeout).await?)
    }

    /// `GET /v1/bulk/{id}`: how far a file is.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn bulk(&self, id: &str) -> Result<BulkAnswer, ClientError> {
        self.parse(&self.get(&format!("/v1/bulk/{id}")).await?)
    }

    /// `GET /v1/bulk`: all files, oldest first.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn bulk_list(&self) -> Result<BulkListAnswer, ClientError> {
        self.parse(&self.get("/v1/bulk").await?)
    }
}
