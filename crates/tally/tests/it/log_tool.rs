//! `tally log`: sees what is there, names what is damaged, changes nothing; and the server says the
//! same of the same damage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::Tally;

const SMALL_SEGMENTS: [&str; 4] = ["--segment-bytes", "8MiB", "--log-compression", "none"];

/// A log of several segments in one partition, and a server that has stopped.
struct Stopped {
    dir: tempfile::TempDir,
    /// Segments of the partition that holds the events, oldest first.
    segments: Vec<PathBuf>,
}

impl Stopped {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let tally = Tally::start(dir.path(), &SMALL_SEGMENTS);
        let attributes: BTreeMap<_, _> =
            (0..16).map(|n| (n.to_string(), "x".repeat(256))).collect();
        let event = json!({"item": "a", "attributes": attributes});
        let large = Value::from(vec![event; 700]);
        for _ in 0..5 {
            assert_eq!(tally.send_json(&large).json()["accepted"], 700);
        }
        // Each says in its batch that what is before it is durable.
        for _ in 0..3 {
            assert_eq!(tally.send_json(&json!({"item": "a"})).status, 202);
        }
        assert_eq!(tally.stop(), Some(0));
        let all = (0..2).map(|n| segments(&dir.path().join("log").join(n.to_string())));
        let segments = all.max_by_key(Vec::len).expect("two partitions");
        assert!(segments.len() > 2, "{segments:?}");
        Self { dir, segments }
    }

    /// Flips a bit in the middle of a segment's first half, where there are batches for sure.
    fn flip(&self, segment: &Path) {
        let mut bytes = fs::read(segment).expect("it is there");
        bytes[1 << 20] ^= 4;
        fs::write(segment, bytes).expect("it can be written");
    }

    /// Runs a command of `tally log` on the folder and checks that this changes nothing.
    fn log(&self, args: &[&str]) -> Output {
        let before = contents(&self.dir.path().join("log"));
        let output = log(self.dir.path(), args);
        assert!(before == contents(&self.dir.path().join("log")), "nothing was changed");
        output
    }

    /// The only finding of `tally log verify`.
    fn verify_one(&self, kind: &str, status: i32) -> Value {
        let output = self.log(&["verify", "--json"]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("a list").clone();
        assert_eq!(findings.len(), 1, "{report}");
        assert_eq!(findings[0]["kind"], kind, "{report}");
        findings[0].clone()
    }
}

fn log(data_dir: &Path, args: &[&str]) -> Output {
    log_command(data_dir, args).output().expect("the binary starts")
}

fn log_command(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.arg("log").args(args).arg("--data-dir").arg(data_dir).current_dir(data_dir);
    command
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    paths.sort_unstable();
    paths
}

/// All files below a folder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.append(&mut contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_flip_in_a_sealed_segment_stops_its_partition_in_the_words_of_verify() {
    let stopped = Stopped::new();
    stopped.flip(&stopped.segments[0]);
    let finding = stopped.verify_one("damage", 1);
    assert_eq!(finding["file"], stopped.segments[0].to_str().expect("a plain path"));
    let message = finding["message"].as_str().expect("a text");
    for part in ["at byte", "offset", "restore the data folder from a backup"] {
        assert!(message.contains(part), "{message}");
    }
    let shown = text(&stopped.log(&["verify"]).stdout);
    assert!(shown.contains(message) && shown.contains("damaged at 1 place"), "{shown}");

    let said = stopped.dir.path().join("said");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(stopped.dir.path())
        .current_dir(stopped.dir.path())
        .stdout(Stdio::piped())
        .stderr(File::create(&said).expect("a file"))
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it says where it listens");
    let addr = line.trim().strip_prefix("listening on http://").expect("an address");
    let tally = Tally { child, addr: addr.parse().expect("an address"), _stdout: stdout };
    let partition = &finding["partition"];
    let stopped_text = format!("partition {partition} has stopped");
    tally.wait_until("stopped", || {
        let answer = tally.get("/readyz");
        answer.status == 503 && text(&answer.body).contains(&stopped_text)
    });
    assert_eq!(tally.send_json(&json!({"item": "a"})).status, 503);
    assert_eq!(tally.stop(), Some(1), "it says that a partition had stopped");
    let said = fs::read_to_string(said).expect("what it said");
    assert!(said.contains(message), "{message}\n{said}");
}

