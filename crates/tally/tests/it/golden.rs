//! What an earlier program wrote is read for ever, and what a later one wrote is refused in words.
//!
//! `tests/golden/data-1.tar.gz` is a data folder with everything of format 1 in it: log segments whose end was
//! not counted when the process was killed, rows, checkpoints, item details, cold days and a backup.
//! `data-2.tar.gz`, see `golden/routed.rs`, is one whose `log.meta` is of format 2. They are never made anew: the
//! next format gets a folder beside them, made by `cargo test -p tally --test it golden::make -- --ignored`.

mod routed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, Tally};

/// With them the first of November is cold, as its hours are no longer kept.
const FLAGS: [&str; 12] = [
    "--max-event-age",
    "40y",
    "--retention-minute",
    "2h",
    "--retention-hour",
    "3d",
    "--segment-bytes",
    "8MiB",
    "--audit-interval",
    "off",
    "--recount-interval",
    "off",
];

const LONG: [&str; 8] = [
    "--max-event-age",
    "40y",
    "--retention-minute",
    "40y",
    "--retention-hour",
    "40y",
    "--segment-bytes",
    "8MiB",
];

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn run(args: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_tally")).args(args).output();
    command.expect("the binary starts")
}

/// As [`run`], of what may serve for ever where it should end.
fn run_to_its_end(args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let begun = Instant::now();
    while child.try_wait().expect("it runs").is_none() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Where it ended this does nothing.
    let _ = child.kill();
    child.wait_with_output().expect("it ended")
}

fn tar(args: &[&str], dir: &Path) {
    let done = Command::new("tar").args(args).current_dir(dir).status().expect("tar runs");
    assert!(done.success());
}

/// A copy of the first golden folder: `data` and `backup`.
fn unpacked() -> tempfile::TempDir {
    unpacked_of("data-1.tar.gz")
}

fn unpacked_of(file: &str) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a folder");
    let archive = golden(file);
    tar(&["xzf", archive.to_str().expect("a path")], scratch.path());
    scratch
}

/// Events before and after the backup. The second half is in the log alone when the process is killed.
fn events(half: usize) -> Value {
    let ids = half * 10..half * 10 + 10;
    let event = |n: usize| {
        let day = if n.is_multiple_of(2) { "01" } else { "19" };
        let time = format!("2026-11-{day}T10:00:{n:02}Z");
        json!({"id": format!("e{n}"), "item": format!("item/{}", n % 3), "time": time,
               "value": n as f64 + 0.25, "attributes": {"country": "DE"}})
    };
    ids.map(event).collect()
}

