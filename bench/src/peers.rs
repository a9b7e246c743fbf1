//! What people use today, doing the same work on the same events in the same run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Bench;
use crate::load::{flags, median, number, run as load};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;

/// A peer, its share of the events (the slow ones get fewer) and how many times faster Tally is to
/// be.
struct Peer {
    name: &'static str,
    script: &'static str,
    share: f64,
    at_least: f64,
    /// Whether repeats are dropped.
    drops_repeats: bool,
    /// Whether it reads the JSON itself, in its time; else it is given events that were read before. Tally
    /// is compared alike: with NDJSON, or with Avro.
    reads_json: bool,
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "ClickHouse",
        script: "clickhouse.py",
        share: 1.0,
        at_least: 5.0,
        drops_repeats: false,
        reads_json: true,
    },
    Peer {
        name: "PostgreSQL",
        script: "postgres.py",
        share: 0.1,
        at_least: 14.0,
        drops_repeats: true,
        reads_json: false,
    },
    Peer {
        name: "Redis",
        script: "redis_.py",
        share: 0.05,
        at_least: 30.0,
        drops_repeats: true,
        reads_json: false,
    },
    Peer {
        name: "DuckDB, in batch",
        script: "duckdb_.py",
        share: 1.0,
        at_least: 0.9,
        drops_repeats: true,
        reads_json: true,
    },
];

/// Tally and each peer in turn, several times.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let outside = |name: &str| -> Result<String> {
        let installed = Command::new(root.join("scripts/outside")).arg(name).output()?;
        ensure!(
            installed.status.success(),
            "{name} cannot be installed: {}",
            String::from_utf8_lossy(&installed.stderr)
        );
        Ok(String::from_utf8(installed.stdout)?.trim().to_owned())
    };
    let python = outside("peers")?;
    let (postgres, redis) = (outside("postgres")?, outside("redis")?);
    let (mut of_json, mut of_avro, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); PEERS.len()];
    let mut rates = ratios.clone();
    for _ in 0..bench.runs {
        for (format, rates) in [("ndjson", &mut of_json), ("avro", &mut of_avro)] {
            let tally = tally(bench, format)?;
            rates.push(number(&tally, "counted_per_second")?);
            raw.push(json!({ "tally": tally, "format": format }));
        }
        for (at, peer) in PEERS.iter().enumerate() {
            let data = tempfile::Builder::new().prefix("peer").tempdir_in(&bench.scratch)?;
            let events = (bench.events as f64 * peer.share) as u64;
            let file = data.path().join("events.ndjson");
            write_events(bench, events, &file)?;
            let output = Command::new(&python)
                .arg(root.join("bench/peers").join(peer.script))
                .arg(&file)
                .arg(data.path())
                .env("POSTGRES_PROGRAMS", &postgres)
                .env("REDIS_SERVER", &redis)
                .output()?;
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = printed.lines().last().unwrap_or_default();
            let report: Value = serde_json::from_str(line).with_context(|| {
                format!("{}: {}", peer.name, String::from_utf8_lossy(&output.stderr))
            })?;
            ensure!(report["events"] == events, "{} took not all: {report}", peer.name);
            let counted = number(&report, "counted")?;
            let repeats = events as f64 - counted;
            ensure!(
                if peer.drops_repeats { repeats > 0.0 } else { repeats == 0.0 },
                "{} counted otherwise than it is said to: {report}",
                peer.name
            );
            let of_peer = events as f64 / number(&report, "seconds")?;
            rates[at].push(of_peer);
            let own = if peer.reads_json { &of_json } else { &of_avro };
            ratios[at].push(own.last().copied().unwrap_or_default() / of_peer);
            raw.push(json!({ "peer": peer.name, "report": report }));
        }
    }
    let mut lines = vec![
        format!("{:.0} events/s: Tally, NDJSON, counted", median(of_json)),
        format!("{:.0} events/s: Tally, Avro, counted", median(of_avro)),
    ];
    for ((peer, rates), ratios) in PEERS.iter().zip(rates).zip(ratios) {
        let repeats = if peer.drops_repeats { "" } else { ", repeats counted too" };
        lines.push(format!(
            "{:.0} events/s: {}{repeats}; Tally with {} is {:.1} × as fast (at least {:.1})",
            median(rates),
            peer.name,
            if peer.reads_json { "NDJSON" } else { "Avro" },
            median(ratios),
            peer.at_least
        ));
    }
    Ok(Findings { lines, raw })
}

/// Ingests and counts; what came of it.
fn tally(bench: &Bench, format: &str) -> Result<Value> {
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let load_flags = flags(&format!("{BATCHES} --format {format} --events {}", bench.events));
    let begun = std::time::Instant::now();
    let report = load(&bench.program, &server.url, &load_flags)?;
    server.wait_until_counted()?;
    let seconds = begun.elapsed().as_secs_f64();
    server.stop()?;
    let events = number(&report, "accepted")?;
    Ok(json!({ "report": report, "seconds": seconds, "counted_per_second": events / seconds }))
}

/// The events that Tally gets, as a file: what the load generator posts to a handler that keeps it.
fn write_events(bench: &Bench, events: u64, file: &Path) -> Result<()> {
    let keeper = Server::keeping(file)?;
    let load_flags = flags(&format!("{BATCHES} --format ndjson --events {events}"));
    load(&bench.program, &keeper.url, &load_flags)?;
    Ok(())
}
