//! Raw events as others read them: the counts that DuckDB and Spark find in the files are the
//! counts that the server answers with, repeats, kills and restarts included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::data::send;
use super::server::{Server, truth};

const NAME: &str = "nasa-1995-08-01";
/// The dedup window's default.
const MINUTES: &str = "10";

/// What a script beside this file prints of an archive.
fn outside(tool: &str, place: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = Command::new(root.join("scripts/outside")).arg(tool).output();
    let installed = installed.expect("the script runs");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "{tool} cannot be installed: {said}");
    let python = String::from_utf8_lossy(&installed.stdout).trim().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/outside");
    let script = script.join(format!("{tool}_counts.py"));
    let output = Command::new(python).arg(script).args([place, MINUTES]).output();
    let output = output.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} failed: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim().lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{tool} printed {text} and said {said}"))
}

/// A server whose clock is some hours ahead: an hour of append time is over as soon as it starts.
fn start(scratch: &Path, place: &str, hours: i64) -> Server {
    let clock = scratch.join("clock");
    std::fs::write(&clock, (hours * 3_600_000).to_string()).expect("a file");
    let clock = clock.to_str().expect("a path is text");
    let mut flags = vec!["--max-event-age", "40y", "--archive", place, "--drill-clock", clock];
    // Nothing else is counted.
    flags.extend(["--audit-interval", "off"]);
    Server::start(&scratch.join("data"), &flags)
}

/// The control records of a start.
const CONTROLS: u64 = 2;

/// Waits until all but the control records of this start is archived.
fn wait_until_archived(server: &Server) {
    let partitions = || {
        let text = server.get("/v1/admin/partitions").expect("it answers");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["partitions"].as_array().expect("a list").clone()
    };
    server.wait_for("everything is archived", || {
        partitions().iter().all(|row| {
            let offset = |name: &str| row[name].as_u64().expect("an offset");
            offset("archived_offset") + CONTROLS == offset("durable_offset")
        })
    });
    assert_eq!(server.metric("tally_archive_stopped"), 0.0);
    assert!(server.metric("tally_archive_files_total") > 0.0);
}

/// Sends a real file twice and odd events besides, with a kill and restarts between, until all of
/// it is in the archive.
fn fill(scratch: &Path, place: &str) -> Server {
    let server = start(scratch, place, 0);
    let file = format!("{NAME}.csv.zst");
    send(&server, scratch, &file, &[]);
    send(&server, scratch, &file, &[]);
    let odd = r#"{"id":"1","item":"odd","value":-0.000001,"attributes":{"a\"b":"ü\n","c":""}}
{"id":"1","item":"odd","value":7,"attributes":{"repeat":"yes"}}
{"id":"2","item":"odd","value":9199999999999.999999}
"#;
    post(&server, odd);
    server.kill();

    // The same ids, hours later: these count again.
    let server = start(scratch, place, 2);
    wait_until_archived(&server);
    post(&server, odd);
    assert!(server.stop(), "SIGTERM ends it with status 0");
    let server = start(scratch, place, 4);
    wait_until_archived(&server);
    server
}

fn post(server: &Server, lines: &str) {
    let sent = Command::new("curl")
        .args(["-sf", "-H", "Content-Type: application/x-ndjson", "--data-binary", lines])
        .arg(format!("{}/v1/events", server.url))
        .output()
        .expect("curl runs");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
}

/// The counts of an archive are those of the server, item by item; the sums too.
fn assert_counts(server: &Server, found: &Value) {
    let rows = found["counts"].as_array().expect("a list");
    let truth = truth(NAME);
    let counted: u64 = rows.iter().map(|row| row[2].as_u64().expect("a count")).sum();
    // The odd ones: two the first time, two hours later.
    assert_eq!(counted, truth["events"].as_u64().expect("a number") + 4);
    let mut by_type: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for row in rows {
        let (item, kind) = (row[0].as_str().expect("an item"), row[1].as_str().expect("a type"));
        by_type.entry(kind).or_default().insert(item, row);
    }
    for (kind, items) in &by_type {
        let names: Vec<_> = items.keys().collect();
        for names in names.chunks(200) {
            let query: String =
                names.iter().map(|name| format!("&item={}", percent(name))).collect();
            let answer = server.get(&format!("/v1/counts?type={kind}{query}"));
            let answer: Value = serde_json::from_str(&answer.expect("counts")).expect("JSON");
            for (row, name) in answer["counts"].as_array().expect("a list").iter().zip(names) {
                assert_eq!(row["count"], items[**name][2], "{name}, {kind}");
            }
        }
    }
    for (kind, items) in by_type {
        for (item, row) in items.iter().take(20).chain(items.get_key_value("odd")) {
            let all = "step=total&start=1990-01-01T00:00:00Z&end=2040-01-01T00:00:00Z";
            let question = format!("stats?type={kind}&function=sum&{all}");
            let answer = server.get(&format!("/v1/items/{}/{question}", percent(item)));
            let answer = answer.expect("stats");
            let sum = exact_sum(&answer);
            match row[4].as_str() {
                Some(found) => assert_eq!(micros(sum), micros(found), "{item}, {kind}"),
                None => assert_eq!(sum, "null", "{item}, {kind}"),
            }
        }
    }
}

