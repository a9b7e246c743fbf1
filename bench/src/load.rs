//! One run of the load generator against a server under test.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Runs `tally load` with these flags; its report.
pub(crate) fn run(program: &Path, url: &str, flags: &[String]) -> Result<Value> {
    let output = Command::new(program)
        .args(["load", "--json", "--url", url])
        .args(flags)
        .output()
        .context("the load generator cannot be started")?;
    ensure!(
        output.status.success(),
        "tally load {flags:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the report is JSON")
}

/// Splits flags at spaces.
pub(crate) fn flags(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A number of a report, by its path such as `latency_ms.p99`.
pub(crate) fn number(report: &Value, path: &str) -> Result<f64> {
    // A percentile's name has a point in it, a path's last step has not.
    let found = match path.split_once('.') {
        Some((first, rest)) => &report[first][rest],
        None => &report[path],
    };
    found.as_f64().with_context(|| format!("the report has no {path}: {report}"))
}

/// The middle one of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
