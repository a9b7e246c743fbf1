//! The live audit: marked events go through the server's own HTTP, as those of any client, and the query
//! service must show exactly them.
//!
//! The events have a type of their own, `tally.audit`, so that no list of another type ever shows them,
//! and clients may send any type still. Items are `tally-audit:` with a number drawn at the start of
//! the process, a place in a cycle and a place in the run; a run looks only at its own minute, so that a
//! cycle leaves a bounded number of items behind, however long the server runs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api::client::{Client, ClientError, StatsQuery};
use api::{AuditAnswer, AuditResult, StatsSummary};
use engine::ports::Clock;
use engine::routing::Routing;
use model::value::format_micros;
use model::{RoutingTable, TimestampMs};
use rand::RngExt;

use super::Audits;

/// The kind of these audits.
const KIND: &str = "live";
/// The type of their events.
const EVENT_TYPE: &str = "tally.audit";
/// How long sending may take, then finding, and then the look after it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// So often is tried or asked at least: a process that stood still for [`PATIENCE`], as on a machine that
/// is busy with other work, has found nothing out.
const TRIES_MIN: u32 = 3;
/// How soon is tried or asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// Once everything is there, how long until it is looked whether more comes.
const MORE: Duration = Duration::from_millis(200);
/// Items come again after so many runs: in another minute, as a run takes [`MORE`] at least.
const CYCLE: u64 = 400;
const _: () = assert!(CYCLE as u128 * MORE.as_millis() > MINUTE_MS as u128);
/// Most different events of an item in a run.
const EVENTS_MAX: u64 = 20;
const MINUTE_MS: i64 = 60_000;

/// Makes live audits, one at a time.
pub(crate) struct LiveAudit {
    audits: Arc<Audits>,
    clock: Arc<dyn Clock>,
    routing: Arc<Routing>,
    /// Tells the items of this process from those of any other.
    instance: u64,
    runs: AtomicU64,
    client: OnceLock<Client>,
    alone: tokio::sync::Mutex<()>,
}

/// An item of a run, and what it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    item: String,
    count: u64,
    sum: String,
    min: String,
    max: String,
}

/// What a run sends.
struct Plan {
    /// When all its events happen.
    time: TimestampMs,
    items: Vec<Expected>,
    /// Two bodies, the second of which repeats some events of the first; one alone where chance gave the
    /// other nothing.
    bodies: Vec<String>,
}

/// What a look at the query service shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    found: u64,
    too_few: u64,
    too_many: u64,
    /// Of the first item that differs.
    detail: String,
}

impl LiveAudit {
    pub(crate) fn new(audits: Arc<Audits>, clock: Arc<dyn Clock>, routing: Arc<Routing>) -> Self {
        Self {
            audits,
            clock,
            routing,
            instance: rand::random(),
            runs: AtomicU64::new(0),
            client: OnceLock::new(),
            alone: tokio::sync::Mutex::default(),
        }
    }

    /// What all audits found.
    pub(crate) fn audits(&self) -> &Arc<Audits> {
        &self.audits
    }

    /// Says where the server listens and which key opens it; the first call counts.
    ///
    /// # Errors
    /// When that is no URL or no key.
    pub(crate) fn set_url(&self, url: &str, key: &str) -> Result<(), ClientError> {
        let client = Client::new(url)?.with_key(key)?.with_timeout(REQUEST_TIMEOUT);
        // A second call changes nothing.
        let _ = self.client.set(client);
        Ok(())
    }

