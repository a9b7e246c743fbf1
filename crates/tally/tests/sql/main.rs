//! `tally sql` on a real server with real data: what files and server say together is what was sent
//! and what the API answers, and nothing can be changed by it.

mod items;
#[path = "../real/server.rs"]
#[allow(dead_code, reason = "the tests of the release build need more of it")]
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;

use server::{Server, TALLY, data_file, truth};

const NAME: &str = "nasa-1995-08-01";
/// History is kept by the minute at first: days go to files when that ends.
const LONG: [&str; 4] = ["--retention-minute", "40y", "--retention-hour", "40y"];
/// The control records of a start.
const CONTROLS: u64 = 2;
const ODD: &str = r#"{"id":"1","item":"odd","value":-0.000001,"time":"1995-08-01T10:00:00Z"}
{"id":"1","item":"odd","value":7,"time":"1995-08-01T10:00:00Z"}
{"id":"2","item":"odd","value":9199999999999.999999,"time":"1995-08-01T11:00:00Z"}
"#;

/// A server whose clock is some hours ahead, and nothing else is counted.
fn start(scratch: &Path, hours: i64, more: &[&str]) -> Server {
    let clock = scratch.join("clock");
    std::fs::write(&clock, (hours * 3_600_000).to_string()).expect("a file");
    let clock = clock.to_str().expect("a path is text");
    let mut flags = vec!["--max-event-age", "40y", "--drill-clock", clock, "--audit-interval"];
    flags.extend(["off", "--recount-interval", "off", "--partitions", "3"]);
    flags.extend(more);
    Server::start(&scratch.join("data"), &flags)
}

