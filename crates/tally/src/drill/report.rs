//! What a drill found, a row a scenario: the same data for the table and for JSON.

use serde::Serialize;

use super::account::Mismatch;

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// All that was accepted is counted, once, and everything went as it should.
    Equal,
    /// Not so.
    Failed,
    /// This machine does not allow it.
    Skipped,
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What was done and seen, in plain words.
    pub(crate) done: Vec<String>,
    /// Events in all requests.
    pub(crate) sent: u64,
    /// Of those, events that had been sent before: retries and deliberate repeats.
    pub(crate) repeats: u64,
    /// Different events that were acknowledged.
    pub(crate) accepted: u64,
    /// What the server counts at the end; none where it could not be asked.
    pub(crate) counted: Option<u64>,
    pub(crate) outcome: Outcome,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The first counters that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mismatches: Vec<Mismatch>,
    /// The command that does it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<String>,
    pub(crate) seconds: f64,
}

/// The whole drill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DrillReport {
    pub(crate) seed: u64,
    /// Whether no scenario failed.
    pub(crate) equal: bool,
    pub(crate) sent: u64,
    pub(crate) repeats: u64,
    pub(crate) accepted: u64,
    pub(crate) counted: u64,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) seconds: f64,
    pub(crate) scenarios: Vec<Row>,
}

impl DrillReport {
    pub(crate) fn new(seed: u64, scenarios: Vec<Row>, seconds: f64) -> Self {
        let ended = |outcome| scenarios.iter().filter(|row| row.outcome == outcome).count();
        let (failed, skipped) = (ended(Outcome::Failed), ended(Outcome::Skipped));
        let sum = |figure: fn(&Row) -> u64| scenarios.iter().map(figure).sum();
        Self {
            seed,
            equal: failed == 0,
            sent: sum(|row| row.sent),
            repeats: sum(|row| row.repeats),
            accepted: sum(|row| row.accepted),
            counted: sum(|row| row.counted.unwrap_or(0)),
            failed,
            skipped,
            seconds,
            scenarios,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(accepted: u64, counted: u64, outcome: Outcome) -> Row {
        Row {
            name: "load",
            done: Vec::new(),
            sent: accepted + 2,
            repeats: 2,
            accepted,
            counted: Some(counted),
            outcome,
            reason: None,
            mismatches: Vec::new(),
            replay: None,
            seconds: 1.0,
        }
    }

    #[test]
    fn the_whole_is_the_sum_and_one_failure_is_enough() {
        let rows = vec![row(5, 5, Outcome::Equal), row(0, 0, Outcome::Skipped)];
        let report = DrillReport::new(1, rows.clone(), 2.0);
        assert_eq!(
            (report.equal, report.skipped, report.accepted, report.counted),
            (true, 1, 5, 5)
        );
        // Too many here and too few there must not make up for each other.
        let rows = [rows, vec![row(5, 6, Outcome::Failed), row(6, 5, Outcome::Failed)]].concat();
        let report = DrillReport::new(1, rows, 2.0);
        assert_eq!((report.equal, report.failed), (false, 2));
        assert_eq!(report.accepted, report.counted);
    }
}