    /// Audits again and again, the first time after one interval, once the server is ready.
    pub(crate) async fn run_every(self: Arc<Self>, interval: Duration) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_ready = false;
        loop {
            ticks.tick().await;
            // A server that counts what it missed is no finding.
            is_ready = is_ready || self.is_ready().await;
            if is_ready {
                self.run().await;
            }
        }
    }

    async fn is_ready(&self) -> bool {
        match self.client.get() {
            Some(client) => client.get("/readyz").await.is_ok(),
            None => false,
        }
    }

    /// Makes one audit and remembers what it found.
    pub(crate) async fn run(&self) -> AuditAnswer {
        let _alone = self.alone.lock().await;
        let begun = Instant::now();
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let time = self.clock.now().wall;
        // Where nothing is known of routing, one item has to do.
        let table = self.routing.table().unwrap_or_else(|_| Arc::new(RoutingTable::first(1)));
        let plan = Plan::draw(self.instance, run, time, &table);
        let mut audit = AuditAnswer {
            kind: KIND.to_owned(),
            time: time.to_string(),
            result: AuditResult::Failed,
            expected: 0,
            found: 0,
            drift: 0,
            duration_ms: 0,
            detail: String::new(),
        };
        match self.client.get() {
            Some(client) => audit_with(client, &plan, &mut audit).await,
            None => audit.detail = "the server does not listen yet".to_owned(),
        }
        // See `CYCLE`.
        tokio::time::sleep(MORE.saturating_sub(begun.elapsed())).await;
        audit.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (audits, added) = (self.audits.clone(), audit.clone());
        // It writes a file. One that panicked has said so.
        let _ = tokio::task::spawn_blocking(move || audits.add(added)).await;
        audit
    }
}

/// Sends what is planned, looks for it, and writes down what was found.
async fn audit_with(client: &Client, plan: &Plan, audit: &mut AuditAnswer) {
    if let Err(error) = send(client, plan).await {
        // Some of it may have been accepted; nothing is expected.
        audit.detail = format!("the events could not be sent: {error}");
        return;
    }
    audit.expected = plan.items.iter().map(|item| item.count).sum();
    match find(client, plan).await {
        Ok(seen) => {
            (audit.found, audit.drift) = (seen.found, seen.too_few + seen.too_many);
            audit.result = AuditResult::Equal;
            if seen != (Seen { found: seen.found, ..Seen::default() }) {
                audit.result = AuditResult::Different;
                // A sum can be wrong where no event is missing.
                audit.drift = audit.drift.max(1);
                audit.detail = format!(
                    "{} events too few, {} too many; {}",
                    seen.too_few, seen.too_many, seen.detail
                );
            }
        }
        Err(error) => {
            // They were acknowledged, and nobody can say that they are counted.
            audit.drift = audit.expected;
            audit.detail = format!("the counts could not be asked for: {error}");
        }
    }
}

