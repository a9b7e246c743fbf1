//! `tally drill`, all of it: passes, in time, and its numbers add up.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::TALLY;

/// What users are promised.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn a_whole_drill_passes_in_under_two_minutes() {
    let scratch = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let output = Command::new(TALLY)
        .args(["drill", "--json", "--scratch"])
        .arg(scratch.path())
        .output()
        .expect("the drill starts");
    let took = begun.elapsed();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "a pipe hears no progress");
    let report: Value = serde_json::from_str(&printed).expect("JSON");
    let rows = report["scenarios"].as_array().expect("rows");
    let listed = Command::new(TALLY).args(["drill", "--list"]).output().expect("it runs").stdout;
    assert_eq!(String::from_utf8_lossy(&listed).lines().count(), rows.len());
    let number = |row: &Value, figure: &str| row[figure].as_u64().expect("a number");
    for row in rows {
        if row["outcome"] == "skipped" {
            assert_eq!(row["name"], "full-disk", "only this needs leave of the machine: {row}");
            continue;
        }
        assert_eq!(row["outcome"], "equal", "{row}");
        assert_eq!(row["accepted"], row["counted"], "{row}");
        assert_eq!(number(row, "sent"), number(row, "repeats") + number(row, "accepted"), "{row}");
        assert!(number(row, "accepted") > 10_000 && number(row, "repeats") > 0, "{row}");
        assert!(!row["done"].as_array().expect("a list").is_empty(), "{row}");
    }
    for figure in ["sent", "repeats", "accepted", "counted"] {
        let sum: u64 = rows.iter().map(|row| row[figure].as_u64().unwrap_or(0)).sum();
        assert_eq!(number(&report, figure), sum);
    }
    assert_eq!((&report["equal"], &report["failed"]), (&Value::from(true), &Value::from(0)));
    assert!(took < LONGEST, "it took {took:?}");
    let left = std::fs::read_dir(scratch.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "it cleans up");
}
