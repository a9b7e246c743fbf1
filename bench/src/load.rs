//! One run of the load generator against a server under test.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Runs `tally load` with these flags; its report.
pub(crate) fn run(program: &Path, url: &str, flags: &[String]) -> Result<Value> {
    let output = generator(program, url, flags).output().context(NOT_STARTED)?;
    report(flags, &output)
}

/// As [`run`], and ends when it is told to.
pub(crate) fn run_while(
    program: &Path,
    url: &str,
    flags: &[String],
    mut goes_on: impl FnMut() -> bool,
) -> Result<Value> {
    let mut generator = generator(program, url, flags);
    let mut child = generator.stdout(Stdio::piped()).spawn().context(NOT_STARTED)?;
    while child.try_wait()?.is_none() {
        if !goes_on() {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    report(flags, &child.wait_with_output()?)
}

const NOT_STARTED: &str = "the load generator cannot be started";

fn generator(program: &Path, url: &str, flags: &[String]) -> Command {
    let mut generator = Command::new(program);
    generator.args(["load", "--json", "--url", url]).args(flags);
    generator
}

fn report(flags: &[String], output: &Output) -> Result<Value> {
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
