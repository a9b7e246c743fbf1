//! Looks at a run again and again: what was sent and answered since, what the server says of itself
//! at `/metrics`, and what this program uses.

use std::time::Instant;

use serde::Serialize;

use super::super::connection::{Connection, Peer};
use super::super::timeline::{Interval, Timeline};
use crate::process;

/// One look. Rates are those since the last; what is not known is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Since the start of the run.
    pub(crate) seconds: f64,
    /// Events a second that were due, and that were answered.
    pub(crate) offered: f64,
    pub(crate) answered: f64,
    /// Attempts a second that are made again.
    pub(crate) refused: f64,
    pub(crate) is_limited: bool,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) lag_events: Option<f64>,
    pub(crate) queue_fill: Option<f64>,
    pub(crate) server_cores: Option<f64>,
    pub(crate) generator_cores: Option<f64>,
    pub(crate) cores: Option<f64>,
    /// Shares of the time in which something waited for a disk, or for a processor.
    pub(crate) disk_wait: Option<f64>,
    pub(crate) processor_wait: Option<f64>,
    pub(crate) memory_bytes: Option<f64>,
    pub(crate) dedup_bytes: Option<f64>,
    pub(crate) open_files: Option<f64>,
    pub(crate) disk_free_bytes: Option<f64>,
}

/// Counters of a moment, for the rates of the next sample.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    server_cpu: Option<f64>,
    generator_cpu: Option<f64>,
    disk_wait: Option<f64>,
    processor_wait: Option<f64>,
}

/// See the module.
pub(super) struct Watch {
    connection: Connection,
    runtime: tokio::runtime::Runtime,
    at: Instant,
    before: Before,
}

impl Watch {
    pub(super) fn new(peer: &Peer) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = Connection::new(peer);
        Ok(Self { connection, runtime, at: Instant::now(), before: Before::default() })
    }

    /// Looks now.
    pub(super) fn look(&mut self, timeline: &Timeline) -> Sample {
        let answer = self.runtime.block_on(self.connection.get("/metrics"));
        let text = answer.ok().filter(|answer| answer.status == 200);
        let text = text.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let Interval { offered, answered, refused, is_limited, p50_ms, p99_ms } = timeline.take();
        let elapsed = self.at.elapsed().as_secs_f64().max(1e-9);
        self.at = Instant::now();
        let of = |name| text.as_deref().and_then(|text| metric(text, name));
        let now = Before {
            server_cpu: of("process_cpu_seconds_total"),
            generator_cpu: process::usage().cpu_seconds,
            disk_wait: of("tally_disk_wait_seconds_total"),
            processor_wait: of("tally_processor_wait_seconds_total"),
        };
        let before = std::mem::replace(&mut self.before, now);
        // A counter that went back is that of a server that was started again.
        let rate = |now: Option<f64>, before: Option<f64>| {
            Some((now? - before?) / elapsed).filter(|rate| *rate >= 0.0)
        };
        Sample {
            seconds: timeline.elapsed().unwrap_or_default().as_secs_f64(),
            offered: offered as f64 / elapsed,
            answered: answered as f64 / elapsed,
            refused: refused as f64 / elapsed,
            is_limited,
            p50_ms,
            p99_ms,
            lag_events: of("tally_partition_lag_events"),
            queue_fill: of("tally_queue_fill_ratio"),
            server_cores: rate(now.server_cpu, before.server_cpu),
            generator_cores: rate(now.generator_cpu, before.generator_cpu),
            cores: of("tally_cores"),
            disk_wait: rate(now.disk_wait, before.disk_wait),
            processor_wait: rate(now.processor_wait, before.processor_wait),
            memory_bytes: of("process_resident_memory_bytes"),
            dedup_bytes: of("tally_dedup_bytes"),
            open_files: of("process_open_fds"),
            disk_free_bytes: of("tally_disk_free_bytes"),
        }
    }
}

/// A metric of an OpenMetrics text, summed over its labels; none where it is not there.
fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        rest.split(' ').next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_longer_names() {
        let text = "# HELP a b\na{p=\"0\"} 3\na{p=\"}\"} 4.5\na_total 9\nb 7 1700000000\n";
        assert_eq!(metric(text, "a"), Some(7.5));
        assert_eq!(metric(text, "b"), Some(7.0));
        assert_eq!(metric(text, "c"), None);
    }
}
