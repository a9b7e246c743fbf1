//! Backups of a running server: one at a time, on a thread of its own, and what became of the last.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;

use api::{BackupAnswer, BackupState};
use engine::ports::{Clock, PortError};
use parking_lot::Mutex;

use crate::threads::Duty;

/// So many are remembered.
const REMEMBERED: usize = 16;

/// Hears bytes done and in all, and ends the work.
pub(crate) type Heard<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// What writes backups.
pub(crate) trait BackupSource: Send + Sync {
    /// Makes the folder; refuses one that cannot be used.
    fn prepare(&self, folder: &Path) -> Result<(), PortError>;

    /// Writes a backup into an empty folder.
    fn take(&self, folder: &Path, heard: &mut Heard<'_>) -> Result<(), PortError>;
}

/// Why no backup is begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("a backup into {0} is under way; wait for its end")]
    UnderWay(String),
    #[error("{0}")]
    Folder(String),
    #[error("no thread for the backup: {0}")]
    Thread(std::io::Error),
}

/// See the module.
pub(crate) struct Backups {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    source: Box<dyn BackupSource>,
    clock: Arc<dyn Clock>,
    /// Newest first.
    recent: Mutex<VecDeque<BackupAnswer>>,
    is_stopping: AtomicBool,
    /// When the newest backup was done, in ms since 1970; 0 where none was since the start.
    last_done_ms: AtomicI64,
}

impl Backups {
    pub(crate) fn new(source: Box<dyn BackupSource>, clock: Arc<dyn Clock>) -> Self {
        let (recent, is_stopping) = (Mutex::default(), AtomicBool::new(false));
        let last_done_ms = AtomicI64::new(0);
        let shared = Arc::new(Shared { source, clock, recent, is_stopping, last_done_ms });
        Self { shared, worker: Mutex::default() }
    }

    /// Begins a backup; blocks while the folder is made.
    ///
    /// # Errors
    /// When another one is under way, or the folder cannot be used.
    pub(crate) fn begin(&self, folder: &str) -> Result<BackupAnswer, Refused> {
        let path = Path::new(folder);
        let is_plain = path.components().all(|part| part != Component::ParentDir);
        if !path.is_absolute() || !is_plain {
            let what = format!("`{folder}` must be an absolute path without `..`");
            return Err(Refused::Folder(what));
        }
        let mut worker = self.worker.lock();
        if let Some(running) = self.running() {
            return Err(Refused::UnderWay(running));
        }
        let told = |error: PortError| Refused::Folder(format!("{:#}", anyhow::Error::from(error)));
        self.shared.source.prepare(path).map_err(told)?;
        let begun = BackupAnswer {
            folder: folder.to_owned(),
            state: BackupState::Running,
            started: self.shared.now(),
            ended: None,
            bytes_done: 0,
            bytes_total: 0,
            detail: None,
        };
        self.shared.remember(begun.clone());
        let (shared, folder) = (self.shared.clone(), path.to_owned());
        let thread = std::thread::Builder::new().name("backup".into()).spawn(move || {
            // It can wait: nobody who counts or asks shall wait for it.
            Duty::Merge.take();
            shared.take(&folder);
        });
        match thread {
            Ok(thread) => *worker = Some(thread),
            Err(error) => {
                self.shared.end(Err(error.to_string()));
                return Err(Refused::Thread(error));
            }
        }
        Ok(begun)
    }

    /// The backups since the start, newest first.
    pub(crate) fn recent(&self) -> Vec<BackupAnswer> {
        self.shared.recent.lock().iter().cloned().collect()
    }

    /// When the newest backup was done, in ms since 1970; none where there was none since the start.
    pub(crate) fn last_done_ms(&self) -> Option<i64> {
        Some(self.shared.last_done_ms.load(Ordering::Relaxed)).filter(|&done| done > 0)
    }

    /// Ends a backup that is under way; it is none then.
    pub(crate) fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.lock().take() {
            // One that panicked has said so.
            let _ = worker.join();
        }
    }

    /// The folder of the backup that is under way.
    fn running(&self) -> Option<String> {
        let recent = self.shared.recent.lock();
        let running = recent.front().filter(|newest| newest.state == BackupState::Running)?;
        Some(running.folder.clone())
    }
}

