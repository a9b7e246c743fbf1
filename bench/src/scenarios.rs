//! What is measured, and against which target.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::load::{flags, median, number, run};
use crate::server::{Server, machine_cpu_s};
use crate::{
    Bench, answers, archive_lag, beside, cores, crowd, hot, killed, peers, reports, years,
};

/// What a scenario found.
pub(crate) struct Findings {
    /// A line a figure, for people.
    pub(crate) lines: Vec<String>,
    /// Every run.
    pub(crate) raw: Vec<Value>,
}

type Scenario = fn(&Bench) -> Result<Findings>;

/// All scenarios, in the order they run.
pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("ndjson", ndjson),
    ("avro", avro),
    ("long-tail", long_tail),
    ("single", single),
    ("queries", queries),
    ("answers", answers::run),
    ("killed", killed::run),
    ("cores", cores::run),
    ("window", window),
    ("recount", recount),
    ("archive-lag", archive_lag::run),
    ("years", years::run),
    ("reports", reports::run),
    ("peers", peers::run),
    ("idle-connections", crowd::run),
    ("hot", hot::run),
];

/// Batches of 1,000, items by Zipf's law over 100,000, 1 % repeats, sixteen connections: as many
/// as it takes for the cores to be the limit.
pub(crate) const BATCHES: &str = "--batch 1000 --connections 16 --duplicates 0.01";

/// One throughput run: ends when everything that was sent is counted, not when it is acknowledged.
fn throughput_run(bench: &Bench, load_flags: &str) -> Result<Value> {
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let load_flags = flags(&format!("{load_flags} --events {}", bench.events));
    let begun = std::time::Instant::now();
    let report = run(&bench.program, &server.url, &load_flags)?;
    server.wait_until_counted()?;
    let seconds = begun.elapsed().as_secs_f64();
    let counting = seconds - number(&report, "seconds")?;
    let until_counted = server.usage()?;
    // What the archive and merges left for later is work of these events too.
    server.wait_until_archived()?;
    server.wait_until_idle()?;
    let usage = server.usage()?;
    let events = number(&report, "accepted")?;
    ensure!(events == bench.events as f64, "events were refused: {report}");
    let url = server.url.clone();
    let disk = server.stop_and_measure()?;
    Ok(json!({
        "url": url,
        "report": report,
        "counted_per_second": events / (number(&report, "seconds")? + counting.max(0.0)),
        "cpu_s_per_million": usage.cpu_s / events * 1e6,
        "cpu_s_per_million_until_counted": until_counted.cpu_s / events * 1e6,
        "rss_peak_mib": usage.rss_peak as f64 / f64::from(1 << 20),
        "disk_bytes_per_event": disk.hot as f64 / events,
        "archive_bytes_per_event": disk.archive as f64 / events,
    }))
}

fn throughput(bench: &Bench, load_flags: &str, target: f64) -> Result<Findings> {
    let raw: Vec<Value> =
        (0..bench.runs).map(|_| throughput_run(bench, load_flags)).collect::<Result<_>>()?;
    let of = |name: &str| -> Result<f64> {
        Ok(median(raw.iter().map(|run| number(run, name)).collect::<Result<_>>()?))
    };
    let acknowledged = median(
        raw.iter().map(|run| number(&run["report"], "events_per_second")).collect::<Result<_>>()?,
    );
    let counted = of("counted_per_second")?;
    let lines = vec![
        format!("{acknowledged:.0} events/s acknowledged, fsynced"),
        format!("{counted:.0} events/s counted: {:.2} × the target {target:.0}", counted / target),
        format!(
            "{:.2} CPU-seconds a million events (server), {:.2} until they are counted and the rest for \
             raw files and merges later",
            of("cpu_s_per_million")?,
            of("cpu_s_per_million_until_counted")?
        ),
        format!("{:.0} MiB resident at the peak", of("rss_peak_mib")?),
        format!(
            "{:.0} bytes of log and counters an event (at most 100), {:.0} of raw events in the archive",
            of("disk_bytes_per_event")?,
            of("archive_bytes_per_event")?
        ),
    ];
    Ok(Findings { lines, raw })
}

fn ndjson(bench: &Bench) -> Result<Findings> {
    throughput(bench, &format!("{BATCHES} --format ndjson"), 1_000_000.0)
}

