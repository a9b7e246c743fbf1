//! Partitions that other processes count: questions are answered from the store alone, which is
//! looked at again and again for how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Offset, PartitionId};

use super::{Partition, Ports, ProcessorSettings, Processors};
use crate::admission::Admission;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, PortError};

/// The thread of a process that counts nothing.
pub(super) struct Following {
    is_ending: Arc<AtomicBool>,
    /// Whether its last look at the store failed.
    is_store_away: Arc<AtomicBool>,
}

impl Following {
    /// Ends the thread, soon.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

impl Processors {
    /// Nothing is counted here: [`crate::query::Query`] answers from the store, which others flush
    /// to, and `as_of` is what they have flushed. Of the log only its bounds are asked for.
    ///
    /// # Errors
    /// When the store cannot be read, or the thread that follows it cannot be started.
    pub fn follow(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        settings: ProcessorSettings,
    ) -> Result<Arc<Self>, PortError> {
        let (ports, partitions) = open(log, store, clock, settings)?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let (followed, store, ending) =
            (partitions.clone(), ports.store.clone(), is_ending.clone());
        let is_store_away = Arc::new(AtomicBool::new(false));
        let away = is_store_away.clone();
        let run = move || {
            let mut seen = vec![None; followed.len()];
            while !ending.load(Ordering::Relaxed) {
                std::thread::park_timeout(PAUSE);
                let looked = look(&followed, &mut seen, &*store);
                let was_away = away.swap(looked.is_err(), Ordering::Relaxed);
                if let (Err(error), false) = (&looked, was_away) {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "the store does not say how far it is; trying on"
                    );
                }
            }
        };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(run);
        let thread = thread.map_err(|error| {
            let context = "a thread that follows the store cannot be started";
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        let following = Following { is_ending, is_store_away };
        Ok(Arc::new(Self::of(ports, partitions, vec![thread], Some(following))))
    }

    /// Whether others count, and this process answers from what they have flushed.
    pub fn follows(&self) -> bool {
        self.following.is_some()
    }

    /// Whether the store did not answer when it was last asked, a moment ago, how far others are. Of a process
    /// that counts itself nothing is said.
    pub fn is_store_away(&self) -> bool {
        let is_away = |following: &Following| following.is_store_away.load(Ordering::Relaxed);
        self.following.as_ref().is_some_and(is_away)
    }
}

/// All partitions of the log as the store has them, to be followed.
pub(super) fn open(
    log: Arc<dyn EventLog>,
    store: Arc<dyn CounterStore>,
    clock: Arc<dyn Clock>,
    settings: ProcessorSettings,
) -> Result<(Arc<Ports>, Vec<Arc<Partition>>), PortError> {
    let admission = Arc::new(Admission::without_processors(log.partitions()));
    let ports = Arc::new(Ports::new(log, store, clock, admission, settings));
    let snapshot = ports.store.snapshot()?;
    let ids = (0..ports.log.partitions()).map(PartitionId);
    let partitions = ids
        .map(|id| Partition::following(&ports, &*snapshot, id).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((ports, partitions))
}

/// Looks how far partitions are; `seen` has where each was when its corrections were read last.
pub(super) fn look(
    partitions: &[Arc<Partition>],
    seen: &mut [Option<Offset>],
    store: &dyn CounterStore,
) -> Result<(), PortError> {
    let snapshot = store.snapshot()?;
    for (partition, seen) in partitions.iter().zip(seen) {
        let Some(checkpoint) = snapshot.checkpoint(partition.id)? else { continue };
        // Corrections stand in the log: there are no new ones where the checkpoint is the same.
        if *seen != Some(checkpoint.next_offset) {
            let repairs = snapshot.repairs(partition.id)?;
            partition.follow_corrections(Some(&checkpoint), &repairs);
            *seen = Some(checkpoint.next_offset);
        }
        partition.follow(&checkpoint);
        partition.follow_end(&checkpoint);
    }
    Ok(())
}
