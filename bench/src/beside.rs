//! What a recount does to ingestion that goes on beside it: the same load without and with one.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::Bench;
use crate::load::{flags, median, number, run as load};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;

/// A recount moves the p99 of ingestion by less than this.
const TARGET: f64 = 1.2;

/// Loads at half of `peak` events/s without a recount and beside recounts of a range, in turn.
pub(crate) fn run(
    bench: &Bench,
    server: &Server,
    peak: f64,
    (start, end): (&str, &str),
) -> Result<Findings> {
    let rate = peak / 2.0;
    let load_flags = flags(&format!("{BATCHES} --rate {rate:.0} --events {}", bench.events));
    let measure = || load(&bench.program, &server.url, &load_flags);
    let (mut raw, mut alone, mut beside, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let without = measure()?;
        server.wait_until_counted()?;
        let is_over = AtomicBool::new(false);
        let (with, recounts) = std::thread::scope(|scope| {
            let recounting = scope.spawn(|| {
                let mut recounts = Vec::new();
                // The last one may outlast the load; there is one at least.
                while recounts.is_empty() || !is_over.load(Ordering::Relaxed) {
                    recounts.push(recount(bench, server, start, end)?);
                }
                Ok::<_, anyhow::Error>(recounts)
            });
            let with = measure();
            is_over.store(true, Ordering::Relaxed);
            (with, recounting.join())
        });
        let with = with?;
        let recounts = recounts.map_err(|_| anyhow::anyhow!("recounting panicked"))??;
        let p99 = |report: &Value| number(report, "latency_ms.p99");
        let (p99_alone, p99_beside) = (p99(&without)?, p99(&with)?);
        alone.push(p99_alone);
        beside.push(p99_beside);
        ratios.push(p99_beside / p99_alone);
        raw.push(json!({ "rate": rate, "without": without, "with": with,
            "recounts": recounts.len() }));
    }
    let lines = vec![format!(
        "ingestion at half of the peak ({rate:.0} events/s): p99 {:.2} ms alone, {:.2} ms beside \
         recounts, {:.2} × (below {TARGET})",
        median(alone),
        median(beside),
        median(ratios)
    )];
    Ok(Findings { lines, raw })
}

/// Counts a range again; its report.
pub(crate) fn recount(bench: &Bench, server: &Server, start: &str, end: &str) -> Result<Value> {
    let report = Command::new(&bench.program)
        .args(["recount", "--json", "--start", start, "--end", end, "--url", &server.url])
        .output()?;
    let report: Value = serde_json::from_slice(&report.stdout)?;
    ensure!(
        report["state"] == "done" && report["differences"] == 0,
        "the counters are not what the events say: {report}"
    );
    Ok(report)
}