#[test]
fn a_flip_in_the_active_segment_stops_the_start_in_the_words_of_verify() {
    let stopped = Stopped::new();
    let active = stopped.segments.last().expect("segments");
    stopped.flip(active);
    let finding = stopped.verify_one("damage", 1);
    assert_eq!(finding["file"], active.to_str().expect("a plain path"));
    let message = finding["message"].as_str().expect("a text");
    // How far records are known to have been durable, the start says from the checkpoint too.
    let (words, _) = message.split_once(" (records up to").expect("how far it was durable");
    let before = contents(&stopped.dir.path().join("log"));
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(stopped.dir.path())
        .output()
        .expect("the binary starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{words}\n{said}");
    assert!(said.contains(finding["reason"].as_str().expect("a text")), "{said}");
    let after = contents(&stopped.dir.path().join("log"));
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "nothing is cut");

    let dump = stopped.log(&["dump"]);
    assert_eq!(dump.status.code(), Some(1));
    assert!(text(&dump.stderr).contains(words), "{}", text(&dump.stderr));
    let dump = stopped.log(&["dump", "--skip-damaged"]);
    assert_eq!(dump.status.code(), Some(0));
    assert!(text(&dump.stderr).contains("skipped: "), "{}", text(&dump.stderr));
    let events = text(&dump.stdout).lines().filter(|line| line.contains(r#""item":"a""#)).count();
    assert_eq!(events, 4 * 700 + 3, "all but the damaged batch");
}

#[test]
fn a_torn_tail_is_no_damage_and_the_next_start_cuts_it() {
    let stopped = Stopped::new();
    let active = stopped.segments.last().expect("segments");
    let mut bytes = fs::read(active).expect("it is there");
    let end = bytes.len();
    bytes[end - 200..].fill(0xab);
    fs::write(active, bytes).expect("it can be written");
    let finding = stopped.verify_one("torn_tail", 0);
    assert!(finding["message"].as_str().expect("a text").contains("the next start cuts it"));
    assert!(text(&stopped.log(&["verify"]).stdout).contains("sound but for the torn tail"));
    let tally = Tally::start(stopped.dir.path(), &SMALL_SEGMENTS);
    assert_eq!(tally.count("a"), 3503);
    let output = log(stopped.dir.path(), &["verify", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["served"], &report["findings"]), (&json!(true), &json!([])));
    let events = report["partitions"].as_array().expect("rows").iter().map(|row| &row["events"]);
    assert_eq!(events.filter_map(Value::as_u64).sum::<u64>(), 3503);
}

#[test]
fn verify_beside_a_server_that_writes_finds_no_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &SMALL_SEGMENTS);
    let attributes = json!({"k": "x".repeat(256)});
    let events = Value::from(vec![json!({"item": "a", "attributes": attributes}); 500]);
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            for _ in 0..5 {
                let output = log(dir.path(), &["verify"]);
                assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
                assert!(text(&output.stdout).contains("a server has this folder open"));
            }
        });
        while !verifier.is_finished() {
            assert_eq!(tally.send_json(&events).status, 202);
        }
    });
}

#[test]
fn what_is_dumped_can_be_sent_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let events = json!([
        {"id": "1", "item": "a/\"ü", "value": 9_007_199.000_001, "attributes": {"z": "1", "b": "2"}},
        {"id": "0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f", "item": "a", "type": "like"},
        {"id": "3", "item": "a", "value": -0.5},
    ]);
    assert_eq!(tally.send_json(&events).json()["accepted"], 3);
    assert_eq!(tally.stop(), Some(0));
    let dump = log(dir.path(), &["dump"]).stdout;
    let lines: Vec<Value> = dump
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    let controls = lines.iter().filter(|line| line["control"]["dedup_minutes"] == 10).count();
    assert_eq!((lines.len(), controls), (7, 2), "control records in each partition");
    let week = 7 * 24 * 3_600_000;
    let kept = lines.iter().filter(|line| line["control"]["retention_minute_ms"] == week).count();
    assert_eq!(kept, 2);
    for event in events.as_array().expect("a list") {
        let found = lines.iter().find(|line| line["id"] == event["id"]).expect("it is dumped");
        for field in ["item", "value", "attributes"] {
            assert_eq!(found[field], event[field], "{found}");
        }
        assert!(found["offset"].is_u64() && found["append_time"].is_string(), "{found}");
    }
    assert!(text(&dump).contains(r#""attributes":{"b":"2","z":"1"}"#));
    let one = log(dir.path(), &["dump", "--from", "1", "--limit", "1"]).stdout;
    let one: Value = serde_json::from_slice(&one).expect("one line");
    assert_eq!(one["offset"], 1);

    let other = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(other.path(), &[]);
    let file = other.path().join("dump.ndjson");
    fs::write(&file, &dump).expect("it can be written");
    let sent = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["send", "--json", "--url", &format!("http://{}", tally.addr)])
        .arg(&file)
        .env("XDG_STATE_HOME", other.path())
        .output()
        .expect("the binary starts");
    let summary: Value = serde_json::from_slice(&sent.stdout).expect("JSON");
    assert_eq!((&summary["accepted"], &summary["refused"]), (&json!(3), &json!(4)), "{summary}");
    tally.wait_until("counted", || {
        tally.count("a") == 1 && tally.get("/v1/items/a/count?type=like").json()["count"] == 1
    });
}

#[test]
fn a_closed_pipe_ends_a_dump_well() {
    let stopped = Stopped::new();
    let mut child = log_command(stopped.dir.path(), &["dump"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a line");
    drop(stdout);
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn wrong_usage_is_told_from_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = log(dir.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("holds no log"));
    assert_eq!(Tally::start(dir.path(), &[]).stop(), Some(0));
    assert_eq!(log(dir.path(), &["verify", "--partition", "1"]).status.code(), Some(0));
    assert_eq!(log(dir.path(), &["verify", "--partition", "2"]).status.code(), Some(2));
    assert_eq!(log(dir.path(), &["dump", "--to", "1", "--limit", "1"]).status.code(), Some(2));
    fs::remove_dir_all(dir.path().join("log/1")).expect("it is there");
    let output = log(dir.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(1), "a lost partition: {}", text(&output.stdout));
    let meta = dir.path().join("log/log.meta");
    fs::write(&meta, b"broken").expect("it can be written");
    let output = log(dir.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("log.meta"));
}
