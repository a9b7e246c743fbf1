//! Backups of a running server: under load, broken off by `kill -9`, damaged, and restored.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Tally;

/// Small files, so that there are many, and rows in the store early.
const FLAGS: [&str; 4] = ["--segment-bytes", "8MiB", "--flush-interval", "100ms"];
const BATCH: u64 = 500;

fn run(command: &str, args: &[&str], url: &str) -> Output {
    let mut run = Command::new(env!("CARGO_BIN_EXE_tally"));
    run.arg(command).args(args).env("TALLY_URL", url).env_remove("TALLY_DATA_DIR");
    run.output().expect("the binary starts")
}

fn backup(tally: &Tally, folder: &Path) -> Output {
    run("backup", &[text(folder), "--json"], &format!("http://{}", tally.addr))
}

fn restore(folder: &Path, data_dir: &Path) -> Output {
    run("restore", &[text(folder), "--json", "--data-dir", text(data_dir)], "")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is text")
}

fn begin(tally: &Tally, folder: &Path) -> super::Answer {
    let body = json!({ "folder": text(folder) }).to_string();
    tally.post("/v1/admin/backups", "content-type: application/json\r\n", body.as_bytes())
}

/// Sends until it is told to stop; an item for each batch, whose number is its place.
fn send(tally: &Tally, sent: &AtomicU64, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        let events: Vec<Value> = (0..BATCH)
            .map(|n| json!({"item": format!("batch-{number}"), "id": n.to_string()}))
            .collect();
        assert_eq!(tally.send_json(&Value::from(events)).json()["accepted"], BATCH);
        sent.store(number + 1, Ordering::Release);
    }
}

