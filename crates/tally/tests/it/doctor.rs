//! `tally doctor`: what is well is said to be, what would hurt is named, nothing is changed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::Tally;

fn doctor(dir: &Path, flags: &[&str]) -> Output {
    let listen = ["--listen", "127.0.0.1:0"];
    let listen = if flags.contains(&"--listen") { &[][..] } else { &listen[..] };
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["doctor", "--data-dir"])
        .arg(dir)
        .args(listen)
        .args(flags)
        .current_dir(dir.parent().expect("a folder"))
        .output()
        .expect("the binary starts")
}

/// The verdict on one thing, in what is printed as JSON.
fn verdict(output: &Output, check: &str) -> String {
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = report["checks"].as_array().expect("a list").iter();
    let found = checks.clone().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no check {check} in {report}"));
    found["verdict"].as_str().expect("a word").to_owned()
}

#[test]
fn a_folder_is_looked_at_before_and_while_a_server_has_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let dir = scratch.path().join("data");
    let before = doctor(&dir, &["--json"]);
    assert!(!dir.exists(), "it makes nothing");
    for check in ["settings", "clock", "data_folder", "lock", "format", "address", "keys"] {
        assert_eq!(verdict(&before, check), "good", "{check}");
    }
    std::fs::create_dir(&dir).expect("a folder");
    let server = Tally::start(&dir, &[]);
    let address = server.addr.to_string();
    let beside = doctor(&dir, &["--json", "--listen", &address]);
    for check in ["address", "lock", "format", "clock"] {
        assert_eq!(verdict(&beside, check), "good", "{check}");
    }
    assert!(String::from_utf8_lossy(&beside.stdout).contains("a server has the folder (pid "));
    assert!(verdict(&beside, "fsync") != "problem");
    // Another folder cannot have the same address.
    let other = doctor(&scratch.path().join("other"), &["--json", "--listen", &address]);
    assert_eq!((verdict(&other, "address").as_str(), other.status.code()), ("problem", Some(1)));
}

#[test]
fn what_would_hurt_is_a_problem_and_status_one() {
    let scratch = tempfile::tempdir().expect("a folder");
    let dir = scratch.path().join("data");
    std::fs::create_dir_all(dir.join("log")).expect("a folder");
    std::fs::write(dir.join("log/log.meta"), b"not what was written").expect("a file");
    let damaged = doctor(&dir, &["--json"]);
    assert_eq!((verdict(&damaged, "format").as_str(), damaged.status.code()), ("problem", Some(1)));
    let text = doctor(&dir, &[]);
    let said = String::from_utf8_lossy(&text.stdout);
    assert_eq!(text.status.code(), Some(1), "{said}");
    assert!(said.contains("PROBLEM") && said.contains("there is a problem"), "{said}");
    let setting = doctor(&dir, &["--json", "--dedup-window", "90s"]);
    assert_eq!(verdict(&setting, "settings"), "problem");
    let said = String::from_utf8_lossy(&setting.stdout);
    assert!(said.contains("dedup_window"), "{said}");
}
