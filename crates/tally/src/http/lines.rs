//! Answers of many lines (NDJSON), made while they are read: in memory are a few chunks of one. One
//! that cannot be made to its end is broken off without the end of its encoding, which every client
//! tells from a whole one.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ProblemCode;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::channel::oneshot;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::problem::Failure;

/// Answers of a kind that are made at a time: each pins a snapshot and a thread.
const AT_A_TIME: usize = 2;
/// Bytes of lines handed over at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait to be sent.
const CHUNKS_WAITING: usize = 4;
/// A snapshot keeps what it sees from being cleaned up: a client that reads too slowly is left.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Room for the answers of a kind.
pub(super) struct LineAnswers {
    room: Arc<Semaphore>,
    /// What the lines are, for people.
    what: &'static str,
}

impl LineAnswers {
    pub(super) fn new(what: &'static str) -> Self {
        Self { room: Arc::new(Semaphore::new(AT_A_TIME)), what }
    }

    /// Begins an answer that `make` makes, on a thread that may wait; with it comes what `make` began
    /// with.
    ///
    /// # Errors
    /// What `make` fails with before it begins, and `overloaded` where too many are made already.
    pub(super) async fn answer<H, E, M>(&self, make: M) -> Result<(H, Response), Failure>
    where
        H: Send + 'static,
        E: std::error::Error + Into<Failure> + Send + Sync + 'static,
        M: FnOnce(&mut Begin<H>, &mut Lines) -> Result<(), E> + Send + 'static,
    {
        let what = self.what;
        let busy = || {
            let detail = format!("{what} are being read {AT_A_TIME} times already; wait for one");
            Failure::new(ProblemCode::Overloaded, detail)
        };
        let permit = self.room.clone().try_acquire_owned().map_err(|_| busy())?;
        let (begun, head) = oneshot::channel();
        let (chunks, mut sent) = mpsc::channel(CHUNKS_WAITING);
        tokio::task::spawn_blocking(move || {
            // Held to the end of the work, also where the client has gone.
            let _permit = permit;
            run(what, make, begun, chunks);
        });
        let head = head.await.map_err(|_| {
            let detail = format!("reading the {what} failed; the server's log says why");
            Failure::new(ProblemCode::Internal, detail)
        })??;
        let body = Body::from_stream(futures::stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        let ndjson = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(header::CONTENT_TYPE, ndjson);
        Ok((head, response))
    }
}

type Chunks = mpsc::Sender<io::Result<Bytes>>;
type Begun<H> = oneshot::Sender<Result<H, Failure>>;

fn run<H, E>(
    what: &str,
    make: impl FnOnce(&mut Begin<H>, &mut Lines) -> Result<(), E>,
    begun: Begun<H>,
    chunks: Chunks,
) where
    E: std::error::Error + Into<Failure> + Send + Sync + 'static,
{
    let mut begin = Begin(Some(begun));
    let mut lines = Lines { bytes: Vec::with_capacity(CHUNK_BYTES), chunks, since: Instant::now() };
    let made = make(&mut begin, &mut lines);
    match (made, begin.0) {
        (Ok(()), _) => lines.end(),
        (Err(error), Some(begun)) => drop(begun.send(Err(error.into()))),
        (Err(error), None) => {
            tracing::error!(error = &error as &dyn std::error::Error, "reading {what} broke off");
            drop(lines.chunks.blocking_send(Err(io::Error::other(error))));
        }
    }
}

/// Says that an answer begins: from then on it can only be whole or broken off.
pub(super) struct Begin<H>(Option<Begun<H>>);

impl<H> Begin<H> {
    /// Begins, where it has not begun yet.
    pub(super) fn with(&mut self, head: H) {
        if let Some(begun) = self.0.take() {
            // Who asked may have gone; the first chunk will tell.
            let _ = begun.send(Ok(head));
        }
    }
}

/// Lines on their way to the client.
pub(super) struct Lines {
    bytes: Vec<u8>,
    chunks: Chunks,
    since: Instant,
}

impl Lines {
    /// Adds a line; breaks off where the client has gone or takes too long.
    pub(super) fn push(&mut self, line: &impl Serialize) -> ControlFlow<()> {
        serde_json::to_writer(&mut self.bytes, line).expect("a Vec takes what is plain data");
        self.bytes.push(b'\n');
        if self.bytes.len() < CHUNK_BYTES { ControlFlow::Continue(()) } else { self.hand_over() }
    }

    /// Waits for room.
    fn hand_over(&mut self) -> ControlFlow<()> {
        let chunk = std::mem::replace(&mut self.bytes, Vec::with_capacity(CHUNK_BYTES));
        if self.since.elapsed() > TIME_MAX {
            let slow = io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly");
            drop(self.chunks.blocking_send(Err(slow)));
            self.chunks = mpsc::channel(1).0;
            return ControlFlow::Break(());
        }
        match self.chunks.blocking_send(Ok(chunk.into())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn end(mut self) {
        if !self.bytes.is_empty() {
            // A client that has gone misses nothing.
            let _ = self.hand_over();
        }
    }
}
