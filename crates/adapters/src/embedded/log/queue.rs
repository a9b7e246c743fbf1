//! The way into a partition: parts that wait for the writer, bounded in bytes and number.

use std::sync::Arc;
use std::time::Duration;

use engine::ports::{ErrorKind, PartResult, PortError};
use futures::channel::oneshot;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// The records of a request for one partition, and who waits for them.
#[derive(Debug)]
pub(super) struct QueuedPart {
    pub(super) payload: Vec<u8>,
    pub(super) record_count: u32,
    pub(super) is_control: bool,
    pub(super) reply: Reply,
}

/// Where the result of a part goes.
#[derive(Debug)]
pub(super) enum Reply {
    /// The request has only this part.
    Only(oneshot::Sender<PartResult>),
    /// The request has others; its place among them.
    OneOf(Arc<Mutex<Collected>>, usize),
}

/// Results of a request's parts; sent when the last one is known.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) results: Vec<Option<PartResult>>,
    pub(super) missing: usize,
    pub(super) sender: Option<oneshot::Sender<Vec<PartResult>>>,
}

impl Reply {
    /// Gives the result to whoever waits, if anybody still does.
    pub(super) fn send(self, result: PartResult) {
        match self {
            Self::Only(sender) => {
                let _ = sender.send(result);
            }
            Self::OneOf(collected, at) => {
                let mut collected = collected.lock();
                collected.results[at] = Some(result);
                collected.missing -= 1;
                if collected.missing == 0
                    && let Some(sender) = collected.sender.take()
                {
                    let _ = sender.send(collected.results.drain(..).flatten().collect());
                }
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    bytes_max: usize,
    parts_max: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    parts: Vec<QueuedPart>,
    bytes: usize,
    closed: Option<Closed>,
    /// Whether the writer waits for the first part. While it lingers it looks by itself.
    is_awaited: bool,
}

/// Why nothing is taken any more.
#[derive(Clone, Debug)]
pub(super) enum Closed {
    /// The log closes; what is queued is still written.
    Closing,
    /// A write or sync failed; where.
    Poisoned(Arc<str>),
}

impl Queue {
    pub(super) fn new(bytes_max: usize, parts_max: usize) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), bytes_max, parts_max }
    }

    /// Locks the queue, so that several can be checked before any is filled.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether so much more can be taken now. A part larger than the bound is taken by an empty
    /// queue, so that it is not refused for ever.
    pub(super) fn check(&self, state: &State, bytes: usize, parts: usize) -> Result<(), PortError> {
        match &state.closed {
            Some(closed) => return Err(closed.refusal()),
            None if state.parts.is_empty() => return Ok(()),
            None => {}
        }
        if state.bytes + bytes > self.bytes_max || state.parts.len() + parts > self.parts_max {
            return Err(PortError::new(
                ErrorKind::Overloaded,
                "the log's queue is full: send slower, or again later",
            ));
        }
        Ok(())
    }

    /// Takes a part for which there is room.
    pub(super) fn push(&self, state: &mut State, part: QueuedPart) {
        state.bytes += part.payload.len();
        state.parts.push(part);
        if std::mem::take(&mut state.is_awaited) {
            self.ready.notify_one();
        }
    }

    /// Waits for parts, and gives those of about `bytes_max`, at least one; none when the queue is
    /// closed and empty. With a linger, leaves them that much time to gather first.
    pub(super) fn wait(&self, bytes_max: usize, linger: Duration) -> Option<Vec<QueuedPart>> {
        let mut state = self.state.lock();
        if !linger.is_zero() && state.bytes < bytes_max && state.closed.is_none() {
            // Only who closes the queue notifies now, so this is the whole linger.
            self.ready.wait_for(&mut state, linger);
        }
        while state.parts.is_empty() {
            if state.closed.is_some() {
                return None;
            }
            state.is_awaited = true;
            self.ready.wait(&mut state);
        }
        Some(state.take(bytes_max))
    }

    /// Like [`Self::wait`] without waiting: none when there is nothing now.
    pub(super) fn poll(&self, bytes_max: usize) -> Option<Vec<QueuedPart>> {
        let mut state = self.state.lock();
        (!state.parts.is_empty()).then(|| state.take(bytes_max))
    }

    /// Takes nothing any more; gives back what is queued when that will not be written either.
    pub(super) fn close(&self, reason: Closed) -> Vec<QueuedPart> {
        let mut state = self.state.lock();
        let dropped = match reason {
            Closed::Poisoned(_) => state.take(usize::MAX),
            Closed::Closing => Vec::new(),
        };
        state.closed.get_or_insert(reason);
        self.ready.notify_all();
        dropped
    }
}

impl State {
    fn take(&mut self, bytes_max: usize) -> Vec<QueuedPart> {
        if self.bytes <= bytes_max {
            self.bytes = 0;
            return std::mem::take(&mut self.parts);
        }
        let mut bytes = 0;
        let count = self.parts.iter().take_while(|part| {
            let is_first = bytes == 0;
            bytes += part.payload.len();
            is_first || bytes <= bytes_max
        });
        let count = count.count();
        let taken: Vec<QueuedPart> = self.parts.drain(..count).collect();
        self.bytes -= taken.iter().map(|part| part.payload.len()).sum::<usize>();
        taken
    }
}

impl Closed {
    /// The error for a part of which nothing was written.
    pub(super) fn refusal(&self) -> PortError {
        let context = match self {
            Self::Closing => "the log is closing".to_owned(),
            Self::Poisoned(place) => {
                format!("the partition stopped when {place} failed: check the disk and restart")
            }
        };
        PortError::new(ErrorKind::Unavailable, context)
    }
}
