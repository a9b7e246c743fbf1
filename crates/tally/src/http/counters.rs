//! `GET /v1/admin/counters`: all that store and memory hold, as NDJSON, for who computes with it.
//!
//! The answer is made while it is read: in memory are a few chunks of it. One that cannot be made
//! to its end is broken off without the end of its encoding, which every client tells from a whole
//! one.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{AS_OF_HEADER, COLD_UNTIL_HEADER, CounterLine, ProblemCode};
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use engine::query::{CounterPart, CounterScope, Query, QueryError, ScanHead};
use futures::channel::oneshot;
use model::TimeRange;
use model::bucket::TIME_MIN;
use model::event::{check_item, check_type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Routes;
use super::events::read::Fault;
use super::items::decimal;
use super::params::Params;
use super::problem::Failure;

/// Answers that are made at a time: each pins a snapshot and a thread.
const AT_A_TIME: usize = 2;
/// Bytes of lines handed over at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait to be sent.
const CHUNKS_WAITING: usize = 4;
/// A snapshot keeps what it sees from being cleaned up: a client that reads too slowly is left.
const TIME_MAX: Duration = Duration::from_secs(600);

/// What the path needs.
pub(super) struct Scans {
    query: Arc<Query>,
    room: Arc<Semaphore>,
}

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, query: &Arc<Query>) -> Routes {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let scans = Arc::new(Scans { query: query.clone(), room });
    routes.add("/v1/admin/counters", &["GET"], get(counters).with_state(scans))
}

async fn counters(
    State(scans): State<Arc<Scans>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    let scope = scope(&Params::of(params.as_deref(), &["start", "end", "type", "item"])?)?;
    let busy = || {
        let detail = format!("counters are being read {AT_A_TIME} times already; wait for one");
        Failure::new(ProblemCode::Overloaded, detail)
    };
    let permit = scans.room.clone().try_acquire_owned().map_err(|_| busy())?;
    let (begun, head) = oneshot::channel();
    let (chunks, mut sent) = mpsc::channel(CHUNKS_WAITING);
    let query = scans.query.clone();
    tokio::task::spawn_blocking(move || make(&query, &scope, begun, chunks, permit));
    let head = head.await.map_err(|_| {
        Failure::new(
            ProblemCode::Internal,
            "reading the counters failed; the server's log says why",
        )
    })??;
    let body = Body::from_stream(futures::stream::poll_fn(move |cx| sent.poll_recv(cx)));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    headers.insert(header::CONTENT_TYPE, ndjson);
    let date: String = head.cold_until.start().to_string().chars().take(10).collect();
    for (name, text) in [(COLD_UNTIL_HEADER, date), (AS_OF_HEADER, head.as_of.to_string())] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

fn scope(params: &Params) -> Result<CounterScope, Failure> {
    let item = params.one("item")?.map(ToOwned::to_owned);
    let event_type = params.one("type")?.map(ToOwned::to_owned);
    item.as_deref().map_or(Ok(()), check_item).map_err(Fault::from)?;
    event_type.as_deref().map_or(Ok(()), check_type).map_err(Fault::from)?;
    let (start, end) = (params.time("start")?, params.time("end")?);
    let start = start.unwrap_or(TIME_MIN);
    let range = match end {
        None => TimeRange { start: start.minute(), ..TimeRange::ALL },
        Some(end) if start < end => TimeRange::covering(start, end),
        Some(_) => {
            let detail = "the range is empty: `start` must be before `end`";
            return Err(Failure::new(ProblemCode::InvalidRange, detail));
        }
    };
    Ok(CounterScope { range, event_type, item })
}

type Begun = oneshot::Sender<Result<ScanHead, QueryError>>;
type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// Makes the answer, on a thread that may wait.
fn make(
    query: &Query,
    scope: &CounterScope,
    begun: Begun,
    chunks: Chunks,
    _permit: OwnedSemaphorePermit,
) {
    let mut begun = Some(begun);
    let mut lines = Lines { bytes: Vec::with_capacity(CHUNK_BYTES), chunks, since: Instant::now() };
    let mut begin = |head| {
        if let Some(begun) = begun.take() {
            // Who asked may have gone; the first chunk will tell.
            let _ = begun.send(Ok(head));
        }
    };
    let made = query.scan(scope, &mut begin, &mut |part| lines.push(part));
    match (made, begun) {
        (Ok(()), _) => lines.end(),
        (Err(error), Some(begun)) => drop(begun.send(Err(error))),
        (Err(error), None) => {
            tracing::error!(error = &error as &dyn std::error::Error, "reading counters broke off");
            drop(lines.chunks.blocking_send(Err(io::Error::other(error))));
        }
    }
}

/// Lines on their way to the client.
struct Lines {
    bytes: Vec<u8>,
    chunks: Chunks,
    since: Instant,
}

impl Lines {
    fn push(&mut self, part: &CounterPart<'_>) -> ControlFlow<()> {
        let summary = part.summary;
        let line = CounterLine {
            item: part.item.to_owned(),
            event_type: part.event_type.to_owned(),
            granularity: part.granularity.as_str().to_owned(),
            time: part.start.to_string(),
            count: summary.count,
            value_count: summary.value_count,
            sum: decimal(summary, summary.sum),
            min: decimal(summary, summary.min.into()),
            max: decimal(summary, summary.max.into()),
        };
        serde_json::to_writer(&mut self.bytes, &line).expect("a Vec takes what is plain data");
        self.bytes.push(b'\n');
        if self.bytes.len() < CHUNK_BYTES { ControlFlow::Continue(()) } else { self.hand_over() }
    }

    /// Waits for room; breaks off where the client has gone or takes too long.
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
