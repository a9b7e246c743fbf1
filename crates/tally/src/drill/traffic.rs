//! The drill's clients: made-up events of a seed, sent until each has a definite answer, some of
//! them again on purpose, and an eye on the totals meanwhile.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{bail, ensure};
use api::ProblemCode;
use api::client::{Client, ClientError};
use bytes::Bytes;
use futures::future::try_join_all;
use parking_lot::Mutex;

use super::account::{Account, Comparison};
use super::server::PATIENCE;
use crate::import::{FileReport, SendOptions, Sender};
use crate::load::{BodyFormat, EVENT_TYPES, Generator, GeneratorOptions, Tracked, item_text};

/// Few enough that every counter is compared in a moment, and that one question asks for all.
const ITEMS: u32 = 200;
/// Share of events that repeat a recent one on purpose.
const REPEATS: f64 = 0.05;
/// Requests at once.
const CONNECTIONS: usize = 4;
/// How many of the newest bodies can be sent again.
const REMEMBERED: usize = 20;
/// Events happened this long before the drill, spread over an hour: no shift of the clock makes
/// them too old or puts them into the future.
const HAPPENED_BEFORE_MS: u64 = 4 * 3_600_000;
const SPREAD_MS: u64 = 3_600_000;
/// How often the totals are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(25);
/// Longer than counting lags behind on any machine.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

/// Everything that is sent to one server, and the account of it.
pub(crate) struct Traffic {
    sender: Sender,
    source: Mutex<Source>,
    account: Mutex<Account>,
    /// Hears how many different events are accepted.
    heard: Box<dyn Fn(u64)>,
}

/// Where bodies come from, and which went out last.
struct Source {
    generator: Generator,
    started_ms: u64,
    bodies: u64,
    newest: VecDeque<Body>,
}

/// The events of one request.
#[derive(Clone)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    events: Vec<Tracked>,
}

/// What a server would not take for a while.
pub(crate) struct Refused {
    pub(crate) body: Body,
    /// It said that nothing of it was written, which is the rule.
    pub(crate) is_surely_unwritten: bool,
}

impl Body {
    /// How many events it has.
    pub(crate) fn events(&self) -> u32 {
        self.events.len() as u32
    }

    /// The events at these places as a body of their own, and the others.
    fn split(self, places: &BTreeSet<u64>) -> (Self, Vec<Tracked>) {
        let (mut bytes, mut inside, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        let lines = self.bytes.split_inclusive(|&byte| byte == b'\n');
        for (place, (line, event)) in (0..).zip(lines.zip(self.events)) {
            if places.contains(&place) {
                bytes.extend_from_slice(line);
                inside.push(event);
            } else {
                outside.push(event);
            }
        }
        (Self { bytes: bytes.into(), events: inside }, outside)
    }
}

impl Traffic {
    /// Traffic of this seed to a server. `started_ms` is in every id, so that no run repeats
    /// another.
    pub(crate) fn new(client: Client, seed: u64, started_ms: u64, heard: Box<dyn Fn(u64)>) -> Self {
        let generator = Generator::new(&GeneratorOptions {
            seed,
            items: ITEMS,
            skew: 1.05,
            hot: 0.0,
            duplicates: REPEATS,
            attributes: true,
            format: BodyFormat::Ndjson,
            track: true,
            started_ms,
        });
        let options = SendOptions {
            batch_events: 0,
            in_flight: CONNECTIONS,
            compress: false,
            retry_for: PATIENCE,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(200),
        };
        let source = Source { generator, started_ms, bodies: 0, newest: VecDeque::new() };
        Self {
            sender: Sender::new(client, options),
            source: Mutex::new(source),
            account: Mutex::new(Account::new(ITEMS)),
            heard,
        }
    }

    /// Different events that were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.account.lock().accepted()
    }

    /// Events in all requests.
    pub(crate) fn sent(&self) -> u64 {
        self.account.lock().sent()
    }

    /// Events in requests that had been sent before.
    pub(crate) fn repeats(&self) -> u64 {
        self.account.lock().repeats()
    }

    /// Makes the next body, which is to be sent at once.
    pub(crate) fn body(&self, events: u32) -> Body {
        let source = &mut *self.source.lock();
        let happened = source.started_ms - HAPPENED_BEFORE_MS + source.bodies * 997 % SPREAD_MS;
        source.bodies += 1;
        let mut tracked = Vec::with_capacity(events as usize);
        let bytes = source.generator.body(events, happened, &mut tracked).into();
        self.account.lock().make(&tracked);
        Body { bytes, events: tracked }
    }

    /// Sends so many new events, several requests at once, until every event is accepted.
    ///
    /// # Errors
    /// When one is refused for good, or the server stays away.
    pub(crate) async fn send(&self, events: u64, batch: u32) -> anyhow::Result<()> {
        let left = Cell::new(events);
        let next = || {
            let size = left.get().min(u64::from(batch));
            left.set(left.get() - size);
            size as u32
        };
        self.send_bodies(next).await
    }

    /// Sends new events, several requests at once, for as long as the work takes, however fast the
    /// machine; then until every event is accepted.
    ///
    /// # Errors
    /// See [`Self::send`]; and that of the work.
    pub(crate) async fn send_during<T>(
        &self,
        batch: u32,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let is_done = Cell::new(false);
        let work = async {
            let done = work.await?;
            is_done.set(true);
            anyhow::Ok(done)
        };
        let next = || if is_done.get() { 0 } else { batch };
        tokio::try_join!(work, self.send_bodies(next)).map(|(done, ())| done)
    }

