//! The tracking client: a program says what happened, and goes on.
//!
//! [`Tracker::track`] puts an event into a bounded buffer and never waits. Behind it, events are
//! collected into batches (by size or time, whichever comes first), sent over kept-alive connections to
//! one of the endpoints, and sent again where that can help. What is guaranteed:
//!
//! - **Counted at most once.** Every event has an id before the first attempt, and every repeat has the
//!   same. Only what was refused for a temporary reason, or has no answer, is sent again.
//! - **Nothing is lost silently.** A full buffer is an error at once ([`TrackError::Full`]); whatever is
//!   tracked ends as one [`Fate`], which a [`Receipt`] tells and [`TrackerMetrics`] counts. Without a
//!   spool, events are lost when no endpoint takes them for [`TrackerOptions::retry_for`], and when
//!   the program dies.
//! - **With a spool** ([`TrackerOptions::spool`]) events go to disk when every endpoint is down, and
//!   from there, oldest first, when one is there again. Once an event is [`Fate::Spooled`] it is
//!   counted exactly once, whatever happens to this process: requests are stamped with a source and a
//!   sequence, by which a server knows a repeat for 30 days, long after it has forgotten ids. Events older
//!   than the server's `max_event_age` (7 days by default) are refused when they arrive. Each run of a
//!   tracker with a spool is [`TrackerOptions::in_flight`] sources to a server.
//! - **A server that is down is left alone.** At most [`TrackerOptions::retry_budget`] of the requests are
//!   repeats; waits grow exponentially with full jitter; `Retry-After` is kept; the breaker of an
//!   endpoint opens after five failures in a row and tries one request at a time when it closes again.
//!
//! ```no_run
//! use std::time::Duration;
//! use api::client::tracker::{Event, SpoolOptions, Tracker, TrackerOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = TrackerOptions::new(["http://10.0.0.7:8080", "http://10.0.0.8:8080"]);
//! options.spool = Some(SpoolOptions::new("/var/spool/shop"));
//! let tracker = Tracker::start(options).await?;
//! tracker.track(&Event::new("dQw4w9WgXcQ").attribute("country", "DE"))?;
//! let fate = tracker.track_with_receipt(&Event::new("dQw4w9WgXcQ").value(12.5))?.await;
//! println!("{fate:?}");
//! let metrics = tracker.close(Duration::from_secs(5)).await;
//! println!("{} accepted, {} spooled, {} lost", metrics.accepted, metrics.spooled, metrics.lost);
//! # Ok(())
//! # }
//! ```

mod batcher;
mod delivery;
mod drain;
mod event;
mod ledger;
mod metrics;
mod options;
mod receipt;
mod shared;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{TryAcquireError, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::endpoints::Endpoints;
use super::spool::Spool;
use batcher::{Message, Pending, places};
use metrics::add;
use shared::Shared;

pub use super::spool::SpoolError;
pub use event::{Event, InvalidEvent};
pub use metrics::TrackerMetrics;
pub use options::{SpoolOptions, StartError, TrackerOptions};
pub use receipt::{Fate, LostReason, Receipt};

/// Why an event is not tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The buffer is full: events come faster than the servers take them, or none is there.
    #[error("the buffer is full")]
    Full,
    /// The tracker was closed.
    #[error("the tracker is closed")]
    Closed,
    /// It breaks a rule of the contract.
    #[error(transparent)]
    Invalid(#[from] InvalidEvent),
}

/// The tracking client. Clones are the same tracker. When the last one is dropped without
/// [`Tracker::close`], what is buffered is still delivered, for up to `retry_for`, if the runtime
/// lives.
#[derive(Clone, Debug)]
pub struct Tracker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    messages: mpsc::UnboundedSender<Message>,
    closing: watch::Sender<Option<Instant>>,
    tasks: Mutex<Option<Tasks>>,
}

