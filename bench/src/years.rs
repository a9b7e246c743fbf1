//! Three years on one server: days in cold files, hours, minutes and memory, and questions over all
//! of them, beside the question for a total on the same idle server.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Bench;
use crate::asker::Asker;
use crate::scenarios::Findings;
use crate::server::Server;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const DAYS: i64 = 3 * 365;
/// One event of so many is of the last week, where minutes are kept.
const RECENT: u64 = 8;
const ITEMS: u64 = 10_000;
/// Items that are asked for, in turn.
const ASKED: u64 = 200;
/// A question that crosses everything is answered within so many milliseconds.
const TARGET_MS: f64 = 20.0;
/// What is kept by default: minutes for a week, hours for 90 days.
const HOURS_KEPT_DAYS: i64 = 90;

/// What holds for loading history: everything is kept by the minute at first.
const LOADING: [&str; 6] =
    ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];
/// Memory stays unflushed while questions are asked.
const ASKING: [&str; 4] = ["--max-event-age", "40y", "--flush-interval", "10m"];

/// Numbers that look random and are the same every time.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let events = (bench.events / 8).max(20_000);
    #[expect(clippy::disallowed_methods, reason = "history ends now")]
    let now = jiff::Timestamp::now().as_millisecond();
    let scratch = tempfile::tempdir_in(&bench.scratch)?;
    let history = scratch.path().join("history.ndjson");
    write_events(&history, events, |draw| match draw.below(RECENT) {
        0 => now - draw.below(7 * DAY_MS as u64) as i64,
        _ => now - draw.below((DAYS * DAY_MS) as u64) as i64,
    })?;
    let server = Server::tally(&bench.program, &bench.scratch, &LOADING)?;
    send(bench, &server, &history, scratch.path())?;
    // Days become cold when the default times begin to hold.
    let server = server.restart(&bench.program, &ASKING[..2])?;
    let range = format!("start={}&end={}", now - DAYS * DAY_MS, now + HOUR_MS);
    wait_until_cold(&mut Asker::connect(&server.url)?, &range, now)?;
    let server = server.restart(&bench.program, &ASKING)?;
    let mut asker = Asker::connect(&server.url)?;
    // What comes now is in memory; what comes late for cold days, beside them.
    let late = scratch.path().join("late.ndjson");
    write_events(&late, 10_000, |draw| match draw.below(2) {
        0 => now - draw.below(HOUR_MS as u64) as i64,
        _ => now - draw.below((DAYS * DAY_MS) as u64) as i64,
    })?;
    send(bench, &server, &late, scratch.path())?;
    check(&mut asker, &range)?;
    let findings = ask(bench, &mut asker, &range, events);
    drop(asker);
    server.stop()?;
    findings
}

fn write_events(path: &Path, events: u64, mut time: impl FnMut(&mut Draw) -> i64) -> Result<()> {
    let mut draw = Draw(0x7a11_0000 + events);
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    for _ in 0..events {
        // Some items have most of the events.
        let item = draw.below(ITEMS).min(draw.below(ITEMS)).min(draw.below(ITEMS));
        let (time, value) = (time(&mut draw), draw.below(1_000));
        writeln!(out, "{{\"item\":\"item-{item}\",\"time\":{time},\"value\":{value}}}")?;
    }
    Ok(out.flush()?)
}

pub(crate) fn send(bench: &Bench, server: &Server, file: &Path, state: &Path) -> Result<()> {
    let sent = Command::new(&bench.program)
        .args(["send", "--url", &server.url])
        .arg(file)
        .env("XDG_STATE_HOME", state)
        .output()?;
    ensure!(sent.status.success(), "tally send: {}", String::from_utf8_lossy(&sent.stderr));
    server.wait_until_counted()
}

/// Waits until all days that can be are in files.
fn wait_until_cold(asker: &mut Asker, range: &str, now: i64) -> Result<()> {
    let last = (now / DAY_MS - HOURS_KEPT_DAYS) * DAY_MS;
    let last = jiff::Timestamp::from_millisecond(last)?.to_string();
    for _ in 0..1_200 {
        let (explained, _) = asker.get(&format!("/v1/items/item-0/explain?{range}"))?;
        if explained["cold"]["until"].as_str().is_some_and(|until| *until >= *last) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    anyhow::bail!("the days before {last} do not become cold")
}

/// What lies in three years is what there is at all, however it is asked for.
fn check(asker: &mut Asker, range: &str) -> Result<()> {
    for item in 0..ASKED {
        let mut count = |question: &str| -> Result<Value> {
            Ok(asker.get(&format!("/v1/items/item-{item}/{question}"))?.0)
        };
        let total = count("count")?["count"].as_u64().context("a count")?;
        let of_range = count(&format!("count?{range}"))?["count"].as_u64();
        let days = count(&format!("stats?{range}&step=day&function=count"))?;
        let points = days["series"].as_array().context("days")?.iter();
        let sum: u64 = points.filter_map(|point| point["count"].as_u64()).sum();
        ensure!(
            of_range == Some(total) && sum == total,
            "item-{item}: {total} in all, {of_range:?} in three years, {sum} by the day"
        );
    }
    Ok(())
}

fn ask(bench: &Bench, asker: &mut Asker, range: &str, events: u64) -> Result<Findings> {
    let kinds = [
        ("the total, idle", "count".to_owned()),
        ("count of three years", format!("count?{range}")),
        ("stats of three years by the day", format!("stats?{range}&step=day")),
        ("stats of three years as one", format!("stats?{range}&step=total")),
    ];
    let first = format!("{events} events over three years, {ASKED} items asked in turn");
    let mut findings = Findings { lines: vec![first], raw: Vec::new() };
    for (name, question) in &kinds {
        let path = |n: u64| format!("/v1/items/item-{}/{question}", n % ASKED);
        findings.ask((asker, bench.runs), name, path)?;
    }
    findings.lines.push(format!("target: p99 under {TARGET_MS:.0} ms across all seams"));
    Ok(findings)
}
