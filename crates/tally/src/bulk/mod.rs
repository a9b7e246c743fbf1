//! The bulk lane: files of any size are put into object storage, named in the log, and counted by
//! one thread that takes its time.
//!
//! What makes it exact: the name of a file in the log is durable before anybody is told; the thread
//! sends its events through the gateway, stamped with the file and their place in it; so whenever
//! it begins again, from wherever, every event counts once. Its progress is a hint for where to
//! begin, and what people are told.

mod how;
mod object;
mod progress;
mod receive;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use api::BulkAnswer;
use engine::gateway::{Gateway, Outcome};
use engine::ports::{ObjectStore, PortError};
use engine::processor::Processors;
use model::{BulkEntry, BulkId};
use parking_lot::{Condvar, Mutex};

pub(crate) use how::{FileFormat, How};
pub(crate) use progress::Progress;
pub(crate) use receive::{Piece, ReceiveError, Received};

use crate::http::events::read::Rejection;
use crate::threads::Duty;

/// The folder of files that were sent.
const UPLOADS: &str = "bulk/uploads";
/// How often the thread looks for files that the log names.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct BulkLane {
    objects: Arc<dyn ObjectStore>,
    gateway: Arc<Gateway>,
    processors: Arc<Processors>,
    /// Where the log of each partition ended when the process started.
    log_ends: Vec<u64>,
    /// Bytes that stay free on the disk.
    reserve_bytes: u64,
    jobs: Mutex<BTreeMap<BulkId, Job>>,
    /// One file is named at a time: the same one is not named twice.
    naming: Mutex<()>,
    is_stopping: AtomicBool,
    news: (Mutex<()>, Condvar),
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Hears the verdicts on every batch, for the metrics.
    judged: OnceLock<Box<Judged>>,
}

/// Takes what became of a batch, and the refusals of the rules.
type Judged = dyn Fn(&Outcome, &[Rejection]) + Send + Sync;

/// A file and how far it is.
#[derive(Clone)]
struct Job {
    entry: BulkEntry,
    progress: Progress,
}

impl BulkLane {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn start(
        objects: Arc<dyn ObjectStore>,
        gateway: Arc<Gateway>,
        processors: Arc<Processors>,
        reserve_bytes: u64,
    ) -> std::io::Result<Arc<Self>> {
        let log_ends = log_ends(&processors);
        let lane = Arc::new(Self {
            log_ends,
            objects,
            gateway,
            processors,
            reserve_bytes,
            jobs: Mutex::default(),
            naming: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            news: (Mutex::new(()), Condvar::new()),
            thread: Mutex::default(),
            judged: OnceLock::new(),
        });
        // Before anybody can send a file: what is there now is named by now, or never will be.
        let leftovers = lane.objects.list(UPLOADS).unwrap_or_default();
        let counted_from = lane.processors.status().first().map(|status| status.durable_offset);
        let owned = lane.clone();
        let thread = std::thread::Builder::new().name("bulk".into()).spawn(move || {
            Duty::Merge.take();
            owned.run(leftovers, counted_from.unwrap_or_default());
        })?;
        *lane.thread.lock() = Some(thread);
        Ok(lane)
    }

    /// Lets somebody hear the verdicts on every batch; only the first one does.
    pub(crate) fn on_judged(&self, hear: impl Fn(&Outcome, &[Rejection]) + Send + Sync + 'static) {
        let _ = self.judged.set(Box::new(hear));
    }

    /// Ends the thread: what it has not settled it takes up at the next start. Call it before the
    /// processors stop.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.news.1.notify_all();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the bulk lane's thread ended in a panic; nothing is lost");
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Sleeps, unless it is time to stop or there is news.
    fn pause(&self, time: Duration) {
        let mut guard = self.news.0.lock();
        if !self.is_stopping() {
            self.news.1.wait_for(&mut guard, time);
        }
    }

    /// A file, if the log names it. Blocks: not for async threads.
    ///
    /// # Errors
    /// Where the store or the objects do not answer.
    pub(crate) fn get(&self, id: BulkId) -> Result<Option<BulkAnswer>, PortError> {
        self.refresh()?;
        Ok(self.jobs.lock().get(&id).map(Job::answer))
    }

    /// All files that the log names, oldest first. Blocks: not for async threads.
    ///
    /// # Errors
    /// Where the store or the objects do not answer.
    pub(crate) fn list(&self) -> Result<Vec<BulkAnswer>, PortError> {
        self.refresh()?;
        let mut jobs: Vec<Job> = self.jobs.lock().values().cloned().collect();
        jobs.sort_by_key(|job| job.entry.offset);
        Ok(jobs.iter().map(Job::answer).collect())
    }

    /// Learns of the files that the counted part of the log names.
    fn refresh(&self) -> Result<(), PortError> {
        for entry in self.processors.bulk()? {
            let id = entry.object.id;
            if self.jobs.lock().contains_key(&id) {
                continue;
            }
            let progress = Progress::load(&*self.objects, id, &self.log_ends)?;
            // Somebody else may have learned of it meanwhile, and be further.
            self.jobs.lock().entry(id).or_insert(Job { entry, progress });
        }
        Ok(())
    }
}

fn log_ends(processors: &Processors) -> Vec<u64> {
    processors.status().iter().map(|status| status.durable_offset.0).collect()
}

impl Job {
    fn answer(&self) -> BulkAnswer {
        self.progress.answer(&self.entry)
    }
}
