//! Threads for the CPU work of large bodies, below the priority of those that answer questions.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll, Waker};

use api::ProblemCode;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tracing::Instrument;

use crate::http::problem::Failure;
use crate::telemetry::request;
use crate::threads::Duty;

/// Bodies that may wait for a thread. Their memory is bounded by the body budget before.
const QUEUE_MAX: usize = 1_024;

type Job = Box<dyn FnOnce() + Send>;

/// Runs the first part of a future, up to where it first waits, on a thread of the pool.
#[derive(Clone)]
pub(crate) struct IngestPool(SyncSender<Job>);

impl IngestPool {
    /// Starts so many threads; they end with the pool.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel::<Job>(QUEUE_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name(format!("ingest-{number}"))
                .spawn(move || work(&receiver))?;
        }
        Ok(Self(sender))
    }

    /// Polls the future once on a thread of the pool, where it does its CPU work, and awaits the
    /// rest of it here.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: BoxFuture<'static, T>,
    ) -> Result<T, Failure> {
        // What is logged over there is about the same request.
        let mut future = match request::current() {
            Some(request) => Box::pin(request::within(request, future.in_current_span())),
            None => future,
        };
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // Whoever awaits the rest registers its own waker when it polls.
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let _ = sender.send(match polled {
                Poll::Ready(value) => Polled::Ready(value),
                Poll::Pending => Polled::Pending(future),
            });
        };
        self.0.try_send(Box::new(job)).map_err(|error| {
            let detail = match error {
                TrySendError::Full(_) => "too many bodies wait to be read",
                TrySendError::Disconnected(_) => "the ingest threads have stopped",
            };
            Failure::new(ProblemCode::Overloaded, detail)
        })?;
        match receiver.await {
            Ok(Polled::Ready(value)) => Ok(value),
            Ok(Polled::Pending(future)) => Ok(future.await),
            // The future panicked; the thread lives on.
            Err(oneshot::Canceled) => {
                Err(Failure::new(ProblemCode::Internal, "reading the body failed"))
            }
        }
    }
}

enum Polled<T> {
    Ready(T),
    Pending(Pin<Box<dyn Future<Output = T> + Send>>),
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    Duty::Count.take();
    loop {
        let job = receiver.lock().recv();
        let Ok(job) = job else { return };
        // The panic hook has logged it, and dropping the job has answered the request.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