fn send_file(server: &Server, state: &Path) {
    let output = Command::new(TALLY)
        .arg("send")
        .arg(data_file(&format!("{NAME}.csv.zst")))
        .args(["--url", &server.url])
        .env("XDG_STATE_HOME", state)
        .output()
        .expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn post(server: &Server, lines: &str) {
    post_to(server, "/v1/events", lines);
}

fn post_to(server: &Server, path: &str, lines: &str) {
    let sent = Command::new("curl")
        .args(["-sf", "-H", "Content-Type: application/x-ndjson", "--data-binary", lines])
        .arg(format!("{}{path}", server.url))
        .output()
        .expect("curl runs");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
}

fn json(server: &Server, path: &str) -> Value {
    let text = server.get(path).unwrap_or_else(|| panic!("{path} answers"));
    serde_json::from_str(&text).expect("JSON")
}

/// Waits until all but the control records of this start is archived and counted.
fn settle(server: &Server) {
    server.wait_for("everything is archived", || {
        let answer = json(server, "/v1/admin/partitions");
        answer["partitions"].as_array().expect("a list").iter().all(|row| {
            let offset = |name: &str| row[name].as_u64().expect("an offset");
            offset("archived_offset") + CONTROLS == offset("durable_offset")
                && row["lag_events"] == 0
        })
    });
}

/// A server that has got real events and odd ones, repeats within and behind the dedup window, and
/// late ones for a day that is in files.
fn fill(scratch: &Path) -> Server {
    let server = start(scratch, 0, &LONG);
    send_file(&server, scratch);
    post(&server, ODD);
    assert!(server.stop(), "SIGTERM ends it with status 0");
    let server = start(scratch, 2, &[]);
    settle(&server);
    let range = "start=1995-08-01T00:00:00Z&end=1995-08-02T00:00:00Z";
    let path = format!("/v1/items/odd/explain?{range}");
    server.wait_for("the day is cold", || json(&server, &path)["cold"]["count"] == 2);
    // The file is known by its source, however late it comes; the odd ones count again.
    let state = scratch.join("another");
    send_file(&server, &state);
    post(&server, ODD);
    assert!(server.stop(), "SIGTERM ends it with status 0");
    let server = start(scratch, 4, &[]);
    settle(&server);
    server
}

fn sql(server: &Server, scratch: &Path, question: &str, more: &[&str]) -> Output {
    let mut command = Command::new(TALLY);
    command.args(["sql", "--url", &server.url, "--data-dir"]).arg(scratch.join("data"));
    command.args(more).arg(question).output().expect("the command runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The rows of an answer, a map each; numbers keep their digits.
fn rows(server: &Server, scratch: &Path, question: &str) -> Vec<BTreeMap<String, String>> {
    let output = sql(server, scratch, question, &["--json"]);
    assert!(output.status.success(), "{question}: {}", text(&output.stderr));
    let rows: Vec<BTreeMap<String, Box<serde_json::value::RawValue>>> =
        serde_json::from_slice(&output.stdout).expect("JSON");
    let digits = |raw: &str| serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
    let digits = |row: BTreeMap<String, Box<serde_json::value::RawValue>>| {
        row.into_iter().map(|(name, raw)| (name, digits(raw.get()))).collect()
    };
    rows.into_iter().map(digits).collect()
}

/// The only number of an answer.
fn one(server: &Server, scratch: &Path, question: &str) -> String {
    let rows = rows(server, scratch, question);
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{question}: {rows:?}");
    rows[0].values().next().expect("a value").clone()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn files_and_server_say_together_what_was_sent_and_counted() {
    let scratch = scratch();
    let scratch = scratch.path();
    let server = fill(scratch);
    let ask = |question: &str| one(&server, scratch, question);
    let truth = truth(NAME);
    let events = truth["events"].as_u64().expect("a number");
    // Everything twice, and of three odd ones two count, twice.
    let counted = (events + 4).to_string();
    assert_eq!(ask("select count(*) from events"), (2 * events + 6).to_string());
    assert_eq!(ask("select count(*) from events_once"), counted);
    assert_eq!(ask("select sum(count) from counters"), counted);
    let total = |table: &str, sum: &str| {
        ask(&format!("select sum({sum}) from {table} where item <> 'odd'"))
    };
    let sum = format!("{}.000000", truth["value_sum"].as_str().expect("digits"));
    assert_eq!(total("events_once", "value"), sum);
    assert_eq!(total("counters", "\"sum\""), sum);
    assert_eq!(
        ask("select sum(\"sum\") from counters where item = 'odd'"),
        "18399999999999.999996",
        "exact to the last digit"
    );

    let by_item = |question: &str| rows(&server, scratch, question);
    let from_events = by_item(
        "select item, type, count(*) as n, count(value) as v, sum(value) as s, min(value) as a, \
         max(value) as z from events_once group by item, type order by item, type",
    );
    let from_counters = by_item(
        "select item, type, sum(count) as n, sum(value_count) as v, sum(\"sum\") as s, \
         min(\"min\") as a, max(\"max\") as z from counters group by item, type order by item, type",
    );
    assert!(from_events.len() > 2_000, "{}", from_events.len());
    assert_eq!(from_events, from_counters);
    let mut by_type: BTreeMap<&str, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
    from_counters.iter().for_each(|row| by_type.entry(&row["type"]).or_default().push(row));
    for (event_type, rows) in by_type {
        for rows in rows.chunks(200) {
            let items = rows.iter().map(|row| format!("&item={}", percent(&row["item"])));
            let query: String = items.collect();
            let answer = json(&server, &format!("/v1/counts?type={event_type}{query}"));
            for (found, row) in answer["counts"].as_array().expect("a list").iter().zip(rows) {
                assert_eq!(found["count"].to_string(), row["n"], "{row:?}");
            }
        }
    }
}

#[test]
fn no_day_is_counted_twice_or_lost_between_files_and_server() {
    let scratch = scratch();
    let scratch = scratch.path();
    let server = fill(scratch);
    let ask = |question: &str| one(&server, scratch, question);
    let odd = "item = 'odd' and type = 'view'";
    // What was cold, and what came late for it: two parts of one counter.
    assert_eq!(ask(&format!("select count(*) from counter_parts where {odd}")), "2");
    assert_eq!(ask(&format!("select count(*) from counters where {odd}")), "1");
    let rows = rows(&server, scratch, &format!("select * from counters where {odd}"));
    let expected = [
        ("count", "4"),
        ("granularity", "day"),
        ("item", "odd"),
        ("max", "9199999999999.999999"),
        ("min", "-0.000001"),
        ("sum", "18399999999999.999996"),
        ("time", "1995-08-01T00:00:00Z"),
        ("type", "view"),
        ("value_count", "4"),
    ];
    let found: Vec<(&str, &str)> = rows[0].iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(found, expected);
    // What comes now is in the server's memory, by the minute.
    post(&server, r#"{"item":"odd","value":1}"#);
    server.wait_for("it is counted", || json(&server, "/v1/items/odd/count")["count"] == 5);
    let by = format!("select sum(count) from counters where {odd} and granularity");
    assert_eq!(ask(&format!("{by} = 'minute'")), "1");
    assert_eq!(ask(&format!("{by} in ('minute', 'hour', 'day')")), "5");
    let since = |time: &str| {
        ask(&format!("select coalesce(sum(count), 0) from counters where {odd} and time {time}"))
    };
    assert_eq!(since(">= '1995-08-01'"), "5");
    assert_eq!(since("> '1995-08-01'"), "1");
    assert_eq!(since("< '1995-08-01'"), "0");
    assert_eq!(since("= '1995-08-01'"), "4");
    assert_eq!(since("between '1995-07-01' and '1995-09-01'"), "4");
    // Raw events of the hour that is not over are not in a file yet.
    assert_eq!(ask("select count(*) from events_once where item = 'odd'"), "4");
}

fn read_parquet(path: &Path) -> Vec<(String, i64)> {
    let file = std::fs::File::open(path).expect("a file");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let rows = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row"));
    rows.map(|row| (row.get_string(0).expect("a text").clone(), row.get_long(1).expect("a number")))
        .collect()
}

#[test]
fn answers_are_written_in_every_format_or_not_at_all() {
    let scratch = scratch();
    let scratch = scratch.path();
    let server = start(scratch, 0, &[]);
    post(&server, "{\"item\":\"a,\\\"b\"}\n{\"item\":\"a,\\\"b\",\"value\":1.5}\n{\"item\":\"c\"}");
    server.wait_for("counted", || json(&server, "/v1/items/c/count")["count"] == 1);
    let question = "select item, sum(count) as n, sum(\"sum\") as s from counters group by item \
                    order by item";
    let ask = |more: &[&str]| {
        let output = sql(&server, scratch, question, more);
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(
        ask(&["--json"]),
        "[\n{\"item\":\"a,\\\"b\",\"n\":2,\"s\":1.500000},\n{\"item\":\"c\",\"n\":1,\"s\":null}\n]\n"
    );
    let csv = ask(&["--format", "csv"]);
    assert_eq!(csv, "item,n,s\n\"a,\"\"b\",2,1.500000\nc,1,\n");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let read: Vec<(String, u64, Option<String>)> =
        reader.deserialize().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(read[0], ("a,\"b".into(), 2, Some("1.500000".into())));
    assert_eq!(read[1], ("c".into(), 1, None));
    let table = ask(&[]);
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [vec!["item", "n", "s"], vec!["a,\"b", "2", "1.500000"], vec!["c", "1", "-"]]
    );
    let file = scratch.join("answer.parquet");
    let name = file.to_str().expect("a path is text");
    assert_eq!(ask(&["--format", "parquet", "--output", name]), "");
    assert_eq!(read_parquet(&file), [("a,\"b".to_owned(), 2), ("c".to_owned(), 1)]);
    std::fs::write(scratch.join("piped"), ask_bytes(&server, scratch, question)).expect("written");
    assert_eq!(read_parquet(&scratch.join("piped")).len(), 2);

    // One that fails on its way leaves what was there.
    let before = std::fs::read(&file).expect("a file");
    let failing = "select 1 / (count - count) from counters";
    let output = sql(&server, scratch, failing, &["--format", "parquet", "--output", name]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&file).expect("a file"), before);
    assert!(!scratch.join("answer.parquet.partial").exists());
}

fn ask_bytes(server: &Server, scratch: &Path, question: &str) -> Vec<u8> {
    let output = sql(server, scratch, question, &["--format", "parquet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output.stdout
}

/// All files below a folder, with their bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let paths = entries.map(|entry| entry.path());
    let of = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => BTreeMap::from([(path.clone(), std::fs::read(&path).expect("a file"))]),
    };
    paths.flat_map(of).collect()
}

#[test]
fn nothing_can_be_changed_and_what_is_wrong_is_said() {
    let scratch = scratch();
    let scratch = scratch.path();
    let server = start(scratch, 0, &[]);
    let archive = scratch.join("data/archive");
    let before = files(&archive);
    let target = scratch.join("stolen.csv");
    let target = target.display();
    for question in [
        "create table mine as select * from events".to_owned(),
        format!("create external table mine stored as csv location '{target}'"),
        "drop table events".to_owned(),
        "insert into events select * from events".to_owned(),
        format!("copy events to '{target}' stored as csv"),
        format!("explain analyze copy events to '{target}' stored as csv"),
        "delete from events".to_owned(),
        "update events set item = 'x'".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "select 1; drop table events".to_owned(),
        "selec 1".to_owned(),
        "select * from nothing".to_owned(),
    ] {
        let output = sql(&server, scratch, &question, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{question}: {said}");
        assert!(said.starts_with("tally: "), "{said}");
    }
    let output = sql(&server, scratch, "create table t as select 1", &[]);
    assert!(text(&output.stderr).contains("only questions are answered"));
    let output = sql(&server, scratch, "select * from nothing", &[]);
    assert!(text(&output.stderr).contains("counters"), "it says which tables there are");
    assert_eq!(files(&archive), before);
    assert!(!scratch.join("stolen.csv").exists());

    let away = scratch.join("nowhere");
    let output = sql(&server, &away, "select 1", &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no archive in") && said.contains("--archive"), "{said}");
    assert!(!away.exists(), "nothing was made");

    // Without the server files can be asked, and counters and items cannot.
    let url = server.url.clone();
    assert!(server.stop());
    let ask = |question: &str| {
        let mut command = Command::new(TALLY);
        command.args(["sql", question, "--url", &url, "--data-dir"]).arg(scratch.join("data"));
        command.output().expect("the command runs")
    };
    let output = ask("select count(*) from events");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = ask("select count(*) from counters");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tally serve"), "{said}");
    let output = ask("select count(*) from items");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tally serve"), "{said}");
}
