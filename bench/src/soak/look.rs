//! Looks at a server from outside, again and again: what it uses, and how soon it answers.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::asker::{Asker, percentile};
use crate::server::Server;

/// Between two questions for a count.
const QUESTION_EVERY: Duration = Duration::from_millis(20);
/// Between two looks at whether an event shows.
const SHOWN_EVERY: Duration = Duration::from_millis(2);
/// Counts are asked of so many items.
const ITEMS: usize = 100;
/// An event of this item is sent at each look, to see how soon it shows.
const PROBE: &str = "soak-probe";

/// One look.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Since the beginning, in seconds.
    pub(super) at_s: f64,
    /// Memory in bytes.
    pub(super) resident: u64,
    /// Files and sockets.
    pub(super) open_files: u64,
    /// Bytes on disk, as they are allocated.
    pub(super) log_bytes: u64,
    pub(super) store_bytes: u64,
    pub(super) archive_bytes: u64,
    /// Since the look before.
    pub(super) counted_per_s: f64,
    /// Events that are durable and not counted.
    pub(super) lag_events: u64,
    /// From an event's acknowledgement until a question shows it.
    pub(super) visible_ms: f64,
    /// Of the questions since the look before.
    pub(super) count_p99_ms: f64,
}

impl Look {
    /// Log and counters; raw files go by whole hours of append time, later than a soak ends.
    pub(super) fn hot_disk(&self) -> u64 {
        self.log_bytes + self.store_bytes
    }

    pub(super) fn json(&self) -> Value {
        json!({ "at_s": round(self.at_s), "resident_bytes": self.resident, "open_files": self.open_files,
            "log_bytes": self.log_bytes, "store_bytes": self.store_bytes,
            "archive_bytes": self.archive_bytes, "counted_per_s": round(self.counted_per_s),
            "lag_events": self.lag_events, "visible_ms": round(self.visible_ms),
            "count_p99_ms": round(self.count_p99_ms) })
    }
}

fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Looks until it is over.
pub(super) fn look(server: &Server, every: Duration, is_over: &AtomicBool) -> Result<Vec<Look>> {
    let (mut asker, data, begun) =
        (Asker::connect(&server.url)?, server.data_dir()?, Instant::now());
    let (mut looks, mut items): (Vec<Look>, Vec<String>) = Default::default();
    let (mut before, mut counted_before) = (begun, 0);
    for n in 1.. {
        let due = begun + every * n;
        let mut took = Vec::new();
        while Instant::now() < due && !is_over.load(Ordering::Relaxed) {
            // Asked at once: the server closes a connection that asks nothing for long.
            if items.is_empty() {
                items = most_counted(&mut asker)?;
            }
            if let Some(item) = items.get(took.len() % items.len().max(1)) {
                took.push(asker.get(&format!("/v1/items/{item}/count"))?.1);
            }
            std::thread::sleep(QUESTION_EVERY);
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (now, (counted, lag_events)) = (Instant::now(), progress(&mut asker)?);
        let seconds = (now - before).as_secs_f64();
        let disk = |folder: &str| allocated(&data.join(folder));
        looks.push(Look {
            at_s: (now - begun).as_secs_f64(),
            resident: server.usage()?.rss,
            open_files: server.open_files()?,
            log_bytes: disk("log")?,
            store_bytes: disk("store")? + disk("details")?,
            archive_bytes: disk("archive")?,
            counted_per_s: (counted - counted_before) as f64 / seconds,
            lag_events,
            visible_ms: visible(&mut asker)?,
            count_p99_ms: if took.is_empty() { 0.0 } else { percentile(&took, 0.99) },
        });
        (before, counted_before) = (now, counted);
    }
    // The first has no questions behind it, and the rate of a start.
    Ok(looks.split_off(looks.len().min(1)))
}

/// Items that are counted now.
fn most_counted(asker: &mut Asker) -> Result<Vec<String>> {
    let (top, _) = asker.get(&format!("/v1/top?type=view&window=1h&limit={ITEMS}"))?;
    let items = top["items"].as_array().context("a list of items")?;
    Ok(items.iter().filter_map(|row| row["item"].as_str().map(str::to_owned)).collect())
}

/// Events counted since the start, and those that are not yet.
fn progress(asker: &mut Asker) -> Result<(u64, u64)> {
    let (answer, _) = asker.get("/v1/admin/partitions")?;
    let partitions = answer["partitions"].as_array().context("a list of partitions")?;
    let sum = |name: &str| partitions.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
    Ok((sum("counted") + sum("duplicates"), sum("lag_events")))
}

/// Sends an event, and asks until it is counted: milliseconds from its acknowledgement on.
fn visible(asker: &mut Asker) -> Result<f64> {
    let path = format!("/v1/items/{PROBE}/count");
    let count = |asker: &mut Asker| -> Result<u64> {
        asker.get(&path)?.0["count"].as_u64().context("a count")
    };
    let before = count(asker)?;
    asker.post(&format!("/v1/items/{PROBE}/events"))?;
    let begun = Instant::now();
    while count(asker)? <= before {
        ensure!(begun.elapsed() < Duration::from_secs(60), "an event does not show");
        std::thread::sleep(SHOWN_EVERY);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Bytes that the files below a folder take on disk. What goes meanwhile takes none.
fn allocated(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let is_gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let (mut total, mut folders) = (0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if is_gone(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => total += metadata.blocks() * 512,
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(total)
}
