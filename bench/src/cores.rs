//! What a second core adds: the server on one core and the load generator on the other, then both on both.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::Bench;
use crate::load::{flags, median, number, run as load};
use crate::scenarios::{BATCHES, Findings};
use crate::server::{Server, children_cpu_s};

/// Two cores come to at least so many times what one does.
const TARGET: f64 = 1.8;

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let (first, second) = (cores.next(), cores.next());
    let (first, second) = first.zip(second).context("this takes two cores")?;
    let of = |cores: &[usize]| {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        set
    };
    let (mut raw, mut rates, mut ratios, mut shares) =
        (Vec::new(), [Vec::new(), Vec::new()], Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let one = pinned(bench, of(&[first]), of(&[second]));
        let two = pinned(bench, of(&[first, second]), of(&[first, second]));
        sched_setaffinity(None, &allowed)?;
        let (one, two) = (one?, two?);
        let (rate_of_one, rate_of_two) =
            (number(&one, "counted_per_second")?, number(&two, "counted_per_second")?);
        // Of two cores the server had what the generator left.
        let left = 2.0 - number(&two, "generator_cores")?;
        rates[0].push(rate_of_one);
        rates[1].push(rate_of_two);
        ratios.push(rate_of_two / rate_of_one);
        shares.push(rate_of_two / left * 2.0 / rate_of_one);
        raw.push(json!({ "one": one, "two": two }));
    }
    let [one, two] = rates.map(median);
    let lines = vec![
        format!("{one:.0} events/s counted with one core, the load generator on another"),
        format!("{two:.0} events/s with two, the load generator on both: {:.2} ×", median(ratios)),
        format!(
            "{:.2} × for two cores whole: without what the generator took of them (at least {TARGET})",
            median(shares)
        ),
    ];
    Ok(Findings { lines, raw })
}

/// One throughput run with the server and the generator on these cores.
fn pinned(bench: &Bench, server_on: CpuSet, generator_on: CpuSet) -> Result<Value> {
    // What is started from here on runs where this thread may.
    sched_setaffinity(None, &server_on)?;
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    sched_setaffinity(None, &generator_on)?;
    let load_flags = flags(&format!("{BATCHES} --format ndjson --events {}", bench.events));
    let (begun, before) = (std::time::Instant::now(), children_cpu_s()?);
    let report = load(&bench.program, &server.url, &load_flags)?;
    let generator = children_cpu_s()? - before;
    server.wait_until_counted()?;
    let seconds = begun.elapsed().as_secs_f64();
    let usage = server.usage()?;
    server.stop()?;
    let events = number(&report, "accepted")?;
    ensure!(events == bench.events as f64, "events were refused: {report}");
    Ok(json!({
        "counted_per_second": events / seconds,
        "server_cores": usage.cpu_s / seconds,
        "generator_cores": generator / seconds,
        "report": report,
    }))
}
