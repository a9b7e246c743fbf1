//! Partitions that come and go: those that a group has assigned to this process are counted, each on
//! threads of its own, from where the store says that whoever had them before got to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use model::{Offset, PartitionId, Retention};
use parking_lot::Mutex;

use super::{Partition, PartitionStatus, Ports, ProcessorSettings, spawn, tell_settings};
use crate::admission::Admission;
use crate::durations::DurationFigures;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, Owner, PortError};

/// Wait before a partition that could not be begun is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The partitions that this process counts now.
pub struct Group {
    ports: Arc<Ports>,
    retention: Retention,
    mine: Mutex<BTreeMap<PartitionId, Mine>>,
}

/// A partition from its assignment on.
struct Mine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of a partition shares with who takes it away.
#[derive(Default)]
struct Shared {
    is_leaving: AtomicBool,
    is_lost: AtomicBool,
    /// Once it is open.
    partition: OnceLock<Arc<Partition>>,
}

impl Group {
    /// Counts nothing yet. `retention` and the settings are told to the log of each partition that
    /// is assigned.
    pub fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
        retention: Retention,
    ) -> Self {
        let ports = Arc::new(Ports::new(log, store, clock, admission, settings));
        Self { ports, retention, mine: Mutex::default() }
    }

    /// The partitions that are assigned, open or not.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.mine.lock().keys().copied().collect()
    }

    /// How far each partition is that is open.
    pub fn status(&self) -> Vec<PartitionStatus> {
        let mine = self.mine.lock();
        mine.values().filter_map(|mine| mine.shared.partition.get()).map(|p| p.status()).collect()
    }

    /// How long flushes took, of all partitions together.
    pub fn flush_durations(&self) -> DurationFigures {
        self.ports.flush_durations.figures()
    }

    /// How far each open partition is counted and flushed.
    pub fn progress(&self) -> Vec<(PartitionId, Offset)> {
        self.status().iter().map(|status| (status.partition, status.checkpoint_offset)).collect()
    }

    fn give_up(&self, partitions: &[PartitionId], is_lost: bool) {
        let mut leaving: Vec<Mine> =
            partitions.iter().filter_map(|id| self.mine.lock().remove(id)).collect();
        // All are asked before any is waited for.
        for Mine { shared, .. } in &leaving {
            shared.leave(is_lost);
        }
        for thread in leaving.iter_mut().filter_map(|mine| mine.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("a processor thread ended in a panic; its events are in the log");
            }
        }
    }
}

impl Owner for Group {
    fn assigned(&self, partitions: &[PartitionId]) {
        for &id in partitions {
            let mut mine = self.mine.lock();
            if mine.contains_key(&id) {
                continue;
            }
            let shared: Arc<Shared> = Arc::default();
            let (ports, retention, own) = (self.ports.clone(), self.retention, shared.clone());
            let run = move || own.run(&ports, id, retention);
            match Builder::new().name(format!("own-{id}")).spawn(run) {
                Ok(thread) => drop(mine.insert(id, Mine { shared, thread: Some(thread) })),
                Err(error) => {
                    tracing::error!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "no thread for a partition that was assigned"
                    );
                    self.ports.admission.partition_stopped(id.0);
                }
            }
        }
    }

    fn revoked(&self, partitions: &[PartitionId]) {
        self.give_up(partitions, false);
    }

    fn lost(&self, partitions: &[PartitionId]) {
        self.give_up(partitions, true);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let all = self.partitions();
        self.give_up(&all, false);
    }
}

impl Shared {
    fn leave(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Ordering::SeqCst);
        self.is_leaving.store(true, Ordering::SeqCst);
        if let Some(partition) = self.partition.get() {
            partition.leave(is_lost);
        }
    }

    fn run(&self, ports: &Arc<Ports>, id: PartitionId, retention: Retention) {
        let opened = loop {
            if self.is_leaving.load(Ordering::SeqCst) {
                return;
            }
            match begin(ports, id, retention) {
                Ok(partition) => break self.partition.get_or_init(|| Arc::new(partition)).clone(),
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    tracing::warn!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "an assigned partition cannot be begun; trying again"
                    );
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "an assigned partition cannot be counted"
                    );
                    return ports.admission.partition_stopped(id.0);
                }
            }
        };
        // It may have been taken away before there was anything to tell.
        if self.is_leaving.load(Ordering::SeqCst) {
            opened.leave(self.is_lost.load(Ordering::SeqCst));
        }
        let threads = spawn(&opened);
        match threads {
            Ok(threads) => threads.into_iter().for_each(|thread| drop(thread.join())),
            Err(error) => {
                tracing::error!(
                    partition = id.0,
                    error = &error as &dyn std::error::Error,
                    "no thread"
                );
                ports.admission.partition_stopped(id.0);
            }
        }
    }
}

/// Opens a partition as the store has it now: another process may have counted it until a moment
/// ago.
pub(super) fn begin(
    ports: &Arc<Ports>,
    id: PartitionId,
    retention: Retention,
) -> Result<Partition, PortError> {
    tell_settings(&*ports.log, &*ports.store, [id], ports.settings.dedup_minutes, retention)?;
    // From now on nobody else moves what the snapshot sees.
    let claim = ports.store.claim(id)?;
    Partition::open(ports, claim, &*ports.store.snapshot()?, id)
}
