//! How far the archive is behind the log while events come at the target rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::Bench;
use crate::asker::Asker;
use crate::load::{flags, number, run as load};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;

const RATE: u64 = 400_000;
/// A raw file takes so many offsets: they are archived together when the last is there.
const FILE_OFFSETS: u64 = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Beyond one file's worth the archive may be behind for so long.
const TARGET_S: f64 = 60.0;

/// One look: when, and each partition's end of log and end of archive.
struct Look {
    at: f64,
    offsets: Vec<(u64, u64)>,
}

/// The scenario.
pub(crate) fn run(bench: &Bench) -> Result<Findings> {
    let (mut lines, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let server = Server::tally(&bench.program, &bench.scratch, &[])?;
        let is_over = AtomicBool::new(false);
        let load_flags = flags(&format!("{BATCHES} --rate {RATE} --events {}", bench.events));
        let (report, looks) = std::thread::scope(|scope| {
            let looking = scope.spawn(|| look(&server.url, &is_over));
            let report = load(&bench.program, &server.url, &load_flags);
            is_over.store(true, Ordering::Relaxed);
            (report, looking.join())
        });
        let report = report?;
        let looks = looks.map_err(|_| anyhow::anyhow!("looking panicked"))??;
        server.stop()?;
        let (events, seconds) = (behind(&looks), late(&looks));
        let rate = number(&report, "events_per_second")?;
        lines.push(format!(
            "at {rate:.0} events/s: at most {events} events of a partition not archived, {seconds:.1} \
             s behind beyond one file of {FILE_OFFSETS}"
        ));
        raw.push(json!({ "report": report, "events_behind_max": events,
            "seconds_behind_max": seconds, "looks": looks.len() }));
    }
    lines.push(format!("target: never behind by more than one file and {TARGET_S:.0} s"));
    Ok(Findings { lines, raw })
}

fn look(url: &str, is_over: &AtomicBool) -> Result<Vec<Look>> {
    let (mut asker, begun, mut looks) = (Asker::connect(url)?, Instant::now(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let at = begun.elapsed().as_secs_f64();
        let (answer, _) = asker.get("/v1/admin/partitions")?;
        let partitions = answer["partitions"].as_array().context("a list of partitions")?;
        let offset = |row: &serde_json::Value, name: &str| row[name].as_u64().context("an offset");
        let offsets = partitions
            .iter()
            .map(|row| Ok((offset(row, "durable_offset")?, offset(row, "archived_offset")?)));
        looks.push(Look { at, offsets: offsets.collect::<Result<_>>()? });
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(looks)
}

/// The most events of a partition that were in the log and not in the archive.
fn behind(looks: &[Look]) -> u64 {
    let of_look = |look: &Look| {
        look.offsets.iter().map(|(durable, archived)| durable.saturating_sub(*archived)).max()
    };
    looks.iter().filter_map(of_look).max().unwrap_or(0)
}

/// The longest that the first event beyond one file's worth had been waiting.
fn late(looks: &[Look]) -> f64 {
    let mut longest: f64 = 0.0;
    for look in looks {
        for (partition, (_, archived)) in look.offsets.iter().enumerate() {
            // Since when there was more than a file's worth of what is not archived yet.
            let is_more = |then: &&Look| then.offsets[partition].0 > archived + FILE_OFFSETS;
            if let Some(since) = looks.iter().find(is_more).filter(|then| then.at <= look.at) {
                longest = longest.max(look.at - since.at);
            }
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_begins_beyond_one_file() {
        let look = |at: f64, durable: u64, archived: u64| Look {
            at,
            offsets: vec![(0, 0), (durable * FILE_OFFSETS / 10, archived * FILE_OFFSETS / 10)],
        };
        let looks = [look(0.0, 9, 0), look(1.0, 11, 0), look(2.0, 15, 0), look(3.0, 19, 10)];
        assert_eq!(behind(&looks), FILE_OFFSETS * 15 / 10);
        assert_eq!(late(&looks), 1.0);
        assert_eq!(late(&looks[..1]), 0.0);
    }
}
