//! What a load run found: rates, verdicts and latencies, as text and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::verify::Verification;

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LoadReport {
    /// `open` (by schedule) or `closed` (as fast as answers come).
    pub(crate) mode: &'static str,
    pub(crate) format: String,
    pub(crate) batch: u32,
    pub(crate) connections: u32,
    pub(crate) seconds: f64,
    /// Events in requests that were answered, repeats included.
    pub(crate) events: u64,
    pub(crate) events_per_second: f64,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    /// Events of requests that were given up: it is not known what became of them.
    pub(crate) unknown: u64,
    pub(crate) retries: u64,
    /// The code with which the run was stopped before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped_by: Option<String>,
    /// Rejected events and failed attempts, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) body_bytes: u64,
    /// What making and writing an event cost this program.
    pub(crate) generator_ns_per_event: f64,
    /// Of a request with its retries; open loop: from when it should have been sent.
    pub(crate) latency_ms: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_latency_ms: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_errors: Option<u64>,
    /// From the acknowledgement of an event until `count` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) visibility_ms: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verification: Option<Verification>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Longer latencies count as this.
const MOST: Duration = Duration::from_secs(86_400);

/// Collects durations, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are allowed"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        // `record` grows the histogram, which `saturating_record` does not; a day fits easily.
        let ns = latency.min(MOST).as_nanos() as u64;
        self.0.record(ns.max(1)).expect("a histogram that grows takes any duration");
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let ms = |ns: u64| (ns as f64 / 1e3).round() / 1e3;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Percentiles {
            samples: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.0.max()),
        }
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms ({} samples)",
            self.p50, self.p90, self.p99, self.p999, self.max, self.samples
        )
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} loop, {} connections, {} events a request ({}), {:.2} s",
            self.mode, self.connections, self.batch, self.format, self.seconds
        )?;
        writeln!(
            f,
            "events    {:.0}/s   {} sent, {} accepted, {} rejected, {} unknown",
            self.events_per_second, self.events, self.accepted, self.rejected, self.unknown
        )?;
        writeln!(
            f,
            "requests  {:.0}/s   {} answered, {} retries",
            self.requests_per_second, self.requests, self.retries
        )?;
        if let Some(code) = &self.stopped_by {
            writeln!(f, "STOPPED   a request was given up: {code}")?;
        }
        for (code, count) in &self.errors {
            writeln!(f, "  {code}: {count}")?;
        }
        writeln!(f, "latency   {}", self.latency_ms)?;
        if let Some(latency) = &self.query_latency_ms {
            writeln!(f, "queries   {latency}, {} errors", self.query_errors.unwrap_or(0))?;
        }
        if let Some(latency) = &self.visibility_ms {
            writeln!(f, "visible   {latency}")?;
        }
        write!(f, "generator {:.0} ns an event", self.generator_ns_per_event)?;
        match &self.verification {
            Some(verification) => write!(f, "\n{verification}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        latencies.record(Duration::MAX);
        let found = latencies.percentiles();
        assert_eq!(found.samples, 1001);
        for (seen, expected) in [(found.p50, 501.0), (found.p90, 901.0), (found.p99, 991.0)] {
            assert!((seen - expected).abs() < expected / 500.0, "{seen} for {expected}");
        }
        assert!(found.max > 86_000_000.0);
    }
}