/// The restored folder holds every batch from the first on, whole, up to one after those before.
fn assert_prefix(data_dir: &Path, before: u64, after: u64, epoch: u64) {
    let tally = Tally::start(data_dir, &FLAGS);
    let counts: Vec<u64> = (0..=after).map(|n| tally.count(&format!("batch-{n}"))).collect();
    let whole = counts.iter().take_while(|count| **count == BATCH).count();
    assert!(whole as u64 >= before, "{whole} batches of {before} acknowledged before the backup");
    assert!(counts[whole..].iter().all(|count| *count == 0), "nothing in part: {counts:?}");
    let metrics = tally.get("/v1/admin/partitions").json();
    let epochs = metrics["partitions"].as_array().expect("a list").iter();
    assert!(epochs.clone().all(|partition| partition["log_epoch"] == epoch), "a new epoch each");
    assert_eq!(tally.stop(), Some(0));
    let verified = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["log", "verify", "--data-dir", text(data_dir)])
        .output()
        .expect("the binary starts");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_backup_under_load_is_restored_to_what_was_acknowledged_before_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    fs::create_dir(&data_dir).expect("a folder");
    let tally = Tally::start(&data_dir, &FLAGS);
    let (sent, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let (folder, before) = std::thread::scope(|scope| {
        scope.spawn(|| send(&tally, &sent, &ends));
        tally.wait_until("under load", || sent.load(Ordering::Acquire) > 40);
        let before = sent.load(Ordering::Acquire);
        let folder = scratch.path().join("backup");
        let output = backup(&tally, &folder);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["state"], "done");
        assert!(sent.load(Ordering::Acquire) > before, "the server goes on meanwhile");
        ends.store(true, Ordering::Relaxed);
        (folder, before)
    });
    let after = sent.load(Ordering::Acquire);
    // Not into the same one, not into what is no new place, not into what it copies.
    for (taken, code) in [
        (folder.as_path(), "invalid_folder"),
        (Path::new("relative"), "invalid_folder"),
        (&data_dir.join("inner"), "invalid_folder"),
    ] {
        let refused = begin(&tally, taken);
        assert_eq!((refused.status, refused.code().as_str()), (422, code), "{taken:?}");
    }
    let json = "content-type: application/json\r\n";
    let odd = tally.post("/v1/admin/backups", json, b"{\"dir\":1}");
    assert_eq!((odd.status, odd.code().as_str()), (400, "invalid_json"));
    // The lock of the folder is held: the offline way is refused, with a reason.
    let other = scratch.path().join("other");
    let output = run("backup", &[text(&other), "--data-dir", text(&data_dir)], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"));
    assert_eq!(tally.stop(), Some(0));
    let output = run("backup", &[text(&other), "--data-dir", text(&data_dir), "--json"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let restored = scratch.path().join("restored");
    assert!(restore(&folder, &restored).status.success());
    assert_prefix(&restored, before, after, 2);
    let again = restore(&folder, &restored);
    assert_eq!(again.status.code(), Some(1), "never over data");
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
    // That of the server that had stopped holds everything; opening it for that was a start.
    let all = scratch.path().join("all");
    assert!(restore(&other, &all).status.success());
    let tally = Tally::start(&all, &FLAGS);
    assert_eq!((0..after).filter(|n| tally.count(&format!("batch-{n}")) != BATCH).count(), 0);
}

#[test]
fn a_backup_that_kill_9_broke_off_is_none() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    fs::create_dir(&data_dir).expect("a folder");
    let mut tally = Tally::start(&data_dir, &FLAGS);
    let (sent, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| send(&tally, &sent, &ends));
        tally.wait_until("some data", || sent.load(Ordering::Acquire) > 40);
        ends.store(true, Ordering::Relaxed);
    });
    let acknowledged = sent.load(Ordering::Acquire);
    let mut broken_off = 0;
    for attempt in 0..6 {
        let folder = scratch.path().join(format!("backup-{attempt}"));
        assert_eq!(begin(&tally, &folder).status, 202);
        // Each time a little later.
        let pause = std::time::Duration::from_millis(attempt * attempt * 4);
        std::thread::sleep(pause);
        tally.child.kill().expect("it runs");
        tally.child.wait().expect("it ends");
        let target = scratch.path().join(format!("restored-{attempt}"));
        let restored = restore(&folder, &target);
        if restored.status.success() {
            // It was whole before the end came, and then it is good.
            // The server had started once for each attempt before.
            assert_prefix(&target, acknowledged, acknowledged, attempt + 2);
        } else {
            broken_off += 1;
            let said = String::from_utf8_lossy(&restored.stderr);
            assert!(said.contains("manifest.json"), "{said}");
            assert!(!target.exists() || fs::read_dir(&target).expect("a list").count() == 0);
        }
        tally = Tally::start(&data_dir, &FLAGS);
    }
    assert!(broken_off > 0, "no backup was broken off: nothing was tried");
    assert_eq!(
        (0..acknowledged).filter(|n| tally.count(&format!("batch-{n}")) != BATCH).count(),
        0
    );
}

#[test]
fn damage_in_a_backup_is_found_and_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    fs::create_dir(&data_dir).expect("a folder");
    let tally = Tally::start(&data_dir, &FLAGS);
    assert_eq!(tally.send_json(&json!({"item": "a"})).status, 202);
    let folder = scratch.path().join("backup");
    assert!(backup(&tally, &folder).status.success());
    let listed = tally.get("/v1/admin/backups").json();
    assert_eq!(listed["backups"][0]["state"], "done", "{listed}");
    let manifest = fs::read_to_string(folder.join("manifest.json")).expect("it is there");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let files = manifest["manifest"]["files"].as_array().expect("a list");
    let paths = files.iter().map(|file| file["path"].as_str().expect("a path"));
    let target = scratch.path().join("restored");
    for path in paths.chain(["manifest.json"]) {
        let file = folder.join(path);
        let bytes = fs::read(&file).expect("it is there");
        let Some(at) = bytes.len().checked_sub(1) else { continue };
        let mut flipped = bytes.clone();
        flipped[at / 2] ^= 1;
        fs::write(&file, flipped).expect("it can be written");
        let refused = restore(&folder, &target);
        assert_eq!(refused.status.code(), Some(1), "{path}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(path), "{path} is named");
        fs::write(&file, bytes).expect("it can be written");
    }
    assert!(restore(&folder, &target).status.success());
    let restored = Tally::start(&target, &FLAGS);
    assert_eq!(restored.count("a"), 1);
}