impl Shared {
    fn take(&self, folder: &Path) {
        let mut heard = |done, total| {
            if let Some(newest) = self.recent.lock().front_mut() {
                (newest.bytes_done, newest.bytes_total) = (done, total);
            }
            match self.is_stopping.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        tracing::info!(folder = %folder.display(), "a backup begins");
        let taking = std::panic::AssertUnwindSafe(|| self.source.take(folder, &mut heard));
        let result = match std::panic::catch_unwind(taking) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::from(error))),
            Err(_) => Err("this is a bug; the server's log says more".to_owned()),
        };
        match &result {
            Ok(()) => tracing::info!(folder = %folder.display(), "the backup is done"),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "the backup failed");
            }
        }
        self.end(result);
    }

    fn end(&self, result: Result<(), String>) {
        let now = self.clock.now().wall;
        if result.is_ok() {
            self.last_done_ms.store(now.0, Ordering::Relaxed);
        }
        let ended = now.to_string();
        if let Some(newest) = self.recent.lock().front_mut() {
            newest.state = if result.is_ok() { BackupState::Done } else { BackupState::Failed };
            newest.ended = Some(ended);
            newest.detail = result.err();
        }
    }

    fn remember(&self, begun: BackupAnswer) {
        let mut recent = self.recent.lock();
        recent.push_front(begun);
        recent.truncate(REMEMBERED);
    }

    fn now(&self) -> String {
        self.clock.now().wall.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use engine::ports::ErrorKind;
    use model::TimestampMs;
    use model::append_time::ClockReading;

    use super::*;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> ClockReading {
            ClockReading { wall: TimestampMs(1_795_255_200_000), monotonic_ms: 0 }
        }
    }

    /// Goes on while it is told to, or until it is ended.
    struct Slow(Mutex<mpsc::Receiver<Result<(), PortError>>>);

    impl BackupSource for Slow {
        fn prepare(&self, folder: &Path) -> Result<(), PortError> {
            match folder.ends_with("full") {
                true => Err(PortError::new(ErrorKind::Conflict, "it is not empty")),
                false => Ok(()),
            }
        }

        fn take(&self, _: &Path, heard: &mut Heard<'_>) -> Result<(), PortError> {
            loop {
                if heard(3, 4).is_break() {
                    return Err(PortError::new(ErrorKind::Unavailable, "ended"));
                }
                if let Ok(result) = self.0.lock().try_recv() {
                    return result;
                }
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn one_at_a_time_and_what_became_of_it() {
        let (sender, receiver) = mpsc::channel();
        let backups = Backups::new(Box::new(Slow(Mutex::new(receiver))), Arc::new(Noon));
        for folder in ["relative", "/a/../b", "/full"] {
            assert!(matches!(backups.begin(folder), Err(Refused::Folder(_))), "{folder}");
        }
        assert!(backups.recent().is_empty());
        assert_eq!(backups.last_done_ms(), None);
        let newest = |wanted| loop {
            let newest = backups.recent().remove(0);
            if newest.state == wanted {
                return newest;
            }
            std::thread::yield_now();
        };
        assert_eq!(backups.begin("/one").unwrap().state, BackupState::Running);
        assert!(
            matches!(backups.begin("/two"), Err(Refused::UnderWay(folder)) if folder == "/one")
        );
        sender.send(Ok(())).unwrap();
        let done = newest(BackupState::Done);
        assert_eq!((done.bytes_done, done.bytes_total, done.detail), (3, 4, None));
        assert_eq!(backups.last_done_ms(), Some(1_795_255_200_000));
        backups.begin("/two").unwrap();
        sender.send(Err(PortError::new(ErrorKind::Corrupt, "the disk is gone"))).unwrap();
        assert_eq!(newest(BackupState::Failed).detail.as_deref(), Some("the disk is gone"));
        backups.begin("/three").unwrap();
        backups.stop();
        let states: Vec<_> = backups.recent().iter().map(|backup| backup.state).collect();
        assert_eq!(states, [BackupState::Failed, BackupState::Failed, BackupState::Done]);
    }
}
