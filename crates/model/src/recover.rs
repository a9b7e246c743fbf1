//! Where a processor goes on after a restart, decided from facts already read.

use crate::checkpoint::Checkpoint;
use crate::partition::Offset;

/// What the log says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Identity of the log.
    pub log_epoch: u32,
    /// The first offset it still keeps.
    pub start_offset: Offset,
    /// The first offset that is not durable.
    pub durable_offset: Offset,
}

/// What to read before, and from where to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// From here to `count_from` the log only rebuilds the dedup window.
    pub window_from: Offset,
    /// From here on events are counted.
    pub count_from: Offset,
}

/// Log and store do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The log lost what the store has counted.
    #[error(
        "the log ends at offset {durable_offset}, below the checkpoint {checkpoint}: the log is \
         older than the store, or lost its end; restore a log that goes with this store"
    )]
    LogEndsBelowCheckpoint {
        /// Where the log ends.
        durable_offset: Offset,
        /// What the store has counted.
        checkpoint: Offset,
    },
    /// The store has counted a log with a later identity.
    #[error(
        "the store counted log epoch {checkpoint}, but the log is at epoch {log}: they do not \
         belong together"
    )]
    UnknownEpoch {
        /// Epoch of the checkpoint.
        checkpoint: u32,
        /// Epoch of the log.
        log: u32,
    },
    /// The log no longer keeps what is needed.
    #[error(
        "the log begins at offset {start_offset}, but offset {needed} is needed to go on: it was \
         trimmed too far; restore a log that goes with this store"
    )]
    LogBeginsTooLate {
        /// Where the log begins.
        start_offset: Offset,
        /// What is needed.
        needed: Offset,
    },
}

/// Where to go on.
pub fn resume(checkpoint: Option<&Checkpoint>, log: LogFacts) -> Result<Resume, RecoverError> {
    let start = Checkpoint::default();
    let checkpoint = checkpoint.unwrap_or(&start);
    if checkpoint.log_epoch > log.log_epoch {
        let (checkpoint, log) = (checkpoint.log_epoch, log.log_epoch);
        return Err(RecoverError::UnknownEpoch { checkpoint, log });
    }
    if log.durable_offset < checkpoint.next_offset {
        let (durable_offset, checkpoint) = (log.durable_offset, checkpoint.next_offset);
        return Err(RecoverError::LogEndsBelowCheckpoint { durable_offset, checkpoint });
    }
    let count_from = checkpoint.next_offset;
    let window_from = checkpoint.window_start_offset.min(count_from);
    if log.start_offset > window_from {
        let (start_offset, needed) = (log.start_offset, window_from);
        return Err(RecoverError::LogBeginsTooLate { start_offset, needed });
    }
    Ok(Resume { window_from, count_from })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(log_epoch: u32, window: u64, next: u64) -> Checkpoint {
        Checkpoint {
            log_epoch,
            next_offset: Offset(next),
            window_start_offset: Offset(window),
            ..Checkpoint::default()
        }
    }

    fn log(log_epoch: u32, start: u64, durable: u64) -> LogFacts {
        LogFacts { log_epoch, start_offset: Offset(start), durable_offset: Offset(durable) }
    }

    #[test]
    fn goes_on_at_the_checkpoint() {
        let at =
            |window, count| Ok(Resume { window_from: Offset(window), count_from: Offset(count) });
        assert_eq!(resume(None, log(1, 0, 10)), at(0, 0));
        assert_eq!(resume(Some(&checkpoint(1, 3, 7)), log(2, 3, 7)), at(3, 7));
    }

    #[test]
    fn refuses_what_does_not_belong_together() {
        assert!(matches!(
            resume(Some(&checkpoint(2, 0, 5)), log(1, 0, 5)),
            Err(RecoverError::UnknownEpoch { .. })
        ));
        assert!(matches!(
            resume(Some(&checkpoint(1, 0, 5)), log(1, 0, 4)),
            Err(RecoverError::LogEndsBelowCheckpoint { .. })
        ));
        assert!(matches!(
            resume(Some(&checkpoint(1, 3, 5)), log(1, 4, 9)),
            Err(RecoverError::LogBeginsTooLate { .. })
        ));
        assert!(matches!(resume(None, log(1, 1, 9)), Err(RecoverError::LogBeginsTooLate { .. })));
    }
}
