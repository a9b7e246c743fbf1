//! Recounts: jobs that count raw events again, and what is done about what they find.
//!
//! A job runs beside everything else, one at a time, on threads that yield to all others and rest
//! where there is ingestion. What it reads is never changed by it; killed at any point it leaves
//! nothing behind.

mod audit;
mod found;
mod job;
mod pace;
mod repair;
mod tail;
mod totals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use batch::{Archive, Scope};
use engine::ports::{CounterStore, EventLog, PortError};
use engine::query::Query;
use model::{Offset, PartitionId, TimeRange, TimestampMs};
use parking_lot::Mutex;

pub(crate) use found::Found;
pub(crate) use repair::Repaired;

use crate::audit::Audits;
use crate::threads::Duty;

/// Jobs that are remembered.
const JOBS_KEPT: usize = 100;

/// All recounts since the process started.
pub(crate) struct Recounts {
    log: Arc<dyn EventLog>,
    store: Arc<dyn CounterStore>,
    archive: Option<Arc<dyn Archive>>,
    /// Where what a recount found is remembered.
    audits: Arc<Audits>,
    jobs: Mutex<Vec<Arc<Job>>>,
}

/// One recount.
pub(crate) struct Job {
    pub(crate) id: u64,
    /// From the start of an hour to the start of an hour.
    pub(crate) start: TimestampMs,
    pub(crate) end: TimestampMs,
    pub(crate) item: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) began: TimestampMs,
    by: AskedBy,
    planned: AtomicU64,
    read: AtomicU64,
    judged: AtomicU64,
    repeats: AtomicU64,
    /// Whether totals were left out somewhere.
    skips_totals: AtomicBool,
    is_stopping: AtomicBool,
    state: Mutex<State>,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedBy {
    /// Somebody, who is told when it fails.
    Request,
    /// The audit.
    Schedule,
}

/// How far a recount is.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    /// What differs; complete when it is done.
    pub(crate) found: Arc<[Found]>,
    /// Up to which offset each partition was compared.
    pub(crate) offsets: Vec<(PartitionId, Offset)>,
    /// What was done about it.
    pub(crate) repaired: Option<Repaired>,
}

/// Whether a recount has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    #[default]
    Running,
    Done,
    Stopped,
    /// With the reason.
    Failed(String),
}

/// What a recount has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Events to be read, as far as is known.
    pub(crate) planned: u64,
    /// Events read.
    pub(crate) read: u64,
    /// Events among them that were asked for, and how many of those were repeats.
    pub(crate) judged: u64,
    pub(crate) repeats: u64,
}

/// Somebody asked to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the recount was stopped")]
struct Stopped;

/// Why a recount does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("recount {0} is running; wait for it, or stop it")]
    Running(u64),
    #[error("a thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Why nothing is repaired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepairError {
    #[error("recount {0} has not ended, or ended in a failure: there is nothing to repair")]
    NotDone(u64),
    #[error("what recount {0} found was repaired before; count again")]
    Repaired(u64),
    #[error("no corrections of generation {0} are kept: it was confirmed, or never was")]
    Unknown(u64),
    #[error("generation {0} cannot be taken back: later corrections build on it")]
    Later(u64),
    #[error(
        "the corrections are in the log, but partition {0} has not flushed them yet; count again \
         in a while to see whether they were applied"
    )]
    Slow(u16),
    #[error(transparent)]
    Port(#[from] PortError),
}

