//! Beside the load: how fast queries are answered, and how soon an acknowledged event shows. Each
//! probe has a thread, a runtime and a connection of its own, so that the load's own queueing is
//! not measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::CountAnswer;
use api::client::CountQuery;

use super::connection::{Connection, Peer};
use super::generator::item_text;
use super::report::Latencies;
use super::zipf::{Random, Zipf};
use crate::threads::Duty;

const VISIBILITY_INTERVAL: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// An event that does not show in this time is recorded with it.
const VISIBILITY_LIMIT: Duration = Duration::from_secs(30);

/// A probe that runs until it is told to stop.
pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Latencies, u64)>,
}

impl Probe {
    fn start<F: Future<Output = (Latencies, u64)>>(
        probe: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            // It stands for a client elsewhere, which does not wait for a core of this machine.
            Duty::Answer.take();
            runtime.block_on(probe(stopped))
        });
        Ok(Self { stop, thread })
    }

    /// Latencies and the number of errors.
    pub(super) fn finish(self) -> (Latencies, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Asks for counts of drawn items, open loop at so many a second.
pub(super) fn queries(peer: Peer, rate: f64, zipf: Zipf, seed: u64) -> anyhow::Result<Probe> {
    Probe::start(move |stop| async move {
        let (mut latencies, mut errors) = (Latencies::new(), 0);
        let mut connection = Connection::new(&peer);
        connection.open().await;
        let mut random = Random::new(seed);
        let started = Instant::now();
        let mut sent = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let due = started + Duration::from_secs_f64(sent as f64 / rate);
            // The thread sleeps, not the runtime: its timer has only milliseconds.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            sent += 1;
            let item = item_text(zipf.draw(&mut random));
            let path = CountQuery { item: &item, ..Default::default() }.path();
            match connection.get(&path).await {
                Ok(answer) if answer.status == 200 => latencies.record(due.elapsed()),
                _ => errors += 1,
            }
        }
        (latencies, errors)
    })
}

/// Sends an event ten times a second, and asks for its count until it is in.
pub(super) fn visibility(peer: Peer, item: String) -> anyhow::Result<Probe> {
    Probe::start(move |stop| async move {
        let (mut latencies, mut errors) = (Latencies::new(), 0);
        let mut connection = Connection::new(&peer);
        let count_path = CountQuery { item: &item, ..Default::default() }.path();
        let post_path = format!("/v1/items/{item}/events");
        let mut expected = None;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let before = match expected {
                Some(count) => Some(count),
                None => count(&mut connection, &count_path).await,
            };
            let posted =
                connection.post(&post_path, "application/json", None, bytes::Bytes::new()).await;
            match (before, posted) {
                (Some(before), Ok(answer)) if answer.status == 202 => {
                    let acknowledged = Instant::now();
                    while acknowledged.elapsed() < VISIBILITY_LIMIT {
                        if count(&mut connection, &count_path).await.is_some_and(|n| n > before) {
                            break;
                        }
                        std::thread::sleep(POLL_INTERVAL);
                    }
                    latencies.record(acknowledged.elapsed());
                    expected = Some(before + 1);
                }
                _ => {
                    errors += 1;
                    expected = None;
                }
            }
            std::thread::sleep(VISIBILITY_INTERVAL.saturating_sub(began.elapsed()));
        }
        (latencies, errors)
    })
}

async fn count(connection: &mut Connection, path: &str) -> Option<u64> {
    let answer = connection.get(path).await.ok()?;
    let answer: CountAnswer = serde_json::from_slice(&answer.body).ok()?;
    Some(answer.count)
}
