//! Partitions that other processes count: questions are answered from the store alone, which is
//! looked at again and again for how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::PartitionId;

use super::{Partition, Ports, ProcessorSettings, Processors};
use crate::admission::Admission;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, PortError};

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
        let run = move || {
            let mut is_away = false;
            while !ending.load(Ordering::Relaxed) {
                std::thread::park_timeout(PAUSE);
                let looked = look(&followed, &*store);
                if let (Err(error), false) = (&looked, is_away) {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "the store does not say how far it is; trying on"
                    );
                }
                is_away = looked.is_err();
            }
        };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(run);
        let thread = thread.map_err(|error| {
            let context = "a thread that follows the store cannot be started";
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        Ok(Arc::new(Self::of(ports, partitions, vec![thread], Some(is_ending))))
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

/// Notes how far the store is with each of them.
pub(super) fn look<'a>(
    partitions: impl IntoIterator<Item = &'a Arc<Partition>>,
    store: &dyn CounterStore,
) -> Result<(), PortError> {
    let snapshot = store.snapshot()?;
    for partition in partitions {
        if let Some(checkpoint) = snapshot.checkpoint(partition.id)? {
            partition.follow(&checkpoint);
        }
    }
    Ok(())
}