fn stamped(tally: &Tally, sequence: u64) -> u64 {
    let body = r#"[{"item":"stamped","time":"2026-11-19T12:00:00Z"}]"#;
    let headers = format!(
        "content-type: application/json\r\ntally-source: golden\r\ntally-sequence: {sequence}\r\n"
    );
    let answer = tally.post("/v1/events", &headers, body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.json()["accepted"].as_u64().expect("a number")
}

fn cold_events(tally: &Tally, item: &str) -> u64 {
    let path =
        format!("/v1/items/{item}/explain?start=2026-11-01T00:00:00Z&end=2026-11-02T00:00:00Z");
    tally.get(&path).json()["cold"]["count"].as_u64().expect("a count")
}

#[test]
#[ignore = "makes the folder of a new format; the others are never made anew"]
fn make() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (data, backup) = (scratch.path().join("data"), scratch.path().join("backup"));
    fs::create_dir(&data).expect("a folder");
    // Hours first, which go to cold files once they are no longer kept.
    let tally = Tally::start(&data, &LONG);
    assert_eq!(tally.send_json(&events(0)).json()["accepted"], 10);
    assert_eq!(stamped(&tally, 7), 1);
    assert_eq!(tally.stop(), Some(0));
    let flushing = [&FLAGS[..], &["--flush-interval", "100ms"]].concat();
    let tally = Tally::start(&data, &flushing);
    let details = r#"{"title":"The first","channel":"golden","attributes":{"length":"12"}}"#;
    let head = format!(
        "PUT /v1/items/item%2F0 HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{details}",
        details.len()
    );
    assert!(tally.raw(head.as_bytes()).status < 300);
    tally.wait_until("cold", || cold_events(&tally, "item%2F0") > 0);
    let url = format!("http://{}", tally.addr);
    let taken = run(&["backup", backup.to_str().expect("a path"), "--url", &url]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(tally.stop(), Some(0));
    // This one flushes nothing before it is killed.
    let tally = Tally::start(&data, &[&FLAGS[..], &["--flush-interval", "10m"]].concat());
    assert_eq!(tally.send_json(&events(1)).json()["accepted"], 10);
    drop(tally);
    keep(scratch.path(), "data-1.tar.gz", &["data", "backup"]);
}

/// Makes a golden file of folders.
fn keep(scratch: &Path, file: &str, folders: &[&str]) {
    fs::create_dir_all(golden("")).expect("a folder");
    let made = scratch.join("made.tar.gz");
    let args = ["--sparse", "-czf", made.to_str().expect("a path")];
    tar(&[&args[..], folders].concat(), scratch);
    fs::copy(made, golden(file)).expect("a copy");
}

#[test]
fn a_data_folder_of_format_1_is_read() {
    let scratch = unpacked();
    let data = scratch.path().join("data");
    let verified = run(&["log", "verify", "--data-dir", data.to_str().expect("a path")]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let tally = Tally::start(&data, &FLAGS);
    let counts: Vec<u64> = (0..3).map(|n| tally.count(&format!("item%2F{n}"))).collect();
    assert_eq!(counts, [7, 7, 6]);
    let days = "/v1/items/item%2F0/stats?step=day&start=2026-11-01T00:00:00Z&end=2026-11-20T00:00:00Z&function=count,sum,min,max";
    let stats = tally.get(days).json();
    // 0, 6, 12 and 18 on the first, 3, 9 and 15 on the nineteenth, a quarter more each.
    assert_eq!(stats["total"], json!({"count": 7, "sum": 64.75, "min": 0.25, "max": 18.25}));
    let of_day = |day: usize| &stats["series"][day]["count"];
    assert_eq!((of_day(0), of_day(1), of_day(18)), (&json!(4), &json!(0), &json!(3)), "{stats}");
    assert!(cold_events(&tally, "item%2F0") > 0, "days of the archive are in it");
    let details = tally.get("/v1/items/item%2F0").json();
    assert_eq!((&details["title"], &details["channel"]), (&json!("The first"), &json!("golden")));
    // It goes on from there.
    assert_eq!(stamped(&tally, 1_000), 1);
    tally.wait_until("counted", || tally.count("stamped") == 2);
    assert_eq!(tally.stop(), Some(0));
}

#[test]
fn a_backup_of_format_1_is_restored() {
    let scratch = unpacked();
    let (backup, data) = (scratch.path().join("backup"), scratch.path().join("restored"));
    let (from, to) = (backup.to_str().expect("a path"), data.to_str().expect("a path"));
    let restored = run(&["restore", from, "--data-dir", to]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let tally = Tally::start(&data, &FLAGS);
    let counts: Vec<u64> = (0..3).map(|n| tally.count(&format!("item%2F{n}"))).collect();
    assert_eq!((counts, tally.count("stamped")), (vec![4, 3, 3], 1));
}

/// CRC32C (Castagnoli), bit by bit: the test has nothing of the code that it is about.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc: u32, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// Raises the version in a file's header, whose checksum stands at its end.
fn raise_version(path: PathBuf, version: u8, header: usize) -> PathBuf {
    let mut bytes = fs::read(&path).expect("the file");
    bytes[8] = version;
    let crc = crc32c(&bytes[..header - 4]);
    bytes[header - 4..header].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    path
}

fn raise_text(path: PathBuf, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(&path).expect("the file");
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).expect("written");
    path
}

/// Writes another version into the metadata of a Parquet file, whose footer has no checksum.
fn raise_parquet(path: PathBuf, version: u8) -> PathBuf {
    let mut bytes = fs::read(&path).expect("the file");
    // Key and value stand side by side: a text is its kind, its length and its bytes.
    let pair = b"tally.format\x18\x01";
    let at = bytes.windows(pair.len()).position(|bytes| bytes == pair).expect("a version");
    bytes[at + pair.len()] = version;
    fs::write(&path, bytes).expect("written");
    path
}

/// As a program that wrote no version yet would have left it.
fn without_version(path: &Path) {
    let mut bytes = fs::read(path).expect("the file");
    let key = b"tally.format";
    let at = bytes.windows(key.len()).position(|bytes| bytes == key).expect("a version");
    bytes[at..at + key.len()].copy_from_slice(b"other.format");
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_cold_file_that_says_no_version_is_of_the_first() {
    let scratch = unpacked();
    let data = scratch.path().join("data");
    without_version(&data.join("archive/counters/day-2026-11-01.parquet"));
    let tally = Tally::start(&data, &FLAGS);
    assert!(cold_events(&tally, "item%2F0") > 0, "days of the archive are in it");
}

fn newest_segment(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("log/0")).expect("a partition");
    let files = files.map(|file| file.expect("a file").path());
    let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    segments.max().expect("a segment")
}

#[test]
fn files_of_a_later_format_stop_the_start_and_are_left_as_they_are() {
    // Changes a file, and says which.
    type Change = fn(&Path) -> PathBuf;
    let changes: [Change; 5] = [
        |data| raise_version(data.join("log/log.meta"), 3, 16),
        |data| raise_version(newest_segment(data), 2, 48),
        |data| {
            fs::write(data.join("keys.json"), r#"{"version":2,"keys":[]}"#).expect("written");
            data.join("keys.json")
        },
        |data| {
            let manifest = data.join("archive/counters/manifest");
            raise_text(manifest, "tally counters 1\n", "tally counters 2\n")
        },
        |data| raise_parquet(data.join("archive/counters/day-2026-11-01.parquet"), b'2'),
    ];
    for change in changes {
        let scratch = unpacked();
        let data = scratch.path().join("data");
        refuses_to_start(&data, &change(&data));
    }
}

/// That a file stops the start, which says which file, what it found and what it knows, and leaves the
/// file alone.
fn refuses_to_start(data: &Path, changed: &Path) {
    let before = fs::read(changed).expect("the file");
    let path = data.to_str().expect("a path");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", path];
    let started = run_to_its_end(&[&args[..], &FLAGS].concat());
    let said = String::from_utf8_lossy(&started.stderr);
    let name = changed.file_name().and_then(|name| name.to_str()).expect("a name");
    let changed_name = changed.display();
    assert_eq!(started.status.code(), Some(1), "{changed_name}: {said}");
    let found = ["format 2", "format 3", "version 2"].iter().any(|words| said.contains(words));
    let is_clear = said.contains(name) && found && said.contains("this program knows only");
    assert!(is_clear, "{changed_name}: {said}");
    let after = fs::read(changed).expect("the file");
    assert!(after == before, "{changed_name} was changed");
}

#[test]
fn a_backup_of_a_later_format_is_not_restored() {
    let scratch = unpacked();
    let (backup, data) = (scratch.path().join("backup"), scratch.path().join("restored"));
    let manifest = backup.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let (_, sealed) = text.split_once("\"manifest\":").expect("a manifest");
    let inner = sealed.trim_end().strip_suffix('}').expect("a brace");
    let later = inner.replacen("\"format\":1", "\"format\":2", 1);
    assert_ne!(later, inner);
    let crc = crc32c(later.as_bytes());
    let text = format!("{{\"crc32c\":\"{crc:08x}\",\"manifest\":{later}}}");
    fs::write(&manifest, text).expect("written");
    let (from, to) = (backup.to_str().expect("a path"), data.to_str().expect("a path"));
    let refused = run(&["restore", from, "--data-dir", to]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("format 2") && !data.exists(), "{said}");
}
