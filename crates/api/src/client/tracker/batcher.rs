//! Collects events into batches: one is closed when it is full, or when its first event has waited
//! as long as it may.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::receipt::Fate;

/// When events go to endpoints by a hash of their item, they are collected by so many parts of it.
const HASH_LANES: usize = 16;

/// What the batcher is told.
#[derive(Debug)]
pub(super) enum Message {
    Event(Pending),
    /// Close the open batches, and say the number behind them.
    Flush(oneshot::Sender<u64>),
    /// Take no more.
    Close,
}

/// An event that has no verdict yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// JSON, with a newline.
    pub(super) line: Vec<u8>,
    pub(super) hash: u64,
    pub(super) receipt: Option<oneshot::Sender<Fate>>,
}

/// How many places of the buffer an event takes.
pub(super) fn places(line: &[u8]) -> u32 {
    1 + (line.len() >> 10) as u32
}

/// Events that go together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// For balancing by a hash.
    pub(super) key: u64,
    pub(super) events: Vec<Pending>,
    /// Places of the buffer that are free again when it is settled.
    pub(super) places: usize,
}

#[derive(Debug, Default)]
struct Open {
    events: Vec<Pending>,
    bytes: usize,
    places: usize,
    due: Option<Instant>,
}

struct Batcher {
    shared: Arc<Shared>,
    to: mpsc::Sender<Batch>,
    open: Vec<Open>,
}

/// Collects until there is nobody left who tracks.
pub(super) async fn collect(
    shared: Arc<Shared>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    to: mpsc::Sender<Batch>,
) {
    let lanes = if shared.balances_by_hash() { HASH_LANES } else { 1 };
    let mut batcher = Batcher { shared, to, open: (0..lanes).map(|_| Open::default()).collect() };
    loop {
        let due = batcher.open.iter().filter_map(|open| open.due).min();
        let message = match due {
            None => messages.recv().await,
            Some(due) => match tokio::time::timeout_at(due, messages.recv()).await {
                Ok(message) => message,
                Err(_) => {
                    let now = Instant::now();
                    batcher.close_where(|open| open.due.is_some_and(|due| due <= now)).await;
                    continue;
                }
            },
        };
        match message {
            Some(Message::Event(event)) => batcher.add(event).await,
            Some(Message::Flush(done)) => {
                batcher.close_where(|_| true).await;
                // Who asked may have gone.
                let _ = done.send(batcher.shared.ledger.next());
            }
            // What was sent before is still taken; then there is nothing.
            Some(Message::Close) => messages.close(),
            None => break,
        }
    }
    batcher.close_where(|_| true).await;
}

impl Batcher {
    async fn add(&mut self, event: Pending) {
        let lane = (event.hash % self.open.len() as u64) as usize;
        let options = &self.shared.options;
        let (events_max, bytes_max) = (options.batch_events, options.batch_bytes);
        let linger = options.linger;
        if self.open[lane].bytes + event.line.len() > bytes_max {
            self.close(lane).await;
        }
        let open = &mut self.open[lane];
        open.due.get_or_insert_with(|| Instant::now() + linger);
        open.bytes += event.line.len();
        open.places += places(&event.line) as usize;
        open.events.push(event);
        if open.events.len() >= events_max || open.bytes >= bytes_max {
            self.close(lane).await;
        }
    }

    async fn close_where(&mut self, is_meant: impl Fn(&Open) -> bool) {
        for lane in 0..self.open.len() {
            if is_meant(&self.open[lane]) {
                self.close(lane).await;
            }
        }
    }

    async fn close(&mut self, lane: usize) {
        let Open { events, places, .. } = std::mem::take(&mut self.open[lane]);
        if events.is_empty() {
            return;
        }
        let number = self.shared.ledger.begin();
        let batch = Batch { number, key: lane as u64, events, places };
        // The workers end only after this.
        let _ = self.to.send(batch).await;
    }
}
