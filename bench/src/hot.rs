//! One item with nine tenths of all events over 16 partitions, beside uniform traffic: what comes
//! through once the server has spread it, how far the hot partition falls behind until then and
//! after, and what a question about the item costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Bench;
use crate::asker::{Asker, percentile};
use crate::load::{flags, median, number, run as load};
use crate::scenarios::Findings;
use crate::server::Server;

const FLAGS: [&str; 6] = ["--partitions", "16", "--segment-bytes", "16MiB", "--query-cache", "off"];
const TRAFFIC: &str = "--batch 1000 --connections 4 --items 100000 --skew 0";
const HOT: &str = "--hot 0.9";
/// Three rounds of ten seconds, the lead of a version, and some more.
const UNTIL_SPREAD: Duration = Duration::from_secs(300);
/// Events a second while the server finds out: most machines can do more.
const WARM_RATE: u32 = 30_000;
/// Questions of each kind.
const QUESTIONS: usize = 1_000;

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let (mut raw, mut ratios, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut before, mut after, mut spread_after) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..bench.runs as u64 {
        let server = Server::tally(&bench.program, &bench.scratch, &FLAGS)?;
        let uniform = measured(bench, &server, &format!("{TRAFFIC} --seed {}", 2 * n + 1))?;
        server.stop()?;
        let server = Server::tally(&bench.program, &bench.scratch, &FLAGS)?;
        let (warm, seconds) = until_spread(bench, &server)?;
        let hot = measured(bench, &server, &format!("{TRAFFIC} {HOT} --seed {}", 2 * n + 2))?;
        let cost = question_cost(&server)?;
        server.stop()?;
        ratios.push(number(&hot, "counted_per_second")? / number(&uniform, "counted_per_second")?);
        before.push(warm.seconds);
        after.push(number(&hot, "lag_seconds")?);
        costs.push(number(&cost, "ratio")?);
        spread_after.push(seconds);
        raw.push(json!({ "uniform": uniform, "hot": hot, "questions": cost,
            "seconds_until_spread": seconds, "before": { "rate": WARM_RATE,
            "lag_events": warm.events, "lag_seconds": warm.seconds } }));
    }
    let lines = vec![
        format!(
            "{:.2} of the throughput of uniform traffic, once spread (at least 0.90)",
            median(ratios)
        ),
        format!("{:.1} s: the largest lag then (under 2)", median(after)),
        format!(
            "{:.0} s from the first event until it is spread; the largest lag until then, at {WARM_RATE} \
             events/s: {:.1} s",
            median(spread_after),
            median(before)
        ),
        format!(
            "{:.2} × a plain item's count: that of the spread one (at most 2.00)",
            median(costs)
        ),
    ];
    Ok(Findings { lines, raw })
}

/// One run at full speed, until everything is counted.
fn measured(bench: &Bench, server: &Server, load_flags: &str) -> Result<Value> {
    let watch = Watch::start(&server.url)?;
    let begun = Instant::now();
    let load_flags = flags(&format!("{load_flags} --events {}", bench.events));
    let report = load(&bench.program, &server.url, &load_flags)?;
    server.wait_until_counted()?;
    let seconds = begun.elapsed().as_secs_f64();
    let lag = watch.end()?;
    let events = number(&report, "accepted")?;
    ensure!(events == bench.events as f64, "events were refused: {report}");
    // As the other scenarios have it: without the start of the generator.
    let counting = (seconds - number(&report, "seconds")?).max(0.0);
    Ok(json!({
        "counted_per_second": events / (number(&report, "seconds")? + counting),
        "lag_events": lag.events,
        "lag_seconds": lag.seconds,
        "report": report,
    }))
}

/// Sends hot traffic until the version that spreads it has taken effect; the largest lag, and how
/// long it took.
fn until_spread(bench: &Bench, server: &Server) -> Result<(Lag, f64)> {
    let watch = Watch::start(&server.url)?;
    let begun = Instant::now();
    let (program, url) = (bench.program.clone(), server.url.clone());
    let seconds = 10;
    loop {
        ensure!(begun.elapsed() < UNTIL_SPREAD, "the hot item is not spread");
        let sending = flags(&format!("{TRAFFIC} {HOT} --rate {WARM_RATE} --duration {seconds}s"));
        load(&program, &url, &sending)?;
        let (table, _) = Asker::connect(&server.url)?.get("/v1/admin/routing")?;
        let Some(effective) = table["effective"].as_str() else { continue };
        let effective: jiff::Timestamp = effective.parse()?;
        #[expect(clippy::disallowed_methods, reason = "versions hold from a time on")]
        let now = jiff::Timestamp::now();
        if now > effective && table["rules"].as_array().is_some_and(|rules| !rules.is_empty()) {
            break;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    server.wait_until_counted()?;
    Ok((watch.end()?, took))
}

/// What a count of the spread item costs, against that of one with a rank far behind: by turns.
fn question_cost(server: &Server) -> Result<Value> {
    let mut asker = Asker::connect(&server.url)?;
    let (top, _) = asker.get("/v1/top?window=1h&limit=100")?;
    let name = |at: usize| -> Result<String> {
        let item = top["items"][at]["item"].as_str().context("a ranked item")?;
        Ok(format!("/v1/items/{item}/count?type=view"))
    };
    let (spread, plain) = (name(0)?, name(99)?);
    let (mut of_spread, mut of_plain) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        of_spread.push(asker.get(&spread)?.1);
        of_plain.push(asker.get(&plain)?.1);
    }
    let (spread, plain) = (percentile(&of_spread, 0.5), percentile(&of_plain, 0.5));
    Ok(json!({ "spread_p50_ms": spread, "plain_p50_ms": plain, "ratio": spread / plain,
        "spread_p99_ms": percentile(&of_spread, 0.99), "plain_p99_ms": percentile(&of_plain, 0.99) }))
}

/// How far a partition was behind at most.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    /// Durable and not counted.
    events: u64,
    /// Since the oldest of them was durable.
    seconds: f64,
}

/// Looks at the partitions again and again.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Lag>>,
}

impl Watch {
    fn start(url: &str) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, mut asker) = (is_over.clone(), Asker::connect(url)?);
        let watch = move || {
            let (mut most, begun) = (Lag::default(), Instant::now());
            // When each partition was durable up to where.
            let mut durable: Vec<Vec<(f64, u64)>> = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let (answer, _) = asker.get("/v1/admin/partitions")?;
                let now = begun.elapsed().as_secs_f64();
                for (at, partition) in
                    answer["partitions"].as_array().into_iter().flatten().enumerate()
                {
                    let of = |name: &str| partition[name].as_u64().unwrap_or(0);
                    if durable.len() == at {
                        durable.push(Vec::new());
                    }
                    durable[at].push((now, of("durable_offset")));
                    durable[at].retain(|(_, end)| *end > of("next_offset"));
                    let oldest = durable[at].first().map_or(0.0, |(since, _)| now - since);
                    most.events = most.events.max(of("lag_events"));
                    most.seconds = most.seconds.max(oldest);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(most)
        };
        Ok(Self { is_over, thread: std::thread::spawn(watch) })
    }

    fn end(self) -> Result<Lag> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?
    }
}