/// Sends the bodies, again while the server asks for that.
async fn send(client: &Client, plan: &Plan) -> Result<(), String> {
    let mut patience = Patience::begin();
    for body in &plan.bodies {
        let wanted = body.lines().count() as u64;
        loop {
            let failure = match client.send_ndjson(body.clone().into()).await {
                Ok(answer) if answer.accepted == wanted => break,
                Ok(answer) => {
                    let first = answer.rejected.first();
                    let told = first.map(|refused| format!("{}: {}", refused.code, refused.detail));
                    if answer.rejected.iter().any(|refused| !refused.retryable) || first.is_none() {
                        let accepted = answer.accepted;
                        return Err(format!(
                            "{accepted} of {wanted} were accepted: {}",
                            told.unwrap_or_default()
                        ));
                    }
                    told.unwrap_or_default()
                }
                Err(error) if error.is_retryable() => error.to_string(),
                Err(error) => return Err(error.to_string()),
            };
            if patience.has_ended() {
                return Err(failure);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    Ok(())
}

/// Looks until everything is there, and then once more: nothing may come after it. What is too much at
/// once stays too much.
async fn find(client: &Client, plan: &Plan) -> Result<Seen, ClientError> {
    let is_all = |seen: &Seen| seen.detail.is_empty();
    let seen = look_until(client, plan, is_all).await?;
    if !is_all(&seen) {
        return Ok(seen);
    }
    tokio::time::sleep(MORE).await;
    look_until(client, plan, |_| true).await
}

/// Looks until that is enough, or patience has ended. A look that fails for a while is no answer.
async fn look_until(
    client: &Client,
    plan: &Plan,
    is_enough: impl Fn(&Seen) -> bool,
) -> Result<Seen, ClientError> {
    let mut patience = Patience::begin();
    loop {
        let looked = look(client, plan).await;
        let has_ended = patience.has_ended();
        match looked {
            Ok(seen) if is_enough(&seen) || seen.too_many > 0 || has_ended => return Ok(seen),
            Err(error) if !error.is_retryable() || has_ended => return Err(error),
            Ok(_) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// How long and how often something is tried.
struct Patience {
    deadline: Instant,
    tries: u32,
}

impl Patience {
    fn begin() -> Self {
        Self { deadline: Instant::now() + PATIENCE, tries: 0 }
    }

    /// Whether that was the last try; asked after each.
    fn has_ended(&mut self) -> bool {
        self.tries += 1;
        self.tries >= TRIES_MIN && Instant::now() >= self.deadline
    }
}

/// What the query service shows of every item now.
async fn look(client: &Client, plan: &Plan) -> Result<Seen, ClientError> {
    let start = plan.time.0.div_euclid(MINUTE_MS) * MINUTE_MS;
    let (start, end) = (start.to_string(), (start + MINUTE_MS).to_string());
    let mut seen = Seen::default();
    for expected in &plan.items {
        let query = StatsQuery {
            item: &expected.item,
            event_type: Some(EVENT_TYPE),
            function: Some("count,sum,min,max"),
            step: Some("total"),
            start: Some(&start),
            end: Some(&end),
        };
        expected.judge(&client.stats(&query).await?.total, &mut seen);
    }
    Ok(seen)
}

impl Expected {
    fn judge(&self, total: &StatsSummary, seen: &mut Seen) {
        let count = total.count.unwrap_or(0);
        seen.found += count;
        seen.too_few += self.count.saturating_sub(count);
        seen.too_many += count.saturating_sub(self.count);
        let text = |number: &Option<Option<api::DecimalNumber>>| {
            number
                .as_ref()
                .and_then(Option::as_ref)
                .map_or("null", api::DecimalNumber::as_str)
                .to_owned()
        };
        let got = [text(&total.sum), text(&total.min), text(&total.max)];
        let is_right = count == self.count && got == [&*self.sum, &*self.min, &*self.max];
        if !is_right && seen.detail.is_empty() {
            let Self { item, count: wanted, sum, min, max } = self;
            let [got_sum, got_min, got_max] = got;
            seen.detail = format!(
                "item {item}: expected count {wanted}, sum {sum}, min {min}, max {max}; got count \
                 {count}, sum {got_sum}, min {got_min}, max {got_max}"
            );
        }
    }
}

impl Plan {
    /// Draws a run: an item for each partition, with some events and repeats.
    fn draw(instance: u64, run: u64, time: TimestampMs, routing: &RoutingTable) -> Self {
        let mut random = rand::rng();
        let place = run % CYCLE;
        let partitions = routing.newest().partitions;
        let mut missing: BTreeSet<_> = (0..partitions).collect();
        // Enough for nearly all partitions to have one; which, is no business of correctness.
        let names = (0..8 * u32::from(partitions))
            .map(|n| format!("tally-audit:{instance:016x}:{place}:{n}"))
            .filter(|item| missing.remove(&routing.route(item, "", time).0));
        let mut bodies = [String::new(), String::new()];
        let mut items = Vec::new();
        for item in names {
            let count = random.random_range(1..=EVENTS_MAX);
            let (mut sum, mut min, mut max) = (0_i128, i64::MAX, i64::MIN);
            for n in 0..count {
                // Thousandths, as prices have; below a million each.
                let micros = random.random_range(-1_000_000_000_i64..=1_000_000_000) * 1_000;
                (sum, min, max) = (sum + i128::from(micros), min.min(micros), max.max(micros));
                let line = line(&item, run, n, time, micros);
                let first = usize::from(random.random_bool(0.3));
                bodies[first].push_str(&line);
                // In the same request, and in a later one.
                for (again, share) in [(first, 0.1), (1, 0.2)] {
                    if random.random_bool(share) {
                        bodies[again].push_str(&line);
                    }
                }
            }
            let [sum, min, max] = [sum, min.into(), max.into()].map(format_micros);
            items.push(Expected { item, count, sum, min, max });
        }
        let bodies = bodies.into_iter().filter(|body| !body.is_empty()).collect();
        Self { time, items, bodies }
    }
}

/// An event as a line of NDJSON.
fn line(item: &str, run: u64, n: u64, time: TimestampMs, micros: i64) -> String {
    let value = format_micros(micros.into());
    let mut line = String::new();
    // Writing to a string does not fail; all of it is plain ASCII.
    let _ = writeln!(
        line,
        r#"{{"id":"{run}-{n}","item":"{item}","type":"{EVENT_TYPE}","time":{},"value":{value}}}"#,
        time.0
    );
    line
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_795_255_200_123);

    fn total(count: u64, sum: &str, min: &str, max: &str) -> StatsSummary {
        let number = |text: &str| match text {
            "null" => Some(None),
            text => Some(Some(api::DecimalNumber::from_text(text.to_owned()))),
        };
        StatsSummary {
            count: Some(count),
            sum: number(sum),
            average: None,
            min: number(min),
            max: number(max),
        }
    }

    #[test]
    fn one_too_few_one_too_many_and_a_wrong_sum_are_told() {
        let expected = Expected {
            item: "tally-audit:1".into(),
            count: 3,
            sum: "6".into(),
            min: "1".into(),
            max: "3".into(),
        };
        let judged = |total: &StatsSummary| {
            let mut seen = Seen::default();
            expected.judge(total, &mut seen);
            (seen.too_few, seen.too_many, seen.detail.is_empty())
        };
        assert_eq!(judged(&total(3, "6", "1", "3")), (0, 0, true));
        assert_eq!(judged(&total(2, "6", "1", "3")), (1, 0, false));
        assert_eq!(judged(&total(5, "6", "1", "3")), (0, 2, false));
        assert_eq!(judged(&total(3, "6.000001", "1", "3")), (0, 0, false));
        assert_eq!(judged(&total(0, "null", "null", "null")), (3, 0, false));
    }

    #[test]
    fn no_body_is_empty_however_few_events_there_are() {
        let plans = (0..2_000).map(|run| Plan::draw(7, run, NOW, &RoutingTable::first(1)));
        let bodies: Vec<_> = plans.map(|plan| plan.bodies).collect();
        assert!(bodies.iter().flatten().all(|body| !body.is_empty()));
        assert!(bodies.iter().any(|bodies| bodies.len() == 1), "chance has had its turn");
    }

    #[test]
    fn a_plan_is_what_its_lines_add_up_to_and_reaches_every_partition() {
        let (mut repeats, mut later) = (0, 0);
        for run in 0..200 {
            let plan = Plan::draw(7, run, NOW, &RoutingTable::first(4));
            let partitions: BTreeSet<_> =
                plan.items.iter().map(|e| RoutingTable::first(4).route_first(&e.item)).collect();
            assert_eq!(partitions.len(), 4);
            let lines = |body: usize| {
                let body = plan.bodies.get(body).map_or("", String::as_str);
                body.lines().collect::<Vec<_>>()
            };
            let different: BTreeSet<_> = lines(0).into_iter().chain(lines(1)).collect();
            repeats += lines(0).len() + lines(1).len() - different.len();
            later += lines(1).iter().filter(|line| lines(0).contains(line)).count();
            for expected in &plan.items {
                let events = different.iter().map(|line| {
                    let event: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(
                        (&event["type"], &event["time"]),
                        (&EVENT_TYPE.into(), &NOW.0.into())
                    );
                    event
                });
                let own: Vec<_> = events.filter(|event| event["item"] == *expected.item).collect();
                assert_eq!(own.len() as u64, expected.count);
                let micros =
                    own.iter().map(|e| Value::parse(&e["value"].to_string()).unwrap().micros());
                let sum: i128 = micros.map(i128::from).sum();
                assert_eq!(format_micros(sum), expected.sum);
            }
        }
        assert!(repeats > 0 && later > 0, "{repeats} repeats, {later} in a later request");
        let names = |run| {
            Plan::draw(7, run, NOW, &RoutingTable::first(4))
                .items
                .into_iter()
                .map(|e| e.item)
                .next()
        };
        assert_eq!(names(3), names(3 + CYCLE), "items come again");
        assert_ne!(names(3), names(4));
    }
}
