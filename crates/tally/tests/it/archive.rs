//! The archive from outside: files when an hour is over, one owner, or none at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Tally;

fn raw_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { raw_files(&path) } else { vec![path] }).collect()
}

fn count(tally: &Tally) {
    assert_eq!(tally.post("/v1/items/a/events", "", b"").status, 202);
}

fn archived_offsets(tally: &Tally) -> Vec<Option<u64>> {
    let answer = tally.get("/v1/admin/partitions").json();
    let rows = answer["partitions"].as_array().expect("a list");
    rows.iter().map(|row| row["archived_offset"].as_u64()).collect()
}

fn metrics(tally: &Tally) -> String {
    String::from_utf8(tally.get("/metrics").body).expect("metrics are text")
}

fn serve(data_dir: &Path, archive: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["serve", "--listen", "127.0.0.1:0", "--archive", archive, "--data-dir"])
        .arg(data_dir)
        .output()
        .expect("the binary starts")
}

#[test]
fn an_hour_that_is_over_is_a_file_after_a_kill_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = dir.path().join("clock");
    let start = |hours: i64| {
        std::fs::write(&clock, (hours * 3_600_000).to_string()).expect("a file");
        Tally::start(dir.path(), &["--drill-clock", clock.to_str().expect("a plain path")])
    };
    let archive = dir.path().join("archive");
    let mut tally = start(0);
    count(&tally);
    assert_eq!(archived_offsets(&tally), [Some(0), Some(0)]);
    tally.child.kill().expect("it runs");
    drop(tally);
    assert!(raw_files(&archive.join("raw")).is_empty());

    let tally = start(2);
    tally.wait_until("archived", || raw_files(&archive.join("raw")).len() == 2);
    // Two control records for each partition, and the event.
    let archived = || archived_offsets(&tally).into_iter().flatten().sum::<u64>();
    tally.wait_until("told", || archived() == 5);
    let metrics = metrics(&tally);
    for line in [
        "tally_archive_files_total 2",
        "tally_archive_errors_total 0",
        "tally_archive_lag_events{partition=\"0\"} 2.0",
        "tally_archive_stopped{partition=\"1\"} 0.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
}

#[test]
fn an_archive_belongs_to_one_data_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("shared");
    let archive = archive.to_str().expect("a plain path");
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    std::fs::create_dir(&one).expect("a folder");
    drop(Tally::start(&one, &["--archive", archive]));
    drop(Tally::start(&one, &["--archive", archive]));
    let refused = serve(&other, archive);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("belongs to the data folder") && said.contains("--archive"), "{said}");
}

#[test]
fn no_archive_is_no_file_and_no_offset() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &["--archive", "none"]);
    count(&tally);
    assert_eq!(archived_offsets(&tally), [None, None]);
    assert!(!metrics(&tally).contains("tally_archive"));
    assert!(!dir.path().join("archive").exists());
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_how_to_get_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = serve(dir.path(), "s3://bucket/prefix");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--features s3"), "{said}");
}
