//! Behind the minute horizon: the flushing thread makes one cell of an hour's minutes, a few rows at
//! a time, while nothing waits to be flushed. It is the only writer of its partition's rows.

use std::time::Duration;

use crate::ports::{ErrorKind, Folded, PortError};

use super::partition::Partition;

/// Rows looked at in one turn: some ten milliseconds.
const FOLD_ROWS: usize = 4_096;
/// Wait between two turns, which leaves the disk and a core to others.
const PAUSE: Duration = Duration::from_millis(50);

impl Partition {
    /// Folds until all is folded, a flush is wanted, or so much time has passed; that time. False in
    /// `may_fold` says that it failed for good: rows stay longer than they need be, and nothing else.
    pub(super) fn fold(&self, may_fold: &mut bool, time: Duration) -> Duration {
        let now = || self.ports.clock.now().monotonic_ms;
        let begun = now();
        let passed = || Duration::from_millis(u64::try_from(now() - begun).unwrap_or(0));
        while *may_fold && !self.memory.is_closed() {
            match self.fold_once() {
                Ok(folded) if folded.is_done => break,
                Ok(_) => {}
                Err(error) => {
                    let is_over =
                        !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded);
                    tracing::warn!(
                        partition = self.id.0,
                        error = &error as &dyn std::error::Error,
                        is_over,
                        "old minutes cannot be folded into hours; the numbers are the same"
                    );
                    *may_fold = !is_over;
                    break;
                }
            }
            if passed() >= time || !self.memory.stays_idle(PAUSE) {
                break;
            }
        }
        passed()
    }

    /// One turn of folding.
    pub(super) fn fold_once(&self) -> Result<Folded, PortError> {
        // One partition after the other, as flushes that have time.
        let _turn = self.ports.unhurried.lock();
        let folded = self.ports.store.fold(self.id, FOLD_ROWS)?;
        self.note_folded(folded.rows);
        Ok(folded)
    }
}
