//! A server that is killed at full speed, and how soon its successor takes events and answers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::Bench;
use crate::asker::Asker;
use crate::load::{flags, median, run_while};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;

/// Events between the clean start and the kill.
const EVENTS: u64 = 10_000_000;
/// Its successor answers within so many seconds.
const TARGET_S: f64 = 2.0;
/// Until a request is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// No machine takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    // Of fewer than usual, to see that it works, so many fewer.
    let events = EVENTS.min(bench.events * 5 / 4);
    let (mut raw, mut accepting, mut answering) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let server = Server::tally(&bench.program, &bench.scratch, &[])?;
        let mut asker = Asker::connect(&server.url)?;
        let sent = 4 * events;
        let load_flags = flags(&format!("{BATCHES} --format ndjson --events {sent} --retry-for 0"));
        let mut durable = None;
        let load = run_while(&bench.program, &server.url, &load_flags, || {
            let seen = asker.get("/v1/admin/partitions");
            durable = seen.ok().map(|(answer, _)| durable_events(&answer));
            let goes_on = durable.is_some_and(|durable| durable < events);
            if !goes_on {
                server.kill();
            }
            goes_on
        });
        ensure!(load.is_err(), "all was sent before the server was killed");
        let durable = durable.context("the server does not say what it has")?;
        let begun = Instant::now();
        let server = server.restart_killed(&bench.program)?;
        let mut asker = Asker::connect(&server.url)?;
        until(begun, || asker.post("/v1/items/item-0/events").is_ok())?;
        let accepts = begun.elapsed().as_secs_f64();
        until(begun, || asker.get("/v1/items/item-0/count").is_ok())?;
        let answers = begun.elapsed().as_secs_f64();
        server.wait_until_counted()?;
        let counted = begun.elapsed().as_secs_f64();
        server.stop()?;
        accepting.push(accepts);
        answering.push(answers);
        raw.push(json!({ "events": durable, "accepts_s": accepts, "answers_s": answers,
            "counted_s": counted }));
    }
    let lines = vec![format!(
        "killed at full speed with {events} events since its start: takes events after {:.2} s, answers \
         after {:.2} s (at most {TARGET_S})",
        median(accepting),
        median(answering)
    )];
    Ok(Findings { lines, raw })
}

fn durable_events(answer: &Value) -> u64 {
    let partitions = answer["partitions"].as_array().into_iter().flatten();
    partitions.filter_map(|partition| partition["durable_offset"].as_u64()).sum()
}

fn until(begun: Instant, mut is_so: impl FnMut() -> bool) -> Result<()> {
    while !is_so() {
        ensure!(begun.elapsed() < PATIENCE, "not within {} s", PATIENCE.as_secs());
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
