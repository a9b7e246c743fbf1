//! Runs the load: connections that take the next body, send it, and send it again while the server
//! asks for that. All on one thread, to leave the other cores to the server under test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::client::retry::{Backoff, Jitter};
use api::client::{Client, is_retryable_status};
use api::{AcceptedAnswer, Problem, RejectedEvent};
use bytes::Bytes;
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::connection::{Answer, Connection, Peer};
use super::generator::{Generator, GeneratorOptions, Tracked};
use super::probe;
use super::report::{Latencies, LoadReport};
use super::timeline::{Step, Timeline, due_times};
use super::verify::Expected;
use super::zipf::Zipf;
use crate::threads::Duty;

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The pacer sleeps at least so long: what is due meanwhile is late by that, and is said to be. A thread
/// that wakes up for every request takes as much time of the cores as sending it.
const NAP: Duration = Duration::from_micros(250);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct LoadOptions {
    /// The server, and what opens it.
    pub(crate) client: Client,
    pub(crate) path: String,
    /// Whether each body has a key of its own, by which a repeat of it can be told from a new one.
    pub(crate) has_keys: bool,
    pub(crate) generator: GeneratorOptions,
    pub(crate) batch: u32,
    pub(crate) connections: u32,
    /// Events a second; none: closed loop.
    pub(crate) rate: Option<f64>,
    /// In place of a rate and a duration: one part after the other (open loop).
    pub(crate) steps: Vec<Step>,
    /// For who watches the run.
    pub(crate) timeline: Option<Arc<Timeline>>,
    pub(crate) events: u64,
    pub(crate) duration: Option<Duration>,
    pub(crate) verify: bool,
    pub(crate) probe_visibility: bool,
    pub(crate) query_rate: Option<f64>,
    /// How long a body is sent again before it is given up.
    pub(crate) retry_for: Duration,
    /// How long counts may take to show before the check calls them wrong.
    pub(crate) patience: Duration,
}

impl LoadOptions {
    fn is_open_loop(&self) -> bool {
        self.rate.is_some() || !self.steps.is_empty()
    }

    /// The parts of an open loop; none where the loop is closed.
    fn schedule(&self) -> Option<Vec<Step>> {
        let lasts = self.duration.unwrap_or(Duration::MAX);
        let steady = || self.rate.map(|rate| vec![Step { lasts, rate }]);
        if self.steps.is_empty() { steady() } else { Some(self.steps.clone()) }
    }
}

/// What all connections share.
struct Shared {
    options: LoadOptions,
    source: Mutex<Source>,
    totals: Mutex<Totals>,
    started: Instant,
    progress: Box<dyn Fn(u64) + Send + Sync>,
}

/// Where bodies come from.
struct Source {
    generator: Generator,
    remaining: u64,
    spent: Duration,
}

/// What has come of them.
struct Totals {
    report: LoadReport,
    errors: BTreeMap<String, u64>,
    latencies: Latencies,
    expected: Option<Expected>,
}

/// One request to be.
struct Body {
    bytes: Bytes,
    /// Its `Idempotency-Key`.
    key: Option<HeaderValue>,
    events: u32,
    tracked: Vec<Tracked>,
}

