//! Backpressure: the counter store takes nothing for 60 s under full load. Nothing is refused, memory
//! stays under its bound, and with room again all that was accepted is counted, once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::{Server, TALLY};
use super::small_disk::SmallDisk;

/// How long the store is away; `TALLY_TEST_OUTAGE_SECONDS` makes it shorter.
const OUTAGE_SECONDS: u64 = 60;
/// The load goes on when the store is there again.
const LOAD_LONGER: u64 = 5;
/// A store refuses flushes below 576 MiB of room. What it does beside them goes on in what is left.
const STORE_BYTES: u64 = 1536 << 20;
const LEFT_BYTES: u64 = 384 << 20;
/// Most resident memory while the store is away: bodies, queues, the newest batches, and the counters
/// that a partition may hold in memory. The events of the outage alone are several times as much.
const MEMORY_AWAY: u64 = 1 << 30;
/// Memory for the ids, which fill it when it catches up.
const DEDUP_MEMORY: u64 = 2 << 30;
/// The load ends early on a machine so fast that its ids would come near that, or its log to 10 GB.
const EVENTS_MAX: u64 = 56_000_000;
/// Room that the log may take, and with it the test.
const DATA_BYTES: u64 = 10 << 30;
/// How long catching up may take; how fast it is, is not this test's business.
const PATIENCE: &str = "15m";
/// Different items, so many that a minute's counters exceed what memory may hold.
const ITEMS: u32 = 100_000;

/// Why it cannot be tried here, if so.
fn hindrance(scratch: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(scratch).expect("the folder is there");
    let free = disk.f_bavail * disk.f_frsize;
    if free < DATA_BYTES {
        return Some(format!("it takes {} GiB, {} are free", DATA_BYTES >> 30, free >> 30));
    }
    let needed = STORE_BYTES + DEDUP_MEMORY + 2 * MEMORY_AWAY;
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = kibibytes(&info, "MemAvailable:").unwrap_or(0);
    (available < needed).then(|| {
        let (needed, available) = (needed >> 20, available >> 20);
        format!("it takes {needed} MiB of memory, {available} are available")
    })
}

/// A figure of a file in `/proc` in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Most memory that the process ever had resident, in bytes.
fn peak_memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    kibibytes(&status.expect("the server lives"), "VmHWM:").expect("a size")
}

fn partitions(server: &Server) -> Vec<Value> {
    let text = server.get("/v1/admin/partitions").expect("it answers");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["partitions"].as_array().expect("a list").clone()
}

fn figures(partitions: &[Value], name: &str) -> Vec<u64> {
    partitions.iter().map(|partition| partition[name].as_u64().expect("a number")).collect()
}

fn load(server: &Server, seconds: u64) -> Child {
    Command::new(TALLY)
        .args(["load", "--json", "--connections", "4", "--batch", "1000"])
        .args(["--items", &ITEMS.to_string(), "--events", &EVENTS_MAX.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--url", &server.url])
        // Every counter is asked for and compared with what was accepted, once all is counted.
        .args(["--verify", "--patience", PATIENCE])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the load starts")
}

/// The store without room for the time of the outage; none of its checkpoints moves meanwhile.
fn outage(server: &Server, disk: &SmallDisk, seconds: u64) {
    let ballast = disk.fill(server.pid(), LEFT_BYTES);
    let begun = Instant::now();
    // A flush that had been let in may end.
    std::thread::sleep(Duration::from_secs(2).min(Duration::from_secs(seconds) / 4));
    let before = partitions(server);
    let end = Duration::from_secs(seconds);
    while begun.elapsed() < end {
        std::thread::sleep(end.saturating_sub(begun.elapsed()).min(Duration::from_millis(500)));
        let peak = peak_memory(server);
        assert!(peak < MEMORY_AWAY, "{} MiB resident without a store", peak >> 20);
        assert!(server.get("/readyz").is_some(), "it accepts and answers");
    }
    let after = partitions(server);
    let checkpoints = |partitions: &[Value]| figures(partitions, "checkpoint_offset");
    assert_eq!(checkpoints(&before), checkpoints(&after), "the store took flushes");
    for age in figures(&after, "checkpoint_age_ms") {
        assert!(age + 3_000 >= seconds * 1000, "{age} ms since a flush, in {seconds} s without");
    }
    let (durable, checkpoint) = (figures(&after, "durable_offset"), checkpoints(&after));
    let kept: u64 = durable.iter().zip(&checkpoint).map(|(durable, at)| durable - at).sum();
    let waiting: u64 = figures(&after, "lag_events").iter().sum();
    println!(
        "{seconds} s without a store: {kept} events only in the log, {waiting} of them not counted in \
         memory, {} MiB resident at the peak",
        peak_memory(server) >> 20
    );
    assert!(waiting > 0, "the load does not exceed what memory may hold: nothing was tried");
    drop(ballast);
}

#[test]
fn a_store_that_is_away_under_load_costs_no_event_and_no_memory() {
    let seconds = std::env::var("TALLY_TEST_OUTAGE_SECONDS");
    let seconds = seconds.map_or(OUTAGE_SECONDS, |text| text.parse().expect("whole seconds"));
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    // fjall moves a new store to its place, which a mounted folder does not allow: made before.
    assert!(Server::start(&data_dir, &[]).stop(), "an empty server stops well");
    let disk = hindrance(scratch.path())
        .map_or_else(|| SmallDisk::on(&data_dir.join("store"), STORE_BYTES), Err);
    let disk = match disk {
        Ok(disk) => disk,
        Err(reason) => return println!("SKIPPED: this machine does not allow it: {reason}"),
    };
    let dedup_memory = DEDUP_MEMORY.to_string();
    let flags =
        ["--flush-interval", "1s", "--dedup-memory", &dedup_memory, "--audit-interval", "off"];
    let server = Server::start_as(disk.command(TALLY), 0, &data_dir, &flags);
    let load = load(&server, seconds + LOAD_LONGER);
    server.wait_for("the store takes flushes", || {
        figures(&partitions(&server), "checkpoint_offset").iter().all(|offset| *offset > 1000)
    });
    outage(&server, &disk, seconds);
    let output = load.wait_with_output().expect("the load ends");
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let accepted = report["accepted"].as_u64().expect("a number");
    println!("{accepted} events accepted, {} MiB resident at the peak", peak_memory(&server) >> 20);
    for figure in ["rejected", "unknown", "retries"] {
        assert_eq!(report[figure], 0, "nothing was refused: {report}");
    }
    assert_eq!(report["errors"], serde_json::json!({}), "{report}");
    assert_eq!(figures(&partitions(&server), "lag_events").iter().sum::<u64>(), 0, "no lag");
    let metric = |name| server.metric(name) as u64;
    assert_eq!(metric("tally_events_accepted_total"), accepted);
    assert_eq!(metric("tally_events_counted_total"), accepted, "counted");
    assert_eq!(metric("tally_events_duplicate_total"), 0);
    assert_eq!(metric("tally_dead_letters_total"), 0);
    let bound = DEDUP_MEMORY + MEMORY_AWAY;
    assert!(peak_memory(&server) < bound, "{} MiB resident", peak_memory(&server) >> 20);
    assert!(server.stop(), "SIGTERM ends it with status 0");
}
