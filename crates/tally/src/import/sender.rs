//! Sends the events of one file: batches, a bounded number of requests at once, retries with the
//! same ids and stamps, and a progress that counts only what is settled without a gap.

mod batch;
mod retry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::client::retry::{RetryBudget, RetryBudgetOptions};
use api::client::{Client, ClientError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lanes::Lanes;
use super::reader::Reader;
use super::report::{FileReport, Piece, Progress};
use super::resume::ResumeFile;
use batch::Batch;
use retry::Delivered;

/// How to send.
#[derive(Clone, Debug)]
pub(crate) struct SendOptions {
    /// Events in a request.
    pub(crate) batch_events: usize,
    /// Requests at once.
    pub(crate) in_flight: usize,
    /// Bodies are compressed with zstd.
    pub(crate) compress: bool,
    /// How long one batch is tried again before sending stops.
    pub(crate) retry_for: Duration,
    /// The longest random wait before the second attempt; it doubles from there, up to
    /// `longest_wait`.
    pub(crate) first_wait: Duration,
    pub(crate) longest_wait: Duration,
}

/// Why sending stopped, and what was settled until then.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) cause: anyhow::Error,
    pub(crate) done: FileReport,
}

/// A verdict that retrying did not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The request failed.
    #[error(transparent)]
    Request(#[from] ClientError),
    /// The server kept refusing events for a temporary reason.
    #[error("the server still refuses {events} events ({code}): {detail}")]
    StillRefused { events: usize, code: String, detail: String },
}

/// Sends files to one server. Clones share connections and what may be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) options: SendOptions,
    budget: Arc<Mutex<RetryBudget>>,
}

impl Sender {
    pub(crate) fn new(client: Client, options: SendOptions) -> Self {
        let budget = RetryBudget::new(RetryBudgetOptions::default(), Instant::now());
        Self { client, options, budget: Arc::new(Mutex::new(budget)) }
    }

    /// Sends what an earlier run has not settled of a file, stamped where it has lanes. `heard` is told what was settled after
    /// each batch. When `stop` ends, so does sending; what was settled is kept in the progress
    /// file.
    ///
    /// # Errors
    /// A file that cannot be read, or a server that does not take the events.
    pub(crate) async fn send_file(
        &self,
        reader: Reader,
        earlier: Progress,
        resume: Option<ResumeFile>,
        lanes: Option<Lanes>,
        heard: impl Fn(&FileReport),
        stop: impl Future<Output = ()>,
    ) -> Result<FileReport, SendError> {
        let (sender, batches) = mpsc::channel(self.options.in_flight.max(1));
        let batch_events = self.options.batch_events;
        let Progress { done, ahead } = earlier;
        let skip = done.records;
        let reading = tokio::task::spawn_blocking(move || {
            batch::read_batches(reader, skip, ahead, batch_events, &sender)
        });
        let mut settled = Settled { done, waiting: BTreeMap::new(), next: 0, resume };
        let sent = self.send_batches(batches, &mut settled, lanes.as_ref(), heard, stop).await;
        // After a failure the closed channel ends the reading; standard input may keep it waiting.
        let result = match sent {
            Ok(()) => match reading.await {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            Err(error) => Err(error),
        };
        let progress = settled.progress();
        let kept = match (&result, &mut settled.resume) {
            (Ok(()), Some(resume)) => resume.remove(),
            (Err(_), Some(resume)) => resume.save(&progress),
            _ => Ok(()),
        };
        match result.and(kept) {
            Ok(()) => Ok(settled.done),
            Err(cause) => Err(SendError { cause, done: settled.done }),
        }
    }

    async fn send_batches(
        &self,
        mut batches: mpsc::Receiver<Batch>,
        settled: &mut Settled,
        lanes: Option<&Lanes>,
        progress: impl Fn(&FileReport),
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut in_flight = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        // A batch that waits for its lane: a source sends one request after the other.
        let mut held: Option<Batch> = None;
        let mut is_read = false;
        let mut failure = None;
        tokio::pin!(stop);
        while !(in_flight.is_empty() && (is_read && held.is_none() || failure.is_some())) {
            let has_room = in_flight.len() < self.options.in_flight.max(1) && failure.is_none();
            let is_free = |batch: &mut Batch| {
                has_room && batch.lane(lanes).is_none_or(|lane| !busy.contains(&lane))
            };
            if let Some(batch) = held.take_if(is_free) {
                busy.extend(batch.lane(lanes));
                in_flight.push(retry::deliver(self, batch, lanes));
                continue;
            }
            tokio::select! {
                batch = batches.recv(), if has_room && held.is_none() && !is_read => match batch {
                    Some(batch) => held = Some(batch),
                    None => is_read = true,
                },
                Some(delivered) = in_flight.next(), if !in_flight.is_empty() => {
                    let Delivered { index, first_record, lane, result } = delivered;
                    if let Some(lane) = lane {
                        busy.remove(&lane);
                    }
                    match result {
                        Ok(report) => {
                            settled.add(index, Piece { first_record, report })?;
                            progress(&settled.done);
                        }
                        // What is under way may end well; nothing new is begun.
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
                () = &mut stop => anyhow::bail!("interrupted"),
            }
        }
        failure.map_or(Ok(()), |error: BatchError| Err(error.into()))
    }
}

/// Reports in the order of the file, merged as far as there is no gap.
struct Settled {
    done: FileReport,
    waiting: BTreeMap<u64, Piece>,
    next: u64,
    resume: Option<ResumeFile>,
}

impl Settled {
    fn add(&mut self, index: u64, piece: Piece) -> anyhow::Result<()> {
        self.waiting.insert(index, piece);
        while let Some(piece) = self.waiting.remove(&self.next) {
            self.done.merge(piece.report);
            self.next += 1;
        }
        let progress = self.progress();
        match &mut self.resume {
            Some(resume) => resume.update(&progress),
            None => Ok(()),
        }
    }

    fn progress(&self) -> Progress {
        Progress { done: self.done.clone(), ahead: self.waiting.values().cloned().collect() }
    }
}

#[cfg(test)]
mod tests;