/// The digits of the total's sum: a JSON reader would make a float of them.
fn exact_sum(stats: &str) -> &str {
    let (_, total) = stats.split_once("\"total\":").expect("a total");
    let (_, sum) = total.split_once("\"sum\":").expect("a sum");
    sum.split([',', '}']).next().expect("a number").trim()
}

fn micros(decimal: &str) -> i128 {
    let (whole, places) = decimal.split_once('.').unwrap_or((decimal, ""));
    let micros = format!("{whole}{places:0<6}").parse();
    micros.unwrap_or_else(|_| panic!("{decimal} is no decimal of at most 6 places"))
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn folder(scratch: &Path) -> PathBuf {
    scratch.join("archive")
}

#[test]
fn duckdb_counts_raw_events_as_the_server_does() {
    let scratch = tempfile::tempdir().expect("a folder");
    let place = folder(scratch.path()).display().to_string();
    let server = fill(scratch.path(), &place);
    let found = outside("duckdb", &place);
    assert_counts(&server, &found);

    let columns = &found["columns"];
    for (name, kind) in [
        ("partition", "INTEGER"),
        ("offset", "BIGINT"),
        ("append_time", "TIMESTAMP WITH TIME ZONE"),
        ("id", "VARCHAR"),
        ("item", "VARCHAR"),
        ("type", "VARCHAR"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        ("value", "DECIMAL(19,6)"),
        ("attributes", "VARCHAR"),
        ("source", "VARCHAR"),
        ("sequence", "BIGINT"),
        ("date", "DATE"),
    ] {
        assert_eq!(columns[name], kind, "{name}");
    }
    let odd = found["odd"].as_array().expect("a list");
    assert_eq!(odd.len(), 6, "repeats are there too");
    assert!(odd.iter().any(|row| row[0] == "{\"a\\\"b\":\"ü\\n\",\"c\":\"\"}"), "{odd:?}");

    // Rows and what the metadata names are all offsets that are archived.
    let metadata = found["metadata"].as_array().expect("a list");
    let number = |row: &Value| row[1].as_str().expect("text").parse::<u64>().expect("a number");
    let sum = |key: &str| metadata.iter().filter(|row| row[0] == key).map(number).sum::<u64>();
    let list = |key: &str| {
        let lists = metadata.iter().filter(|row| row[0] == key);
        let lists = lists.map(|row| row[1].as_str().expect("text"));
        let lists = lists.map(|text| serde_json::from_str::<Vec<Value>>(text).expect("JSON"));
        lists.map(|list| list.len() as u64).sum::<u64>()
    };
    let beside = list("tally.controls") + list("tally.dead_letters");
    assert!(list("tally.controls") > 0, "every start writes one to each partition");
    let rows = found["rows"].as_u64().expect("a number");
    assert_eq!(rows + beside, sum("tally.to") - sum("tally.from"));
}

#[test]
#[ignore = "installs Spark; run by `make test-spark`"]
fn spark_counts_raw_events_as_the_server_does() {
    let scratch = tempfile::tempdir().expect("a folder");
    let place = folder(scratch.path()).display().to_string();
    let server = fill(scratch.path(), &place);
    let found = outside("spark", &place);
    assert_counts(&server, &found);
    assert_eq!(found["columns"]["value"], "decimal(19,6)");
    assert_eq!(found["columns"]["append_time"], "timestamp");
}

/// All of it in a bucket: `make test-s3` gives a place on a server of its own. What is there is
/// what a folder has, byte for byte, so that who reads the one reads the other.
#[cfg(feature = "s3")]
#[test]
#[ignore = "needs a server of S3; run by `make test-s3`"]
fn a_bucket_holds_what_a_folder_does() {
    let place = std::env::var("TALLY_TEST_S3").expect("a place") + "/archive";
    let scratch = tempfile::tempdir().expect("a folder");
    let server = fill(scratch.path(), &place);
    let copy = scratch.path().join("copy");
    let bucket = adapters::archive::Objects::open(&place.parse().expect("a place")).expect("S3");
    let objects = bucket.list("raw").expect("a list");
    assert!(!objects.is_empty());
    for object in objects {
        let path = copy.join(&object.name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let bytes = bucket.get(&object.name).expect("an answer").expect("an object");
        assert_eq!(bytes.len() as u64, object.bytes);
        std::fs::write(path, bytes).expect("a file");
    }
    assert_counts(&server, &outside("duckdb", &copy.display().to_string()));

    // Another data folder is kept out.
    let other = scratch.path().join("other");
    let refused = Command::new(super::server::TALLY)
        .args(["serve", "--listen", "127.0.0.1:0", "--archive", &place, "--data-dir"])
        .arg(other)
        .output()
        .expect("the command runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("belongs to the data folder"), "{said}");
}