impl Recounts {
    /// Over what is counted, and the archive of raw events where there is one.
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        archive: Option<Arc<dyn Archive>>,
        audits: Arc<Audits>,
    ) -> Arc<Self> {
        Arc::new(Self { log, store, archive, audits, jobs: Mutex::default() })
    }

    /// Begins a recount of the hours that a range touches. `by` says who wants to know.
    pub(crate) fn start(
        self: &Arc<Self>,
        range: TimeRange,
        item: Option<String>,
        event_type: Option<String>,
        (by, began): (AskedBy, TimestampMs),
    ) -> Result<Arc<Job>, StartError> {
        let mut jobs = self.jobs.lock();
        if let Some(running) = jobs.iter().find(|job| job.is_running()) {
            return Err(StartError::Running(running.id));
        }
        let hours = range.hours();
        let job = Arc::new(Job {
            id: jobs.last().map_or(1, |newest| newest.id + 1),
            start: TimestampMs(i64::from(hours.start) * 3_600_000),
            end: TimestampMs(i64::from(hours.end) * 3_600_000),
            item,
            event_type,
            began,
            by,
            planned: AtomicU64::new(0),
            read: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            skips_totals: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let (recounts, running) = (Arc::clone(self), Arc::clone(&job));
        std::thread::Builder::new().name("recount".into()).spawn(move || {
            Duty::Spare.take();
            let ended = EndsAsFailed(&running);
            let begun = Instant::now();
            let outcome = recounts.run(&running);
            running.end(outcome);
            std::mem::forget(ended);
            recounts.remember(&running, begun.elapsed());
        })?;
        if jobs.len() == JOBS_KEPT {
            jobs.remove(0);
        }
        jobs.push(Arc::clone(&job));
        Ok(job)
    }

    /// The recounts that are remembered, oldest first.
    pub(crate) fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().clone()
    }

    /// A recount by its number.
    pub(crate) fn job(&self, id: u64) -> Option<Arc<Job>> {
        self.jobs.lock().iter().find(|job| job.id == id).cloned()
    }

    /// Whether a range was counted again since the process started, when it was final, and is now
    /// what the raw events say.
    pub(crate) fn has_proven(
        &self,
        query: &Query,
        range: TimeRange,
        (item, event_type): (&str, &str),
    ) -> bool {
        let covers = |job: &Job| {
            job.start <= range.start.start()
                && range.end.start() <= job.end
                && job.item.as_deref().is_none_or(|only| only == item)
                && job.event_type.as_deref().is_none_or(|only| only == event_type)
                && query.is_final_at(range, job.began)
        };
        // The newest that covers it and is done says how it is. Asked with every count of what is
        // final, so nothing is copied.
        let jobs = self.jobs.lock();
        jobs.iter().rev().filter(|job| covers(job)).find_map(|job| job.has_proven()) == Some(true)
    }

    /// Corrects what a recount found.
    pub(crate) fn repair(&self, job: &Job) -> Result<Repaired, RepairError> {
        let found = {
            let mut state = job.state.lock();
            match (&state.progress, state.repaired) {
                (Progress::Done, None) => {}
                (Progress::Done, Some(_)) => return Err(RepairError::Repaired(job.id)),
                _ => return Err(RepairError::NotDone(job.id)),
            }
            // From here on a second request finds it repaired, whatever becomes of this one.
            state.repaired = Some(Repaired::default());
            state.found.clone()
        };
        let repaired = self.correct(&found)?;
        job.state.lock().repaired = Some(repaired);
        Ok(repaired)
    }

    fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.log.partitions()).map(PartitionId)
    }

    /// Ends what is running, soon.
    pub(crate) fn stop(&self) {
        self.jobs.lock().iter().for_each(|job| job.stop());
    }
}

/// A job whose thread panics has failed.
struct EndsAsFailed<'a>(&'a Job);

impl Drop for EndsAsFailed<'_> {
    fn drop(&mut self) {
        self.0.state.lock().progress = Progress::Failed("it ended in a panic".into());
    }
}

impl Job {
    fn is_running(&self) -> bool {
        self.state.lock().progress == Progress::Running
    }

    /// How far it is.
    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Whether counters are what the raw events say, as far as they were compared; none where that
    /// was not found out.
    fn has_proven(&self) -> Option<bool> {
        let state = self.state.lock();
        let is_repaired = || state.repaired.is_some_and(|done| done.refused == 0);
        (state.progress == Progress::Done).then(|| state.found.is_empty() || is_repaired())
    }

    /// What it has done so far.
    pub(crate) fn work(&self) -> Work {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Work {
            planned: of(&self.planned),
            read: of(&self.read),
            judged: of(&self.judged),
            repeats: of(&self.repeats),
        }
    }

    /// Ends it, soon.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn scope(&self, share: u32, shares: u32) -> Scope {
        let (item, event_type) = (self.item.clone(), self.event_type.clone());
        Scope { start_ms: self.start.0, end_ms: self.end.0, item, event_type, share, shares }
    }

    fn plan(&self, events: u64) {
        self.planned.fetch_add(events, Ordering::Relaxed);
    }

    fn go_on(&self, events: u64) -> bool {
        self.read.fetch_add(events, Ordering::Relaxed);
        !self.is_stopping.load(Ordering::Relaxed)
    }

    fn compared(&self, (judged, repeats): (u64, u64)) {
        self.judged.fetch_add(judged, Ordering::Relaxed);
        self.repeats.fetch_add(repeats, Ordering::Relaxed);
    }

    fn checks_totals(&self, checks: bool) {
        self.skips_totals.fetch_or(!checks, Ordering::Relaxed);
    }

    /// Whether every partition's totals were compared with what their hours add up to; else some
    /// have days that are older than hours are kept.
    pub(crate) fn has_checked_totals(&self) -> bool {
        !self.skips_totals.load(Ordering::Relaxed)
    }

    fn ends_at(&self, partition: PartitionId, offset: Offset) {
        let offsets = &mut self.state.lock().offsets;
        offsets.retain(|(id, _)| *id != partition);
        offsets.push((partition, offset));
    }

    fn end(&self, outcome: anyhow::Result<Vec<Found>>) {
        let mut state = self.state.lock();
        match outcome {
            Ok(mut found) => {
                found.sort_by(|a, b| {
                    let key = |f: &Found| (f.partition, f.cell.place.is_some());
                    key(a).cmp(&key(b)).then_with(|| a.cell.key().cmp(&b.cell.key()))
                });
                if !found.is_empty() {
                    tracing::error!(
                        recount = self.id,
                        differences = found.len(),
                        "counters differ from the raw events"
                    );
                }
                state.found = found.into();
                state.progress = Progress::Done;
            }
            Err(error) => {
                let is_stopped = error.is::<Stopped>()
                    || matches!(error.downcast_ref(), Some(batch::Error::Stopped));
                state.progress = if is_stopped {
                    Progress::Stopped
                } else {
                    Progress::Failed(format!("{error:#}"))
                };
            }
        }
    }
}
