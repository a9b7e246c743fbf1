//! Threads for the CPU work of large bodies, below the priority of those that answer questions.
//!
//! As long as bodies wait, a thread reads a few of them before it sends them to the log: one sync then
//! makes several requests durable. Where none waits, nobody is held up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

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
/// Most bodies that are read before the first of them is sent on.
const ROUND_MAX: usize = 16;
/// None is begun so long after the first of its round.
const ROUND_TIME_MAX: Duration = Duration::from_millis(10);
/// A body that may have so many bytes takes longer than a round: nobody waits for it.
const LONG_BYTES: usize = 1 << 20;

/// A body that waits to be read.
struct Job {
    read: Box<dyn FnOnce() -> Option<SendOn> + Send>,
    is_long: bool,
}

/// What is left to do with a body that was read.
type SendOn = Box<dyn FnOnce()>;

/// Runs the first part of a future, up to where it first waits for anything but
/// [`until_round_ends`], on a thread of the pool.
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

    /// Polls the future twice on a thread of the pool, where it does its CPU work on a body of about so
    /// many bytes, and awaits the rest of it here. Between the two it waits for others that are read
    /// meanwhile.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        future: BoxFuture<'static, T>,
    ) -> Result<T, Failure> {
        // What is logged over there is about the same request.
        let future = match request::current() {
            Some(request) => Box::pin(request::within(request, future.in_current_span())),
            None => future,
        };
        let (sender, receiver) = oneshot::channel();
        let job =
            Job { read: Box::new(move || read(future, sender)), is_long: bytes >= LONG_BYTES };
        self.0.try_send(job).map_err(|error| {
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

/// In a future that a pool runs: waits until the bodies of the same round are read too.
pub(crate) async fn until_round_ends() {
    futures::pending!();
}

enum Polled<T> {
    Ready(T),
    Pending(BoxFuture<'static, T>),
}

fn poll<T>(mut future: BoxFuture<'static, T>) -> Polled<T> {
    // Whoever awaits the rest registers its own waker when it polls.
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Polled::Ready(value),
        Poll::Pending => Polled::Pending(future),
    }
}

fn read<T: 'static>(
    future: BoxFuture<'static, T>,
    sender: oneshot::Sender<Polled<T>>,
) -> Option<SendOn> {
    match poll(future) {
        Polled::Pending(future) => Some(Box::new(move || {
            let _ = sender.send(poll(future));
        })),
        ready => {
            let _ = sender.send(ready);
            None
        }
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    Duty::Count.take();
    let mut held = None;
    while round(receiver, &mut held, ROUND_TIME_MAX) {}
}

/// Reads the body that is held, or waits for one, and those that wait behind it; whether there may be
/// more. A long one is held for a round of its own.
fn round(receiver: &Mutex<Receiver<Job>>, held: &mut Option<Job>, time_max: Duration) -> bool {
    let first = held.take().map_or_else(|| receiver.lock().recv(), Ok);
    let Ok(first) = first else { return false };
    let begun = Instant::now();
    let is_alone = first.is_long;
    let next = || {
        if is_alone || begun.elapsed() >= time_max {
            return None;
        }
        // Whoever holds the lock while it waits has found nothing.
        let job = receiver.try_lock().and_then(|receiver| receiver.try_recv().ok())?;
        match job.is_long {
            true => {
                *held = Some(job);
                None
            }
            false => Some(job),
        }
    };
    let jobs = std::iter::once(first).chain(std::iter::from_fn(next)).take(ROUND_MAX);
    let read: Vec<SendOn> = jobs.filter_map(|job| survive(job.read).flatten()).collect();
    for send_on in read {
        survive(send_on);
    }
    true
}

/// None where it panicked: the hook has logged that, and dropping the job has answered the request.
fn survive<R>(job: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(job)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use futures::future::join_all;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Tells what is done with a body, and when. Nobody can read 2.
    async fn body(number: usize, tell: Sender<(&'static str, usize)>) -> usize {
        let tell = |what| tell.send((what, number)).expect("somebody listens");
        tell("read");
        assert!(number != 2, "nobody can read this body");
        until_round_ends().await;
        tell("sent on");
        number
    }

    #[tokio::test]
    async fn bodies_that_wait_are_read_before_the_first_is_sent_on() {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let (pool, receiver) = (IngestPool(sender), Mutex::new(receiver));
        let (tell, told) = channel();
        let told = || told.try_iter().collect::<Vec<_>>();
        let last = ROUND_MAX + 1;
        let run = |number, bytes| pool.run(bytes, Box::pin(body(number, tell.clone())));
        let bodies = (1..=last).map(|number| run(number, 1));
        let mut bodies = join_all(bodies);
        assert!(futures::poll!(&mut bodies).is_pending());

        let mut held = None;
        assert!(round(&receiver, &mut held, MINUTE));
        let read = (1..=ROUND_MAX).map(|number| ("read", number));
        let sent_on = (1..=ROUND_MAX).filter(|number| *number != 2);
        let sent_on = sent_on.map(|number| ("sent on", number));
        assert_eq!(told(), read.chain(sent_on).collect::<Vec<_>>());
        assert!(round(&receiver, &mut held, MINUTE));
        assert_eq!(told(), [("read", last), ("sent on", last)]);
        let results: Vec<_> = bodies.await.into_iter().map(Result::ok).collect();
        let expected: Vec<_> = (1..=last).map(|n| (n != 2).then_some(n)).collect();
        assert_eq!(results, expected, "of what panics nothing is lost but itself");

        // Where the time is over, none is begun behind the first.
        let two = [1, 3].map(|number| run(number, 1));
        let mut two = join_all(two);
        assert!(futures::poll!(&mut two).is_pending());
        assert!(round(&receiver, &mut held, Duration::ZERO));
        assert_eq!(told(), [("read", 1), ("sent on", 1)]);
        assert!(round(&receiver, &mut held, MINUTE));
        assert_eq!(told(), [("read", 3), ("sent on", 3)]);

        // Nobody waits for a long one, and it waits for nobody.
        let mixed = [(1, 1), (3, LONG_BYTES), (4, 1), (5, 1)];
        let mut mixed = join_all(mixed.map(|(number, bytes)| run(number, bytes)));
        assert!(futures::poll!(&mut mixed).is_pending());
        assert!(round(&receiver, &mut held, MINUTE));
        assert_eq!(told(), [("read", 1), ("sent on", 1)]);
        assert!(round(&receiver, &mut held, MINUTE));
        assert_eq!(told(), [("read", 3), ("sent on", 3)]);
        drop((two, mixed));
        drop(pool);
        let mut go_on = || round(&receiver, &mut held, MINUTE);
        assert!(go_on(), "what waits is read even if nobody can send any more");
        assert_eq!(told(), [("read", 4), ("read", 5), ("sent on", 4), ("sent on", 5)]);
        assert!(!go_on());
    }

    #[tokio::test]
    async fn a_body_alone_waits_for_nobody() {
        let pool = IngestPool::start(2).expect("a pool");
        let (tell, told) = channel();
        assert_eq!(pool.run(1, Box::pin(body(1, tell))).await.ok(), Some(1));
        assert_eq!(told.iter().collect::<Vec<_>>(), [("read", 1), ("sent on", 1)]);
    }
}
