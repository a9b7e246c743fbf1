//! Threads that look at something again and again until they are stopped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::ports::{ErrorKind, PortError};

/// A thread that runs beside the others. It goes on until it is stopped: dropping this lets it run.
pub(crate) struct Background {
    stopping: Arc<Stopping>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread asks whether it is to end.
#[derive(Default)]
pub(crate) struct Stopping {
    is_asked: Mutex<bool>,
    asked: Condvar,
}

impl Background {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be started.
    pub(crate) fn start(
        name: &str,
        body: impl FnOnce(&Stopping) + Send + 'static,
    ) -> Result<Self, PortError> {
        let stopping = Arc::new(Stopping::default());
        let seen = stopping.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || body(&seen));
        let thread = thread.map_err(|error| {
            let context = format!("the thread `{name}` cannot be started");
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        Ok(Self { stopping, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread, and waits for what it is at.
    pub(crate) fn stop(&self) {
        *self.stopping.is_asked.lock() = true;
        self.stopping.asked.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

impl Stopping {
    /// Waits for a while; whether stopping was asked for.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut is_asked = self.is_asked.lock();
        if !*is_asked {
            self.asked.wait_for(&mut is_asked, time);
        }
        *is_asked
    }
}
