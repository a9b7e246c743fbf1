//! One connection, from its first byte to its last.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::ProblemCode;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::guarded::Guarded;
use super::tls::{Acceptor, TlsStream};
use crate::http::Front;
use crate::http::door::Peer;
use crate::http::problem::Failure;

/// How long the head of a request may take, an idle connection's next one included, and how long
/// what comes before the first: a TLS handshake, or the first words of HTTP/2.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection of HTTP/2 may stay without a request. It answers pings meanwhile, so that a
/// peer that has gone is noticed earlier.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way at once on a connection of HTTP/2.
const STREAMS_MAX: u32 = 256;
/// Largest head of a request, in bytes: 500 items in one question, percent-encoded, fit. HTTP/1.1 has
/// about the same by default.
const HEAD_BYTES_MAX: u32 = 400 << 10;
/// What a client may send of a body, and of all bodies of a connection, before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// What a connection of HTTP/2 begins with where nothing was agreed before. No method is called so.
const PREFACE: &[u8] = b"PRI ";

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// See the module.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) front: Arc<Front>,
    /// For the requests that are to know it.
    pub(super) peer: Option<Peer>,
    pub(super) tls: Option<Acceptor>,
    /// Changes when the server stops.
    pub(super) told: watch::Receiver<()>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve(self) -> Ended {
        let Self { mut stream, front, peer, tls, mut told } = self;
        let agreed = async {
            match tls {
                None => {
                    let words = first_words(&mut stream).await?;
                    let is_http2 = words == PREFACE;
                    Ok((is_http2, Transport::Plain(Guarded::new(stream, words))))
                }
                Some(tls) => {
                    let (is_http2, stream) = tls.accept(Guarded::new(stream, Vec::new())).await?;
                    Ok::<_, io::Error>((is_http2, Transport::Tls(Box::new(stream))))
                }
            }
        };
        let (is_http2, transport) = tokio::select! {
            agreed = timeout(HEAD_TIMEOUT, agreed) => agreed??,
            _ = told.changed() => return Ok(()),
        };
        match transport {
            Transport::Plain(stream) if is_http2 => http2(stream, front, peer, told).await,
            Transport::Plain(stream) => http1(stream, front, peer, told).await,
            Transport::Tls(stream) if is_http2 => http2(*stream, front, peer, told).await,
            Transport::Tls(stream) => http1(*stream, front, peer, told).await,
        }
    }
}

enum Transport {
    Plain(Guarded),
    Tls(Box<TlsStream>),
}

/// Reads until it is clear whether a connection begins as HTTP/2 does. Looking again and again without
/// reading would let many who send a letter and wait take the processor.
async fn first_words(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut words = Vec::with_capacity(PREFACE.len());
    while words.len() < PREFACE.len() && PREFACE.starts_with(&words) {
        let missing = (PREFACE.len() - words.len()) as u64;
        if (&mut *stream).take(missing).read_buf(&mut words).await? == 0 {
            break;
        }
    }
    Ok(words)
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    front: Arc<Front>,
    peer: Option<Peer>,
    mut told: watch::Receiver<()>,
) -> Ended {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answering(front, peer, None));
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        _ = told.changed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    front: Arc<Front>,
    peer: Option<Peer>,
    mut told: watch::Receiver<()>,
) -> Ended {
    let requests = Arc::new(AtomicU64::new(0));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answering(front, peer, Some(requests.clone())));
    let mut connection = pin!(connection);
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            _ = told.changed() => break,
            () = tokio::time::sleep(IDLE_TIMEOUT) => {
                let now = requests.load(Ordering::Relaxed);
                if now == seen {
                    break;
                }
                seen = now;
            }
        }
    }
    // Requests under way end as they would; new ones go to another connection.
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// The front as hyper calls it; a handler that panics answers 500 and the connection lives on.
fn answering(
    front: Arc<Front>,
    peer: Option<Peer>,
    requests: Option<Arc<AtomicU64>>,
) -> impl Service<
    hyper::Request<Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> {
    service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(requests) = &requests {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let front = front.clone();
        async move {
            let answer = AssertUnwindSafe(front.answer(request)).catch_unwind();
            Ok(answer.await.unwrap_or_else(|_| {
                let detail = "this is a bug; the server's log says more";
                Failure::new(ProblemCode::Internal, detail).into_response()
            }))
        }
    })
}
