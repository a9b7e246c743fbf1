//! Partitions that come and go: those that a group has assigned to this process are counted, each on
//! threads of its own, from where the store says that whoever had them before got to.
//!
//! A process may hear late that a partition is no longer its own, or, when it was stopped for long, claim one
//! that it no longer has. Its flushes are refused then, or those of the one that has it by the group's word.
//! So whoever is refused leaves the partition, and begins it anew while the group still says that it is
//! their own: they claim it back, and nobody is left with a partition that stands still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// Wait before a partition is claimed back that another process has claimed: time to hear that it has a right to.
const CLAIM_BACK: Duration = Duration::from_secs(3);
/// How often whoever waits looks whether the partition is still its own.
const LOOK: Duration = Duration::from_millis(50);
/// So often, before the partition is claimed again: the one before may have flushed once more.
const LOOKS: u32 = 100;

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
    /// While it is open.
    partition: Mutex<Option<Arc<Partition>>>,
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
        mine.values().filter_map(|mine| mine.shared.open()).map(|p| p.status()).collect()
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
    fn open(&self) -> Option<Arc<Partition>> {
        self.partition.lock().clone()
    }

    fn leave(&self, is_lost: bool) {
        self.is_lost.store(is_lost, Ordering::SeqCst);
        self.is_leaving.store(true, Ordering::SeqCst);
        if let Some(partition) = self.open() {
            partition.leave(is_lost);
        }
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::SeqCst)
    }

    /// Waits, unless the partition is taken away.
    fn wait(&self, pause: Duration) {
        let mut left = pause;
        while !self.is_leaving() && !left.is_zero() {
            let part = left.min(LOOK);
            std::thread::sleep(part);
            left -= part;
        }
    }

    /// Counts the partition until it is taken away, or cannot be counted at all.
    fn run(&self, ports: &Arc<Ports>, id: PartitionId, retention: Retention) {
        while let Some(partition) = self.begin(ports, id, retention) {
            let opened = Arc::new(partition.opened_anew());
            *self.partition.lock() = Some(opened.clone());
            // It may have been taken away before there was anything to tell.
            if self.is_leaving() {
                opened.leave(self.is_lost.load(Ordering::SeqCst));
            }
            match spawn(&opened) {
                Ok(threads) => threads.into_iter().for_each(|thread| drop(thread.join())),
                Err(error) => {
                    tracing::error!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "no thread"
                    );
                    return ports.admission.partition_stopped(id.0);
                }
            }
            if opened.status().is_stopped {
                return;
            }
            // Until it is open again, nobody is told that it is counted.
            *self.partition.lock() = None;
            self.wait(CLAIM_BACK);
        }
    }

    /// Opens the partition, again and again while that may yet succeed; none where it is taken away, or
    /// never will.
    fn begin(
        &self,
        ports: &Arc<Ports>,
        id: PartitionId,
        retention: Retention,
    ) -> Option<Partition> {
        while !self.is_leaving() {
            let mut looks = 0..LOOKS;
            let wait = || {
                self.wait(LOOK);
                looks.next().is_some() && !self.is_leaving()
            };
            match begin(ports, id, retention, wait) {
                Ok(partition) => return Some(partition),
                Err(error)
                    if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded) =>
                {
                    tracing::warn!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "an assigned partition cannot be begun; trying again"
                    );
                    self.wait(RETRY);
                }
                Err(error) => {
                    tracing::error!(
                        partition = id.0,
                        error = &error as &dyn std::error::Error,
                        "an assigned partition cannot be counted"
                    );
                    ports.admission.partition_stopped(id.0);
                    return None;
                }
            }
        }
        None
    }
}

/// Opens a partition as the store has it now: another process may have counted it until a moment ago, further
/// than this one knows the log to go. Then it waits until that is known; `wait` says whether it may go on.
pub(super) fn begin(
    ports: &Arc<Ports>,
    id: PartitionId,
    retention: Retention,
    mut wait: impl FnMut() -> bool,
) -> Result<Partition, PortError> {
    tell_settings(&*ports.log, &*ports.store, [id], ports.settings.dedup_minutes, retention)?;
    // From now on nobody else moves what the snapshot sees.
    let claim = ports.store.claim(id)?;
    let claimed_at = ports.clock.now().wall;
    let counted = claim.checkpoint.map(|checkpoint| checkpoint.next_offset).max(claim.begun);
    let end = || ports.log.bounds(id).durable_offset;
    // What was counted was durable when it was claimed: a log that is known up to then and ends below is
    // another one, which is refused.
    let is_certain = || ports.log.append_time().is_ok_and(|known| known >= claimed_at);
    while !is_certain() && counted > Some(end()) {
        if !wait() {
            let (counted, end) = (counted.unwrap_or_default(), end());
            let context = format!(
                "partition {id} is counted up to offset {counted}, and the log is known up to {end} only"
            );
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
    }
    Partition::open(ports, claim, &*ports.store.snapshot()?, id)
}