#[derive(Debug)]
struct Tasks {
    /// The batcher and the workers: they end when everything is settled.
    settling: Vec<JoinHandle<()>>,
    /// The drain and the watch over the endpoints: they end when the sender is dropped.
    standing: Vec<JoinHandle<()>>,
    stop: watch::Sender<()>,
}

impl Tracker {
    /// Starts a tracker on the current Tokio runtime. No server need be there yet.
    ///
    /// # Errors
    /// Options out of bounds, URLs that cannot be used, or a spool that cannot be opened.
    pub async fn start(options: TrackerOptions) -> Result<Self, StartError> {
        options.check()?;
        let endpoints = Endpoints::new(options.endpoints.clone()).await?;
        let spool = match options.spool.clone() {
            None => None,
            Some(spool) => {
                let open = move || Spool::open(&spool.folder, spool.max_bytes);
                match tokio::task::spawn_blocking(open).await {
                    Ok(spool) => Some(Arc::new(spool?)),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
        };
        let (closing, is_closing) = watch::channel(None);
        let shared = Arc::new(Shared::new(options, endpoints, spool, is_closing));
        let (messages, received) = mpsc::unbounded_channel();
        let tasks = Mutex::new(Some(Tasks::start(&shared, received)));
        Ok(Self { inner: Arc::new(Inner { shared, messages, closing, tasks }) })
    }

    /// Takes an event, without waiting.
    ///
    /// # Errors
    /// [`TrackError::Full`] where there is no room; the other kinds where there never will be.
    pub fn track(&self, event: &Event) -> Result<(), TrackError> {
        self.take(event, None)
    }

    /// As [`Tracker::track`], with a receipt that says what becomes of the event.
    ///
    /// # Errors
    /// As [`Tracker::track`].
    pub fn track_with_receipt(&self, event: &Event) -> Result<Receipt, TrackError> {
        let (told, fate) = oneshot::channel();
        self.take(event, Some(told))?;
        Ok(Receipt::new(fate))
    }

    /// Takes an event, and waits for room where there is none.
    ///
    /// # Errors
    /// As [`Tracker::track`], but never [`TrackError::Full`].
    pub async fn track_wait(&self, event: &Event) -> Result<(), TrackError> {
        self.take_wait(event, None).await
    }

    /// As [`Tracker::track_wait`], with a receipt.
    ///
    /// # Errors
    /// As [`Tracker::track_wait`].
    pub async fn track_wait_with_receipt(&self, event: &Event) -> Result<Receipt, TrackError> {
        let (told, fate) = oneshot::channel();
        self.take_wait(event, Some(told)).await?;
        Ok(Receipt::new(fate))
    }

    fn take(
        &self,
        event: &Event,
        receipt: Option<oneshot::Sender<Fate>>,
    ) -> Result<(), TrackError> {
        let line = event.encode()?;
        let shared = &self.inner.shared;
        match shared.room.try_acquire_many(places(&line)) {
            // Given back with its batch.
            Ok(places) => places.forget(),
            Err(TryAcquireError::Closed) => return Err(TrackError::Closed),
            Err(TryAcquireError::NoPermits) => {
                add(&shared.counters.dropped, 1);
                return Err(TrackError::Full);
            }
        }
        self.push(event, line, receipt)
    }

    async fn take_wait(
        &self,
        event: &Event,
        receipt: Option<oneshot::Sender<Fate>>,
    ) -> Result<(), TrackError> {
        let line = event.encode()?;
        let room = self.inner.shared.room.acquire_many(places(&line)).await;
        room.map_err(|_| TrackError::Closed)?.forget();
        self.push(event, line, receipt)
    }

    fn push(
        &self,
        event: &Event,
        line: Vec<u8>,
        receipt: Option<oneshot::Sender<Fate>>,
    ) -> Result<(), TrackError> {
        let shared = &self.inner.shared;
        let hash = if shared.balances_by_hash() { event.hash() } else { 0 };
        let message = Message::Event(Pending { line, hash, receipt });
        self.inner.messages.send(message).map_err(|_| TrackError::Closed)?;
        add(&shared.counters.tracked, 1);
        Ok(())
    }

    /// Sends what is buffered at once, and waits until everything tracked before this call has its
    /// [`Fate`]. That may take `retry_for` and longer while no server is there.
    pub async fn flush(&self) {
        let ledger = &self.inner.shared.ledger;
        let (done, number) = oneshot::channel();
        let _ = self.inner.messages.send(Message::Flush(done));
        // A closed tracker has nothing left to collect.
        let number = number.await.unwrap_or_else(|_| ledger.next());
        ledger.wait(number).await;
    }

    /// Waits until the spool is empty; at once where there is none.
    pub async fn drained(&self) {
        let Some(spool) = &self.inner.shared.spool else { return };
        loop {
            let changed = spool.changed.notified();
            if spool.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Takes no more events and waits until all have their [`Fate`], but no longer than this: what is
    /// left then goes to the spool where there is one, and is lost otherwise. What is in the spool stays
    /// there for the next tracker. A second call only gives the figures.
    pub async fn close(&self, timeout: Duration) -> TrackerMetrics {
        let inner = &self.inner;
        inner.begin_closing(Instant::now() + timeout);
        inner.shared.room.close();
        let _ = inner.messages.send(Message::Close);
        let tasks = inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Tasks { settling, standing, stop }) = tasks {
            join(settling).await;
            drop(stop);
            join(standing).await;
            if let Some(spool) = &inner.shared.spool {
                spool.release();
            }
        }
        self.metrics()
    }

    /// What was done so far.
    pub fn metrics(&self) -> TrackerMetrics {
        let shared = &self.inner.shared;
        let mut metrics = shared.counters.snapshot();
        let spool = shared.spool.as_ref().map(|spool| spool.figures()).unwrap_or_default();
        metrics.spool_events = spool.events;
        metrics.spool_bytes = spool.bytes;
        metrics.spool_damaged_bytes = spool.damaged_bytes;
        metrics.spool_cut_bytes = spool.cut_bytes;
        metrics.buffered =
            shared.options.buffer_places.saturating_sub(shared.room.available_permits()) as u64;
        metrics.endpoints = shared.endpoints.metrics();
        metrics
    }
}

impl Inner {
    /// Begins to close; the first deadline counts.
    fn begin_closing(&self, deadline: Instant) {
        self.closing.send_if_modified(|closing| {
            let is_first = closing.is_none();
            closing.get_or_insert(deadline);
            is_first
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.begin_closing(Instant::now() + self.shared.options.retry_for);
    }
}

impl Tasks {
    fn start(shared: &Arc<Shared>, messages: mpsc::UnboundedReceiver<Message>) -> Self {
        let (to, batches) = mpsc::channel(1);
        let batches = Arc::new(tokio::sync::Mutex::new(batches));
        let mut settling = vec![tokio::spawn(batcher::collect(Arc::clone(shared), messages, to))];
        // A new name a run: a spool folder that is copied or put back from a backup does no harm.
        let run = Uuid::now_v7();
        settling.extend((0..shared.options.in_flight).map(|worker| {
            let source = format!("tracker:{}:{worker}", run.simple());
            let source = shared.spool.is_some().then_some(source);
            tokio::spawn(worker::work(Arc::clone(shared), Arc::clone(&batches), source))
        }));
        let (stop, stopped) = watch::channel(());
        let mut standing = vec![tokio::spawn(watch_endpoints(Arc::clone(shared), stopped.clone()))];
        if let Some(spool) = &shared.spool {
            let drain = drain::drain(Arc::clone(shared), Arc::clone(spool), stopped);
            standing.push(tokio::spawn(drain));
        }
        Self { settling, standing, stop }
    }
}

async fn watch_endpoints(shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    tokio::select! {
        () = shared.endpoints.watch() => {}
        // Nothing is ever sent: it is dropped.
        _ = stop.changed() => {}
    }
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[cfg(test)]
mod tests;
