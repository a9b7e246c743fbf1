//! What the tasks of a tracker share: settings, endpoints, budget, figures, and when to end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::super::endpoints::{Balance, Endpoints};
use super::super::retry::RetryBudget;
use super::super::spool::Spool;
use super::TrackerOptions;
use super::ledger::Ledger;
use super::metrics::Counters;

/// What the tasks of a tracker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: TrackerOptions,
    pub(super) endpoints: Endpoints,
    budget: Mutex<RetryBudget>,
    pub(super) counters: Counters,
    pub(super) ledger: Ledger,
    /// The places of the buffer that are free.
    pub(super) room: Semaphore,
    pub(super) spool: Option<Arc<Spool>>,
    closing: watch::Receiver<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(
        options: TrackerOptions,
        endpoints: Endpoints,
        spool: Option<Arc<Spool>>,
        closing: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            endpoints,
            budget: Mutex::new(RetryBudget::new(options.retry_budget, Instant::now())),
            counters: Counters::default(),
            ledger: Ledger::new(),
            room: Semaphore::new(options.buffer_places),
            spool,
            closing,
            options,
        }
    }

    pub(super) fn balances_by_hash(&self) -> bool {
        self.options.endpoints.balance == Balance::Hash
    }

    /// Notes a first attempt, or takes the right to a retry.
    ///
    /// # Errors
    /// How long there is none.
    pub(super) fn pay(&self, is_retry: bool) -> Result<(), Duration> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        match is_retry {
            true => budget.try_retry(Instant::now()),
            false => {
                budget.first_attempt(Instant::now());
                Ok(())
            }
        }
    }

    /// Whether the time for closing is over.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.borrow().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits until the time for closing is over.
    pub(super) async fn closed(&self) {
        let mut closing = self.closing.clone();
        loop {
            let deadline = *closing.borrow_and_update();
            // Also where the sender is gone.
            if let Some(deadline) = deadline {
                return tokio::time::sleep_until(deadline).await;
            }
            if closing.changed().await.is_err() {
                // Whoever drops the sender says when first.
                std::future::pending::<()>().await;
            }
        }
    }
}