/// Runs to the end. `progress` hears the number of events answered so far.
pub(crate) fn run(
    options: LoadOptions,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> anyhow::Result<LoadReport> {
    crate::process::raise_file_limit();
    let client = options.client.clone();
    let peer = Peer::new(&client)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // An error says why, such as a certificate that nobody vouches for.
    runtime.block_on(client.connect())?;
    let expected = if options.verify {
        Some(runtime.block_on(Expected::baseline(&client, options.generator.items))?)
    } else {
        None
    };
    let visibility = if options.probe_visibility {
        let item = format!("load-probe-{:x}", options.generator.started_ms);
        Some(probe::visibility(peer.clone(), item)?)
    } else {
        None
    };
    let queries = match options.query_rate {
        Some(rate) => {
            let zipf = Zipf::new(options.generator.items, options.generator.skew);
            Some(probe::queries(peer.clone(), rate, zipf, options.generator.seed ^ 1)?)
        }
        None => None,
    };
    let generator = Generator::new(&options.generator);
    // Before the clock starts: a client that has been there for a while has its connections.
    let connections = runtime.block_on(open(&peer, options.connections));
    let source = Source { generator, remaining: options.events, spent: Duration::ZERO };
    let totals = Totals {
        report: LoadReport::default(),
        errors: BTreeMap::new(),
        latencies: Latencies::new(),
        expected,
    };
    let shared = Arc::new(Shared {
        source: Mutex::new(source),
        totals: Mutex::new(totals),
        started: Instant::now(),
        progress: Box::new(progress),
        options,
    });
    if visibility.is_some() || queries.is_some() {
        // The probes are to measure the server, not a wait for this thread on the same cores.
        Duty::Count.take();
    }
    let timeline = shared.options.timeline.clone();
    if let Some(timeline) = &timeline {
        timeline.begin(shared.started);
    }
    runtime.block_on(drive(&shared, connections));
    let elapsed = shared.started.elapsed();
    if let Some(timeline) = &timeline {
        timeline.end();
    }
    let mut report = finish(&shared, elapsed);
    if let Some(probe) = queries {
        let (latencies, errors) = probe.finish();
        report.query_latency_ms = Some(latencies.percentiles());
        report.query_errors = Some(errors);
    }
    report.visibility_ms = visibility.map(|probe| probe.finish().0.percentiles());
    let patience = shared.options.patience;
    let expected = shared.totals.lock().expected.take();
    if let Some(expected) = expected {
        report.verification =
            Some(runtime.block_on(expected.compare(&client, report.unknown, patience))?);
    }
    Ok(report)
}

fn finish(shared: &Shared, elapsed: Duration) -> LoadReport {
    let (options, mut totals) = (&shared.options, shared.totals.lock());
    let mut report = std::mem::take(&mut totals.report);
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let source = shared.source.lock();
    let made = (options.events - source.remaining).max(1);
    report.mode = if options.is_open_loop() { "open" } else { "closed" };
    report.format = format!("{:?}", options.generator.format).to_ascii_lowercase();
    report.batch = options.batch;
    report.connections = options.connections;
    report.seconds = seconds;
    report.events_per_second = report.events as f64 / seconds;
    report.requests_per_second = report.requests as f64 / seconds;
    report.errors = std::mem::take(&mut totals.errors);
    report.latency_ms = totals.latencies.percentiles();
    report.generator_ns_per_event = source.spent.as_nanos() as f64 / made as f64;
    report
}

/// Connections, open as far as the server takes them now: the first request tries the others again, and
/// says what is wrong.
async fn open(peer: &Peer, connections: u32) -> Vec<Connection> {
    let opened = (0..connections).map(async |_| {
        let mut connection = Connection::new(peer);
        connection.open().await;
        connection
    });
    futures::future::join_all(opened).await
}

async fn drive(shared: &Arc<Shared>, connections: Vec<Connection>) {
    let schedule = shared.options.schedule().map(|steps| Arc::new(pacer(shared, steps)));
    let workers = connections.into_iter().map(|connection| {
        let (shared, schedule) = (Arc::clone(shared), schedule.clone());
        tokio::spawn(async move { work(&shared, connection, schedule.as_deref()).await })
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        if let Err(error) = worker.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

type Schedule = tokio::sync::Mutex<mpsc::UnboundedReceiver<Instant>>;

/// Says when each request is due, from a thread of its own: the runtime's timer has only
/// milliseconds.
fn pacer(shared: &Shared, steps: Vec<Step>) -> Schedule {
    let (sender, receiver) = mpsc::unbounded_channel();
    let batch = shared.options.batch;
    let requests = shared.options.events.div_ceil(u64::from(batch));
    let (started, timeline) = (shared.started, shared.options.timeline.clone());
    std::thread::spawn(move || {
        for (_, after) in (0..requests).zip(due_times(steps, batch)) {
            let due = started + after;
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early.max(NAP));
            }
            if let Some(timeline) = &timeline {
                if timeline.is_stopped() {
                    break;
                }
                timeline.offer(batch.into());
            }
            if sender.send(due).is_err() {
                break;
            }
        }
    });
    tokio::sync::Mutex::new(receiver)
}

async fn work(shared: &Shared, mut connection: Connection, schedule: Option<&Schedule>) {
    loop {
        let due = match schedule {
            Some(schedule) => schedule.lock().await.recv().await,
            None => {
                let is_over =
                    shared.options.duration.is_some_and(|most| shared.started.elapsed() >= most);
                (!is_over).then(Instant::now)
            }
        };
        let timeline = shared.options.timeline.as_deref();
        let is_wanted = due.is_some() && !timeline.is_some_and(Timeline::is_stopped);
        let (Some(due), Some(body)) = (due, next_body(shared, is_wanted)) else { break };
        let events = u64::from(body.events);
        // Closed loop: making the body is no latency of the server.
        let due = if schedule.is_some() { due } else { Instant::now() };
        deliver(shared, &mut connection, body).await;
        let latency = due.elapsed();
        shared.totals.lock().latencies.record(latency);
        if let Some(timeline) = timeline {
            timeline.answer(events, latency);
        }
    }
}

fn next_body(shared: &Shared, is_wanted: bool) -> Option<Body> {
    let source = &mut *shared.source.lock();
    let events = source.remaining.min(u64::from(shared.options.batch)) as u32;
    if events == 0 || !is_wanted || shared.totals.lock().report.stopped_by.is_some() {
        return None;
    }
    source.remaining -= u64::from(events);
    let started = Instant::now();
    // One reading of the wall clock a run; from there the monotonic clock counts.
    let now_ms = shared.options.generator.started_ms + shared.started.elapsed().as_millis() as u64;
    let mut tracked = Vec::new();
    let bytes = source.generator.body(events, now_ms, &mut tracked).into();
    source.spent += started.elapsed();
    let key = shared.options.has_keys.then(|| key(&shared.options.generator, source.remaining));
    Some(Body { bytes, key, events, tracked })
}

/// The key of a body: of this run, and of its place in it.
fn key(run: &GeneratorOptions, remaining: u64) -> HeaderValue {
    let key = format!("load-{:x}-{:x}-{remaining:x}", run.started_ms, run.seed);
    HeaderValue::try_from(key).expect("hexadecimal digits are a header")
}

/// What an answer means for a body.
enum Verdict {
    Settled(AcceptedAnswer),
    Again(String, Option<Duration>),
    Refused(String),
}

async fn deliver(shared: &Shared, connection: &mut Connection, body: Body) {
    let content_type = shared.options.generator.format.content_type();
    let began = Instant::now();
    // No retry budget: what a server does under more load than it takes is to be seen here.
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, Jitter::random());
    loop {
        let (bytes, key) = (body.bytes.clone(), body.key.clone());
        let answer = connection.post(&shared.options.path, content_type, key, bytes).await;
        let verdict = match answer {
            Ok(answer) => judge(&answer, body.events),
            Err(code) => Verdict::Again(code.to_owned(), None),
        };
        match verdict {
            Verdict::Settled(answer) => return settle(shared, &body, &answer),
            Verdict::Again(code, asked) => {
                let pause = backoff.next_wait(asked);
                if began.elapsed() + pause > shared.options.retry_for {
                    return give_up(shared, &body, code, true);
                }
                if let Some(timeline) = &shared.options.timeline {
                    timeline.refuse(&code);
                }
                {
                    let totals = &mut *shared.totals.lock();
                    *totals.errors.entry(code).or_default() += 1;
                    totals.report.retries += 1;
                }
                tokio::time::sleep(pause).await;
            }
            Verdict::Refused(code) => return give_up(shared, &body, code, false),
        }
    }
}

/// A part that was refused for a while sends the whole body again: with the same ids it counts
/// once, and an Avro file need not be taken apart.
fn judge(answer: &Answer, events: u32) -> Verdict {
    if matches!(answer.status, 200..=299) {
        // An empty handler, for comparison, says nothing: that is all accepted.
        let accepted = serde_json::from_slice(&answer.body)
            .unwrap_or(AcceptedAnswer { accepted: events.into(), rejected: Vec::new() });
        return match accepted.rejected.iter().find(|event| event.retryable) {
            Some(event) => Verdict::Again(event.code.clone(), answer.retry_after),
            None => Verdict::Settled(accepted),
        };
    }
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    match problem {
        Some(problem) if problem.code == api::ProblemCode::AllRejected.as_str() => {
            Verdict::Settled(AcceptedAnswer { accepted: 0, rejected: problem.rejected })
        }
        problem => {
            let code = problem.map_or_else(|| answer.status.to_string(), |problem| problem.code);
            match is_retryable_status(answer.status) {
                true => Verdict::Again(code, answer.retry_after),
                false => Verdict::Refused(code),
            }
        }
    }
}

fn settle(shared: &Shared, body: &Body, answer: &AcceptedAnswer) {
    let totals = &mut *shared.totals.lock();
    let report = &mut totals.report;
    report.requests += 1;
    report.events += u64::from(body.events);
    report.accepted += answer.accepted;
    report.rejected += answer.rejected.len() as u64;
    report.body_bytes += body.bytes.len() as u64;
    for RejectedEvent { code, .. } in &answer.rejected {
        *totals.errors.entry(code.clone()).or_default() += 1;
    }
    if let Some(expected) = &mut totals.expected {
        let mut rejected: Vec<u64> = answer.rejected.iter().map(|event| event.index).collect();
        rejected.sort_unstable();
        expected.add(&body.tracked, &rejected);
    }
    (shared.progress)(report.events);
}

/// A refused body is known not to be counted; one that was given up is not. Either way the run
/// ends: the next body would fare no better.
fn give_up(shared: &Shared, body: &Body, code: String, is_unknown: bool) {
    let totals = &mut *shared.totals.lock();
    *totals.errors.entry(code.clone()).or_default() += 1;
    totals.report.stopped_by.get_or_insert(code);
    if is_unknown {
        totals.report.unknown += u64::from(body.events);
    } else {
        totals.report.rejected += u64::from(body.events);
    }
}

#[cfg(test)]
mod tests;
