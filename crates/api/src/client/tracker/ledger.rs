//! Which batches are not settled yet, for those who wait until they are.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Batches are numbered as they are closed, and settled in any order.
#[derive(Debug)]
pub(super) struct Ledger {
    open: Mutex<Open>,
    /// All batches below this number are settled.
    settled: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    numbers: BTreeSet<u64>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), settled: watch::Sender::new(0) }
    }

    /// A new batch: its number.
    pub(super) fn begin(&self) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.numbers.insert(number);
        number
    }

    pub(super) fn settle(&self, number: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.numbers.remove(&number);
        let settled = open.numbers.first().copied().unwrap_or(open.next);
        // Within the lock, so that it never goes back.
        self.settled.send_if_modified(|before| std::mem::replace(before, settled) != settled);
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// Waits until all batches below this number are settled.
    pub(super) async fn wait(&self, number: u64) {
        let mut settled = self.settled.subscribe();
        // The sender lives as long as this.
        let _ = settled.wait_for(|settled| *settled >= number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_all_before_and_for_nothing_behind() {
        let ledger = Ledger::new();
        let numbers = [ledger.begin(), ledger.begin(), ledger.begin()];
        let upto = ledger.next();
        let behind = ledger.begin();
        ledger.settle(numbers[2]);
        ledger.settle(numbers[0]);
        assert_eq!(*ledger.settled.borrow(), 1);
        ledger.wait(1).await;
        let mut wait = std::pin::pin!(ledger.wait(upto));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(wait.as_mut().poll(&mut context).is_pending());
        ledger.settle(numbers[1]);
        wait.await;
        ledger.settle(behind);
        assert_eq!(*ledger.settled.borrow(), 4);
    }
}
