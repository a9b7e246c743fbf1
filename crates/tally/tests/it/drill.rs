//! `tally drill` can fail: a server that counts an event too many, and one that forgets, are found
//! out and the item is named. And it ends its servers, however it ends itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, Tally};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
/// The most frequent item of made-up events.
const ITEM: &str = "lXwCQ0hFSaF";

/// A program that does something with its data folder before it is `tally`.
fn program(dir: &Path, with_folder: &str) -> PathBuf {
    let path = dir.join("program");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = serve ]; then\n  for word; do\n    \
         if [ \"$before\" = --data-dir ]; then {with_folder}; fi\n    before=$word\n  done\nfi\n\
         exec {TALLY} \"$@\"\n"
    );
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner may");
    path
}

fn drill(scratch: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(TALLY);
    command.args(["drill", "--seed", "7", "--scratch"]).arg(scratch).args(args);
    command
}

fn run(scratch: &Path, program: &Path, args: &[&str]) -> Output {
    drill(scratch, args).arg("--program").arg(program).output().expect("the drill starts")
}

#[test]
fn a_server_that_counts_one_too_many_is_found_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let template = dir.path().join("template");
    fs::create_dir(&template).expect("a folder");
    let tally = Tally::start(&template, &[]);
    assert_eq!(tally.send_json(&json!({"item": ITEM})).status, 202);
    assert_eq!(tally.stop(), Some(0));
    let begin = format!("[ -e \"$word\" ] || cp -r {} \"$word\"", template.display());
    let program = program(dir.path(), &begin);

    let output = run(dir.path(), &program, &["--only", "second-server", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let row = &report["scenarios"][0];
    assert_eq!((&report["equal"], &row["outcome"]), (&json!(false), &json!("failed")), "{report}");
    let accepted = row["accepted"].as_u64().expect("a number");
    assert_eq!(row["counted"], accepted + 1);
    let mismatches = row["mismatches"].as_array().expect("a list");
    let [mismatch] = mismatches.as_slice() else { panic!("one counter differs: {report}") };
    assert_eq!((&mismatch["item"], &mismatch["type"]), (&json!(ITEM), &json!("view")));
    let expected = mismatch["expected"]["count"].as_u64().expect("a number");
    assert_eq!(mismatch["got"]["count"], expected + 1);
    assert_eq!(row["replay"], "tally drill --seed 7 --only second-server --keep");

    let output = run(dir.path(), &program, &["--only", "second-server"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    let named = format!("item {ITEM}, type view: expected {expected} ");
    for part in [&named, "FAILED: 1 of 1 scenarios", "tally drill --seed 7 --only second-server"] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = program(dir.path(), "rm -rf \"$word\"");
    let output = run(dir.path(), &program, &["--only", "torn-tail"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("item ") && printed.contains("FAILED"), "{printed}");
    assert!(!printed.contains("Nothing lost"), "{printed}");
}

#[test]
fn a_program_that_is_no_server_fails_and_does_not_hang() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(dir.path(), Path::new("/bin/false"), &["--only", "lost-answers"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("the server did not start"), "{printed}");
}

#[test]
fn wrong_usage_is_told() {
    let output = Command::new(TALLY).args(["drill", "--only", "picnic"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("picnic"), "{said}");
}

/// The process id in the lock of the drill's server, once it serves.
fn server_pid(scratch: &Path) -> Option<String> {
    let folder = fs::read_dir(scratch).ok()?.next()?.ok()?.path();
    let said = fs::read_to_string(folder.join("load/server.log")).ok()?;
    let pid = fs::read_to_string(folder.join("load/data/lock")).ok()?;
    (said.contains("try it") && pid.ends_with('\n')).then(|| pid.trim().to_owned())
}

#[test]
fn an_interrupted_drill_ends_its_server_and_cleans_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let child = drill(dir.path(), &["--only", "load"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the drill starts");
    let begun = Instant::now();
    let server = loop {
        if let Some(pid) = server_pid(dir.path()) {
            break pid;
        }
        assert!(begun.elapsed() < PATIENCE, "no server was started");
        std::thread::yield_now();
    };
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    let is_gone = || {
        // A process that nobody has waited for yet is dead all the same.
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !is_gone() {
        assert!(begun.elapsed() < PATIENCE, "the server goes on");
        std::thread::yield_now();
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "it cleans up");
}
