//! Answers: how many counts a second a server that does nothing else gives, and how soon counts, series of 48 hours
//! and rankings of a million items are there while it ingests at half of its peak.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Bench;
use crate::asker::{Asker, percentile};
use crate::load::{flags, median, number, run as load};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;
use crate::years::{Draw, send};

/// Connections that ask at the same time, of a server that is idle otherwise.
const CONNECTIONS: usize = 16;
const ASKING: Duration = Duration::from_secs(5);
/// Items that were active in the last hour.
const ACTIVE: u64 = 1_000_000;
/// Items with events in each of the last 48 hours, and how many events of each.
const OLD_ITEMS: u64 = 1_000;
const OLD_EVENTS: u64 = 200;
const HISTORY_MS: u64 = 48 * 3_600_000;
/// Beside the load a count and a series are asked for in each turn, and a ranking in some.
const TURN: Duration = Duration::from_millis(10);
const TURNS: u32 = 2_000;
const TURNS_A_RANKING: u32 = 10;
/// What a load at half of the peak has before anything is measured, and after.
const LEAD: Duration = Duration::from_secs(3);

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let mut findings = idle(bench)?;
    let busy = busy(bench)?;
    findings.lines.extend(busy.lines);
    findings.raw.extend(busy.raw);
    Ok(findings)
}

/// Counts a second, in turn with the empty handler.
fn idle(bench: &Bench) -> Result<Findings> {
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let load_flags = flags(&format!("{BATCHES} --events {}", bench.events / 8));
    load(&bench.program, &server.url, &load_flags)?;
    server.wait_until_counted()?;
    server.wait_until_archived()?;
    let (mut raw, mut rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let empty = Server::empty(0.0)?;
        let ceiling = asked_per_second(&empty.url)?;
        drop(empty);
        let rate = asked_per_second(&server.url)?;
        raw.push(json!({ "empty": ceiling, "tally": rate, "connections": CONNECTIONS }));
        rates.push(rate);
        ratios.push(rate / ceiling);
    }
    server.stop()?;
    let lines = vec![format!(
        "{:.0} counts/s while idle, {CONNECTIONS} connections: {:.2} of the empty handler's rate (at least 0.70)",
        median(rates),
        median(ratios)
    )];
    Ok(Findings { lines, raw })
}

fn asked_per_second(url: &str) -> Result<f64> {
    let begun = Instant::now();
    let asked: Result<Vec<u64>> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let path = format!("/v1/items/item-{n}/count");
            scope.spawn(move || Asker::connect(url)?.ask_for(&path, ASKING))
        };
        let askers: Vec<_> = (0..CONNECTIONS).map(ask).collect();
        let joined = |asker: std::thread::ScopedJoinHandle<'_, Result<u64>>| {
            asker.join().map_err(|_| anyhow::anyhow!("a thread that asks panicked"))?
        };
        askers.into_iter().map(joined).collect()
    });
    Ok(asked?.into_iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64())
}

/// Latency of each kind of question at half of the peak.
fn busy(bench: &Bench) -> Result<Findings> {
    let server = Server::tally(&bench.program, &bench.scratch, &["--query-cache", "off"])?;
    write_history(bench, &server)?;
    let every_item =
        format!("--batch 1000 --connections 4 --items {ACTIVE} --skew 0 --events {}", 5 * ACTIVE);
    load(&bench.program, &server.url, &flags(&every_item))?;
    server.wait_until_counted()?;
    let peak = load(
        &bench.program,
        &server.url,
        &flags(&format!("{BATCHES} --events {}", bench.events / 2)),
    )?;
    server.wait_until_counted()?;
    let rate = number(&peak, "events_per_second")? / 2.0;
    let seconds = (2 * LEAD + TURN * TURNS).as_secs();
    let load_flags = flags(&format!("{BATCHES} --rate {rate:.0} --duration {seconds}s"));
    let mut asked: [Vec<Vec<f64>>; 3] = Default::default();
    let mut raw = Vec::new();
    for _ in 0..bench.runs {
        let (took, report) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_by_turns(&server.url));
            let report = load(&bench.program, &server.url, &load_flags);
            (asking.join(), report)
        });
        let took = took.map_err(|_| anyhow::anyhow!("the thread that asks panicked"))??;
        let report = report?;
        let of = |took: &[f64]| {
            json!({ "p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99),
            "max_ms": percentile(took, 1.0), "questions": took.len() })
        };
        raw.push(
            json!({ "rate": rate, "count": of(&took[0]), "stats": of(&took[1]), "top": of(&took[2]),
            "report": report }),
        );
        for (all, took) in asked.iter_mut().zip(took) {
            all.push(took);
        }
        server.wait_until_counted()?;
    }
    server.stop()?;
    let names = [
        ("count", 0.5),
        ("stats of 48 hours by hour", 1.0),
        ("top of the hour, a million active items", 20.0),
    ];
    let lines = names.iter().zip(&asked).map(|((name, target), runs)| {
        let of = |share| median(runs.iter().map(|took| percentile(took, share)).collect());
        format!(
            "{name}, at half of the peak ({rate:.0} events/s): p50 {:.2} ms, p99 {:.2} ms (under {target})",
            of(0.5),
            of(0.99)
        )
    });
    Ok(Findings { lines: lines.collect(), raw })
}

/// How long counts, series and rankings took, in milliseconds.
fn ask_by_turns(url: &str) -> Result<[Vec<f64>; 3]> {
    std::thread::sleep(LEAD);
    let mut asker = Asker::connect(url)?;
    let mut took: [Vec<f64>; 3] = Default::default();
    let begun = Instant::now();
    for turn in 0..TURNS {
        std::thread::sleep((TURN * turn).saturating_sub(begun.elapsed()));
        took[0].push(asker.get(&format!("/v1/items/item-{turn}/count"))?.1);
        #[expect(clippy::disallowed_methods, reason = "the last 48 hours are asked for")]
        let now = jiff::Timestamp::now().as_millisecond();
        let (item, start) = (u64::from(turn) % OLD_ITEMS, now - HISTORY_MS as i64);
        let series = format!("/v1/items/old-{item}/stats?step=hour&start={start}&end={now}");
        let (answer, milliseconds) = asker.get(&series)?;
        let buckets = answer["series"].as_array().map_or(0, Vec::len);
        ensure!(buckets >= 48, "a series of 48 hours has {buckets} buckets");
        took[1].push(milliseconds);
        if turn % TURNS_A_RANKING == 0 {
            let (answer, milliseconds) = asker.get("/v1/top?window=1h&limit=10")?;
            let items = answer["items"].as_array().map_or(0, Vec::len);
            ensure!(items == 10, "the ten most counted items are {items}");
            took[2].push(milliseconds);
        }
    }
    Ok(took)
}

/// Events of the last 48 hours.
fn write_history(bench: &Bench, server: &Server) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "history ends now")]
    let now = jiff::Timestamp::now().as_millisecond();
    let scratch = tempfile::tempdir_in(&bench.scratch)?;
    let mut draw = Draw(0x7a11_0048);
    let mut lines = String::new();
    for n in 0..OLD_ITEMS * OLD_EVENTS {
        let (item, time) = (n % OLD_ITEMS, now - draw.below(HISTORY_MS) as i64);
        writeln!(
            lines,
            "{{\"item\":\"old-{item}\",\"time\":{time},\"value\":{}}}",
            draw.below(600)
        )?;
    }
    let file = scratch.path().join("history.ndjson");
    std::fs::write(&file, lines)?;
    send(bench, server, &file, scratch.path())
}