fn avro(bench: &Bench) -> Result<Findings> {
    throughput(bench, &format!("{BATCHES} --format avro"), 1_500_000.0)
}

fn long_tail(bench: &Bench) -> Result<Findings> {
    let load_flags = "--batch 1000 --connections 16 --items 10000000 --skew 0 --format ndjson";
    throughput(bench, load_flags, 500_000.0)
}

/// Single events at 256 connections, in turn with the empty handler, and then at half of that rate.
fn single(bench: &Bench) -> Result<Findings> {
    let load_flags = "--batch 1 --connections 256 --format json --duration 8s";
    let (mut raw, mut ratios, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut half_p99 = Vec::new();
    for _ in 0..bench.runs {
        let empty = Server::empty(0.0)?;
        let ceiling = run(&bench.program, &empty.url, &flags(load_flags))?;
        drop(empty);
        let server = Server::tally(&bench.program, &bench.scratch, &[])?;
        let report = run(&bench.program, &server.url, &flags(load_flags))?;
        let rate = number(&report, "requests_per_second")?;
        let half_flags = flags(&format!("{load_flags} --rate {:.0}", rate / 2.0));
        let half = run(&bench.program, &server.url, &half_flags)?;
        server.stop()?;
        ratios.push(rate / number(&ceiling, "requests_per_second")?);
        rates.push(rate);
        half_p99.push(number(&half, "latency_ms.p99")?);
        raw.push(json!({ "empty": ceiling, "tally": report, "half": half }));
    }
    let lines = vec![
        format!("{:.0} requests/s, one fsynced event each", median(rates)),
        format!("{:.2} of the empty handler's rate (at least 0.80)", median(ratios)),
        format!("p99 {:.1} ms at half of it (at most 10)", median(half_p99)),
    ];
    Ok(Findings { lines, raw })
}

/// Latency of `…/count` while nothing happens, at half of the target rate and at half of the peak.
///
/// Each run is followed by one of the empty handler beside threads that keep the cores as busy:
/// what is slow there is the machine's doing.
fn queries(bench: &Bench) -> Result<Findings> {
    let peak_flags = flags(&format!("{BATCHES} --events {}", bench.events / 2));
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let peak = number(&run(&bench.program, &server.url, &peak_flags)?, "events_per_second")?;
    server.stop()?;
    let rates =
        [("idle", 100.0), ("half of the target", 200_000.0), ("half of the peak", peak / 2.0)];
    let empty_flags = flags("--batch 1 --format json --rate 100 --duration 20s --query-rate 100");
    let (mut lines, mut raw) = (Vec::new(), Vec::new());
    for (name, rate) in rates {
        let (mut p50, mut p99, mut visible) = (Vec::new(), Vec::new(), Vec::new());
        let mut empty_p99 = Vec::new();
        for _ in 0..bench.runs {
            let server = Server::tally(&bench.program, &bench.scratch, &[])?;
            let load_flags = flags(&format!(
                "{} --connections 4 --duplicates 0.01 --rate {rate:.0} --duration 20s \
                 --query-rate 100 --probe-visibility",
                if name == "idle" { "--batch 1 --format json" } else { "--batch 1000" }
            ));
            let before = machine_cpu_s()?;
            let report = run(&bench.program, &server.url, &load_flags)?;
            let cores = (machine_cpu_s()? - before) / number(&report, "seconds")?;
            server.stop()?;
            let empty = Server::empty(cores)?;
            let ceiling = run(&bench.program, &empty.url, &empty_flags)?;
            drop(empty);
            p50.push(number(&report, "query_latency_ms.p50")?);
            p99.push(number(&report, "query_latency_ms.p99")?);
            visible.push(number(&report, "visibility_ms.p99")?);
            empty_p99.push(number(&ceiling, "query_latency_ms.p99")?);
            raw.push(json!({ "load": name, "rate": rate, "busy_cores": cores,
                "report": report, "empty": ceiling }));
        }
        lines.push(format!(
            "{name} ({rate:.0} events/s): count p50 {:.2} ms, p99 {:.2} ms (empty handler on as \
             busy cores: {:.2}); visible p99 {:.0} ms",
            median(p50),
            median(p99),
            median(empty_p99),
            median(visible)
        ));
    }
    lines.push("targets: p99 under 1 ms at half of the peak, visible within 1,000 ms".into());
    Ok(Findings { lines, raw })
}

/// Memory with 10 M ids in the dedup window and 1 M items, beside the events that brought them.
fn window(bench: &Bench) -> Result<Findings> {
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let load_flags =
        flags("--batch 1000 --connections 4 --items 1000000 --skew 0 --events 10000000");
    let report = run(&bench.program, &server.url, &load_flags)?;
    server.wait_until_counted()?;
    let usage = server.usage()?;
    server.stop()?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let lines = vec![format!(
        "{:.0} MiB resident, {:.0} MiB at the peak, with 10 M ids and 1 M items (under 1,024)",
        mib(usage.rss),
        mib(usage.rss_peak)
    )];
    let raw = vec![json!({ "report": report, "rss": usage.rss, "rss_peak": usage.rss_peak })];
    Ok(Findings { lines, raw })
}

/// The rule of `docs/format.md` in SQL: the same count from the same files.
const DUCKDB: &str = r#"
import duckdb, sys, time
began = time.perf_counter()
rows, counted, cells = duckdb.sql(f"""
  select sum(n)::bigint, sum(c)::bigint, count(*) from (
    select item, type, time_bucket(interval 1 minute, time) as minute, count(*) as n,
      count(*) filter (before is null
        or epoch_ms(append_time) // 60000 - epoch_ms(before) // 60000 > 10) as c
    from (
      select item, type, time, append_time,
        lag(append_time) over (partition by partition, item, type, id order by "offset") as before
      from read_parquet('{sys.argv[1]}/archive/raw/**/*.parquet')
    ) group by all
  )""").fetchall()[0]
print(rows, counted, cells, time.perf_counter() - began)
"#;

/// Counting raw events again, beside DuckDB doing the same on the same files.
fn recount(bench: &Bench) -> Result<Findings> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = Command::new(root.join("scripts/outside")).arg("duckdb").output()?;
    ensure!(python.status.success(), "DuckDB cannot be installed");
    let python = String::from_utf8(python.stdout)?;
    let server = Server::tally(&bench.program, &bench.scratch, &["--flush-interval", "1s"])?;
    let load_flags = flags(&format!("{BATCHES} --events {}", bench.events));
    let loaded = run(&bench.program, &server.url, &load_flags)?;
    let peak = number(&loaded, "events_per_second")?;
    server.wait_until_counted()?;
    server.wait_until_archived()?;
    let (mut raw, mut ratios, mut own, mut others) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    #[expect(clippy::disallowed_methods, reason = "the events of the load are of now")]
    let now = jiff::Timestamp::now().as_millisecond();
    let (start, end) = ((now - 7_200_000).to_string(), (now + 3_600_000).to_string());
    for _ in 0..bench.runs {
        let begun = std::time::Instant::now();
        let report = beside::recount(bench, &server, &start, &end)?;
        let seconds = begun.elapsed().as_secs_f64();
        let rate = number(&report, "events_read")? / seconds;
        let duckdb =
            Command::new(python.trim()).args(["-c", DUCKDB]).arg(server.data_dir()?).output()?;
        let printed = String::from_utf8_lossy(&duckdb.stdout).into_owned();
        let figures: Vec<f64> =
            printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [rows, counted, _, duckdb_seconds] = figures[..] else {
            anyhow::bail!("DuckDB: {}", String::from_utf8_lossy(&duckdb.stderr));
        };
        ensure!(counted < rows, "there are repeats among the events");
        own.push(rate);
        others.push(rows / duckdb_seconds);
        ratios.push(rate / (rows / duckdb_seconds));
        raw.push(json!({ "seconds": seconds, "report": { "events_read": report["events_read"],
            "repeats": report["repeats"] }, "duckdb": { "rows": rows, "seconds": duckdb_seconds } }));
    }
    let beside = beside::run(bench, &server, peak, (&start, &end))?;
    server.stop()?;
    raw.extend(beside.raw);
    let mut lines = vec![
        format!("{:.0} rows/s counted again and compared", median(own)),
        format!(
            "{:.0} rows/s: DuckDB, all cores, the same count without a comparison",
            median(others)
        ),
        format!("{:.2} of DuckDB's rate (at least 0.67)", median(ratios)),
    ];
    lines.extend(beside.lines);
    Ok(Findings { lines, raw })
}
