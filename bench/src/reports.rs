//! Reports and rankings as people look at them: a channel of 1,000 items, nothing given from the
//! cache.

use std::io::{BufWriter, Write};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::Bench;
use crate::asker::Asker;
use crate::scenarios::Findings;
use crate::server::Server;
use crate::years::{Draw, send};

const ITEMS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;
const TYPES: [&str; 3] = ["view", "view", "like"];
/// The report of the channel is there within so many milliseconds.
const TARGET_MS: f64 = 50.0;

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let events = bench.events / 20;
    #[expect(clippy::disallowed_methods, reason = "a report is about the last hours")]
    let now = jiff::Timestamp::now().as_millisecond();
    let scratch = tempfile::tempdir_in(&bench.scratch)?;
    let (details, history) = (scratch.path().join("items"), scratch.path().join("history.ndjson"));
    let mut out = BufWriter::new(std::fs::File::create(&details)?);
    for item in 0..ITEMS {
        writeln!(out, "{{\"item\":\"v{item}\",\"title\":\"Video {item}\",\"channel\":\"c\"}}")?;
    }
    out.flush()?;
    let mut out = BufWriter::new(std::fs::File::create(&history)?);
    let mut draw = Draw(0x7a11_0000 + events);
    for _ in 0..events {
        let (item, kind) = (draw.below(ITEMS), TYPES[draw.below(3) as usize]);
        let (time, value) = (now - draw.below(DAY_MS) as i64, draw.below(600));
        writeln!(
            out,
            "{{\"item\":\"v{item}\",\"type\":\"{kind}\",\"time\":{time},\"value\":{value}}}"
        )?;
    }
    out.flush()?;
    let server = Server::tally(&bench.program, &bench.scratch, &["--query-cache", "off"])?;
    let import = ["items", "import", "--url", &server.url];
    let imported = Command::new(&bench.program).args(import).arg(&details).output()?;
    ensure!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    send(bench, &server, &history, scratch.path())?;
    let mut asker = Asker::connect(&server.url)?;
    let first =
        format!("{events} events of a day, of {ITEMS} items of one channel, no query cache");
    let mut findings = Findings { lines: vec![first], raw: Vec::new() };
    for (name, path) in [
        ("report of the channel", "/v1/channels/c/report?hours=24"),
        ("trending of the hour", "/v1/trending"),
        ("top of the hour", "/v1/top"),
    ] {
        findings.ask((&mut asker, bench.runs), name, |_| path.to_owned())?;
    }
    let of_item = |n| format!("/v1/items/v{}/report?hours=24", n % ITEMS);
    findings.ask((&mut asker, bench.runs), "report of an item", of_item)?;
    findings.lines.push(format!("target: p99 of the channel's report under {TARGET_MS:.0} ms"));
    drop(asker);
    server.stop()?;
    Ok(findings)
}
