//! What became of an event.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is durable on the server and will be counted exactly once.
    Accepted,
    /// The server will never take it.
    Rejected {
        /// The stable code, such as `event_too_old`.
        code: String,
        /// What was wrong.
        detail: String,
    },
    /// It is on this machine's disk, fsynced, and goes to the server when that is there again, also
    /// after a restart of this program with the same spool folder.
    Spooled,
    /// It was given up.
    Lost {
        /// Why.
        reason: LostReason,
        /// Whether a request with it may have been carried out, its answer lost.
        may_be_counted: bool,
    },
}

/// Why an event was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// Retries ended after `retry_for`; the code of the last failure, such as `connect`.
    RetriesEnded {
        /// A problem code, or `connect`, `timeout`, `interrupted`, `no_endpoint`, …
        code: String,
    },
    /// The tracker was closed, and the time for that was over.
    Closed,
    /// The runtime ended, or the task that had the event did.
    Aborted,
}

/// Resolves to what became of an event. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "a receipt is to be awaited; without that use `track`"]
pub struct Receipt {
    fate: oneshot::Receiver<Fate>,
}

impl Receipt {
    pub(super) fn new(fate: oneshot::Receiver<Fate>) -> Self {
        Self { fate }
    }
}

impl Future for Receipt {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fate> {
        Pin::new(&mut self.fate).poll(context).map(|fate| {
            fate.unwrap_or(Fate::Lost { reason: LostReason::Aborted, may_be_counted: true })
        })
    }
}