    /// Sends bodies of these sizes until one is 0.
    async fn send_bodies(&self, next: impl Fn() -> u32) -> anyhow::Result<()> {
        let work = || async {
            loop {
                match next() {
                    0 => return anyhow::Ok(()),
                    size => self.deliver(self.body(size)).await?,
                }
            }
        };
        try_join_all((0..CONNECTIONS).map(|_| work())).await?;
        Ok(())
    }

    /// Sends a new body until every event of it is accepted.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub(crate) async fn deliver(&self, body: Body) -> anyhow::Result<()> {
        self.settle(&body).await?;
        self.account.lock().accept(&body.events);
        (self.heard)(self.accepted());
        let newest = &mut self.source.lock().newest;
        newest.push_back(body);
        if newest.len() > REMEMBERED {
            newest.pop_front();
        }
        Ok(())
    }

    /// Sends the newest accepted bodies once more: they must be accepted, and change nothing.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub(crate) async fn repeat_newest(&self) -> anyhow::Result<()> {
        let newest: Vec<Body> = self.source.lock().newest.iter().cloned().collect();
        for body in &newest {
            self.settle(body).await?;
        }
        Ok(())
    }

    /// The request may not have been answered: its events count as sent, no more.
    pub(crate) fn send_unanswered(&self, body: &Body) {
        self.account.lock().send(body.events.len() as u64);
    }

    /// Sends a body once; what of it was accepted is in the account. Gives what was refused for a
    /// while, if anything.
    ///
    /// # Errors
    /// On any other answer, or none.
    pub(crate) async fn attempt(&self, body: Body) -> anyhow::Result<Option<Refused>> {
        self.send_unanswered(&body);
        match self.sender.client.send_ndjson(body.bytes.clone()).await {
            Err(ClientError::Problem { problem, retry_after }) if problem.status == 503 => {
                ensure!(retry_after.is_some(), "a 503 does not say when to come back");
                Ok(Some(Refused { body, is_surely_unwritten: true }))
            }
            Ok(answer) => {
                let refused: BTreeSet<u64> =
                    answer.rejected.iter().map(|event| event.index).collect();
                if let Some(event) = answer.rejected.iter().find(|event| !event.retryable) {
                    bail!(
                        "the server refused a good event for ever: {}: {}",
                        event.code,
                        event.detail
                    );
                }
                let (rest, accepted) = body.split(&refused);
                self.account.lock().accept(&accepted);
                (self.heard)(self.accepted());
                let unknown = ProblemCode::OutcomeUnknown.as_str();
                let is_surely_unwritten = answer.rejected.iter().all(|event| event.code != unknown);
                Ok((!refused.is_empty()).then_some(Refused { body: rest, is_surely_unwritten }))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn settle(&self, body: &Body) -> anyhow::Result<()> {
        let lines = (1..=body.events.len() as u64).collect();
        let attempted = |events| self.account.lock().send(events);
        let report = FileReport::default();
        let report = self.sender.settle(body.bytes.clone(), lines, report, attempted).await?;
        if let Some((code, refused)) = report.refused.iter().next() {
            let detail = refused.examples.first().map_or("", |example| &example.detail);
            bail!("the server refused {} good events for ever: {code}: {detail}", refused.count);
        }
        Ok(())
    }

    /// Looks at every total again and again, for as long as it is polled.
    ///
    /// # Errors
    /// When one goes down. That nobody answers is no error: the server may be dead just now.
    pub(crate) async fn watch(&self) -> anyhow::Error {
        let items: Vec<String> = (0..ITEMS).map(item_text).collect();
        let mut highest = vec![[0_u64; EVENT_TYPES.len()]; items.len()];
        loop {
            for (at, event_type) in EVENT_TYPES.iter().enumerate() {
                let asked = items.iter().map(String::as_str);
                let Ok(answer) = self.sender.client.counts(event_type, asked).await else { break };
                for (row, highest) in answer.counts.iter().zip(&mut highest) {
                    if row.count < highest[at] {
                        return anyhow::anyhow!(
                            "the total of item {}, type {event_type} went down: from {} to {}",
                            row.item,
                            highest[at],
                            row.count
                        );
                    }
                    highest[at] = row.count;
                }
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// Waits until as much is counted as was accepted, or patience ends, and compares every counter.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn compare(&self) -> anyhow::Result<Comparison> {
        let client = &self.sender.client;
        let items: Vec<String> = (0..ITEMS).map(item_text).collect();
        let accepted = self.accepted();
        let begun = std::time::Instant::now();
        loop {
            let mut counted = 0;
            for event_type in EVENT_TYPES {
                let answer = client.counts(event_type, items.iter().map(String::as_str)).await?;
                counted += answer.counts.iter().map(|row| row.count).sum::<u64>();
            }
            if counted >= accepted || begun.elapsed() > COUNTED_WITHIN {
                break;
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
        // A copy: nothing is sent meanwhile, but the lock must not be held across questions.
        let account = self.account.lock().clone();
        account.compare(client).await
    }
}
