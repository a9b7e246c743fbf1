//! The bulk lane: files of any size, counted once each.

use std::io::Write;
use std::path::Path;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Value, json};

use super::{Answer, Tally};

pub(super) const NDJSON: &str = "content-type: application/x-ndjson\r\n";
const CSV: &str = "content-type: text/csv\r\n";
const PARQUET: &str = "content-type: application/vnd.apache.parquet\r\n";

pub(super) fn submit(tally: &Tally, query: &str, headers: &str, body: &[u8]) -> Answer {
    tally.post(&format!("/v1/bulk{query}"), headers, body)
}

fn job(tally: &Tally, id: &Value) -> Value {
    tally.get(&format!("/v1/bulk/{}", id.as_str().expect("an id"))).json()
}

/// Waits for the end of a file.
pub(super) fn settled(tally: &Tally, answer: &Answer) -> Value {
    assert!([200, 202].contains(&answer.status), "{}", answer.json());
    let id = answer.json()["id"].clone();
    let is_final = |job: &Value| job["state"] == "done" || job["state"] == "failed";
    tally.wait_until("settled", || is_final(&job(tally, &id)));
    job(tally, &id)
}

/// Everything that is in the log is counted.
pub(super) fn wait_counted(tally: &Tally) {
    tally.wait_until("counted", || {
        let answer = tally.get("/v1/admin/partitions").json();
        let partitions = answer["partitions"].as_array().expect("partitions").clone();
        partitions.iter().all(|partition| partition["lag_events"] == 0)
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// So many rows: an item `p` and a value.
fn parquet_file(rows: i64) -> Vec<u8> {
    let schema = "message rows { required binary item (STRING); required int64 value; }";
    let schema = parquet::schema::parser::parse_message_type(schema).expect("a schema");
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema.into(), properties.into()).expect("memory");
    let mut group = writer.next_row_group().expect("memory");
    let items: Vec<ByteArray> = (0..rows).map(|_| ByteArray::from("p")).collect();
    let mut column = group.next_column().expect("memory").expect("item");
    column.typed::<ByteArrayType>().write_batch(&items, None, None).expect("memory");
    column.close().expect("memory");
    let values: Vec<i64> = (0..rows).collect();
    let mut column = group.next_column().expect("memory").expect("value");
    column.typed::<Int64Type>().write_batch(&values, None, None).expect("memory");
    column.close().expect("memory");
    group.close().expect("memory");
    writer.into_inner().expect("memory")
}

/// Files below a folder of the data folder.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

#[test]
fn files_of_each_format_are_counted_once_however_often_they_are_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..5_000).map(|n| format!("{{\"item\":\"n{}\"}}\n", n % 2)).collect();
    let lines = format!("{lines}\n{{\"item\":\"\"}}\nno event\n{{\"item\":\"old\",\"time\":1}}\n");
    let csv: String = (0..3_000).map(|n| format!("c,{n}.5\n")).collect();
    let csv = gzip(format!("path,miles\n{csv}").as_bytes());
    let gzip_csv = format!("{CSV}content-encoding: gzip\r\n");
    let mapped = "?map=item%3Dpath,value%3Dmiles&set=type%3Dtrip";
    let parquet = parquet_file(1_000);
    let first = {
        let tally = Tally::start(folder.path(), &[]);
        let answer = submit(&tally, "", NDJSON, lines.as_bytes());
        assert_eq!(answer.status, 202);
        let id = answer.json()["id"].clone();
        assert!(answer.head.contains(&format!("location: /v1/bulk/{}", id.as_str().unwrap())));
        assert!(answer.head.contains("tally-durability: fsync"));
        let done = settled(&tally, &answer);
        assert_eq!((&done["state"], &done["accepted"]), (&json!("done"), &json!(5_000)), "{done}");
        assert_eq!((&done["records"], &done["rejected"]), (&json!(5_003), &json!(3)));
        assert_eq!(done["bytes_read"], json!(lines.len()));
        let codes = &done["rejected_by_code"];
        assert_eq!(codes["event_too_old"]["examples"][0]["line"], 5_004, "{codes}");
        assert_eq!(codes["invalid_json"]["count"], 1);
        for _ in 0..2 {
            let again = submit(&tally, "", NDJSON, lines.as_bytes());
            assert_eq!((again.status, &again.json()["id"]), (200, &id));
        }
        assert_eq!(settled(&tally, &submit(&tally, mapped, &gzip_csv, &csv))["accepted"], 3_000);
        assert_eq!(settled(&tally, &submit(&tally, "", PARQUET, &parquet))["accepted"], 1_000);
        wait_counted(&tally);
        assert_eq!((tally.count("n0"), tally.count("n1"), tally.count("p")), (2_500, 2_500, 1_000));
        let trips = tally.get("/v1/items/c/stats?type=trip").json();
        assert_eq!(trips["total"]["count"], 3_000);
        assert_eq!(trips["total"]["sum"].to_string(), "4500000");
        let jobs = tally.get("/v1/bulk").json();
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(3));
        assert_eq!(jobs["jobs"][0], job(&tally, &id));
        assert_eq!(tally.stop(), Some(0));
        done
    };
    let tally = Tally::start(folder.path(), &[]);
    assert_eq!(job(&tally, &first["id"]), first, "it is known after a restart");
    let again = submit(&tally, "", NDJSON, lines.as_bytes());
    assert_eq!((again.status, again.json()), (200, first));
    wait_counted(&tally);
    assert_eq!((tally.count("n0"), tally.count("p")), (2_500, 1_000));
    // Read in another way it is another file.
    let other = submit(&tally, "?set=type%3Dlike", NDJSON, lines.as_bytes());
    assert_eq!(settled(&tally, &other)["accepted"], 5_000);
}

#[test]
fn a_file_sent_in_both_lanes_within_the_window_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let lines: String = (0..2_500).map(|_| "{\"item\":\"both\"}\n").collect();
    let file = folder.path().join("both.ndjson");
    std::fs::write(&file, &lines).expect("a file");
    assert_eq!(settled(&tally, &submit(&tally, "", NDJSON, lines.as_bytes()))["accepted"], 2_500);
    let sent = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["send", "--url", &format!("http://{}", tally.addr)])
        .arg(&file)
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .expect("it runs");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    wait_counted(&tally);
    assert_eq!(tally.count("both"), 2_500);
}

#[test]
fn the_command_sends_whole_files_and_waits_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.parquet"), parquet_file(700)).expect("a file");
    std::fs::write(path("b.csv.gz"), gzip(b"what,n\nx y,1\nx y,2\n,3\n")).expect("a file");
    std::fs::write(path("small.ndjson"), b"{\"item\":\"s\"}\n").expect("a file");
    let send = |args: &[&str], files: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["send", "--json", "--url", &format!("http://{}", tally.addr)])
            .args(args)
            .args(files.iter().map(|file| path(file)))
            .env("XDG_STATE_HOME", folder.path())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        (output.status.code(), json, text)
    };
    for _ in 0..2 {
        let (status, jobs, _) = send(&["--bulk", "--wait"], &["a.parquet"]);
        assert_eq!((status, &jobs[0]["accepted"]), (Some(0), &json!(700)), "{jobs}");
    }
    let mapped = ["--bulk-above", "1", "--wait", "--strict", "--map", "item=what,value=n"];
    let (status, jobs, _) = send(&mapped, &["b.csv.gz"]);
    assert_eq!((status, &jobs[0]["rejected"]), (Some(1), &json!(1)), "{jobs}");
    let (status, summary, _) = send(&["--bulk-above", "1MiB"], &["small.ndjson"]);
    assert_eq!((status, &summary["accepted"]), (Some(0), &json!(1)), "{summary}");
    // Parquet goes event by event too, and within the window it is the same events.
    let (status, summary, text) = send(&[], &["a.parquet"]);
    assert_eq!((status, &summary["accepted"]), (Some(0), &json!(700)), "{text}");
    assert_eq!(send(&["--bulk", "--map", "item=nothing"], &["a.parquet"]).0, Some(0));
    let (status, jobs, _) = send(&["--bulk", "--wait", "--map", "item=nothing"], &["a.parquet"]);
    assert_eq!((status, &jobs[0]["state"]), (Some(1), &json!("failed")), "{jobs}");
    let (status, _, text) = send(&["--bulk"], &["no such file"]);
    assert!(status == Some(1) && text.contains("no such file"), "{status:?} {text}");
    wait_counted(&tally);
    let counts = ["p", "x%20y", "s"].map(|item| tally.count(item));
    assert_eq!(counts, [700, 2, 1]);
}

#[test]
fn what_is_no_file_is_refused_and_what_cannot_be_read_fails_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let line = b"{\"item\":\"x\"}\n";
    let gzip_lines = format!("{NDJSON}content-encoding: gzip\r\n");
    let gzip_parquet = format!("{PARQUET}content-encoding: gzip\r\n");
    let cases: [(&str, &str, &[u8], u16, &str); 9] = [
        ("", "content-type: application/json\r\n", line, 415, "unsupported_media_type"),
        ("", "", line, 415, "unsupported_media_type"),
        ("", &format!("{NDJSON}content-encoding: br\r\n"), line, 415, "unsupported_encoding"),
        ("", &gzip_parquet, b"PAR1", 415, "unsupported_encoding"),
        ("", &gzip_lines, line, 400, "unreadable_body"),
        ("", PARQUET, line, 400, "unreadable_body"),
        ("?map=nothing", NDJSON, line, 400, "invalid_parameter"),
        ("?shift_days=x", NDJSON, line, 400, "invalid_parameter"),
        ("", NDJSON, b"", 422, "empty_batch"),
    ];
    for (query, headers, body, status, code) in cases {
        let answer = submit(&tally, query, headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query} {headers}");
    }
    // A body that breaks off, and an id that is none.
    let head = format!("POST /v1/bulk HTTP/1.1\r\nhost: t\r\ncontent-length: 99\r\n{NDJSON}\r\n");
    {
        let mut stream = std::net::TcpStream::connect(tally.addr).expect("it listens");
        stream.write_all(&[head.as_bytes(), line].concat()).expect("it is sent");
    }
    assert_eq!(tally.get("/v1/bulk/x").code(), "not_found");
    assert_eq!(tally.get(&format!("/v1/bulk/{}", "0".repeat(32))).code(), "not_found");
    assert_eq!(tally.get("/v1/bulk").json()["jobs"], json!([]));

    let whole = parquet_file(100);
    let broken = [&whole[..whole.len() - 30], &[7; 30]].concat();
    let mut cut = gzip(&line.repeat(20_000));
    cut.truncate(cut.len() / 2);
    let no_column = b"a,b\n1,2\n";
    let files: [(&str, &[u8]); 3] = [(PARQUET, &broken), (&gzip_lines, &cut), (CSV, no_column)];
    for (headers, body) in files {
        let failed = settled(&tally, &submit(&tally, "", headers, body));
        assert_eq!(failed["state"], "failed", "{failed}");
        assert!(failed["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{failed}");
    }
    // Of a file that is cut short, what came before the cut is good, as with `tally send`.
    wait_counted(&tally);
    let jobs = tally.get("/v1/bulk").json();
    assert_eq!(jobs["jobs"][1]["accepted"], json!(tally.count("x")));
    assert_eq!(self::files(&folder.path().join("archive/bulk/uploads")), 0, "nothing stays behind");
}

#[test]
fn a_bomb_takes_neither_memory_nor_disk_and_counts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let memory = tally.memory_bytes();
    // Two GiB of one line that never ends, in some hundred KiB.
    let zeros = vec![b'0'; 16 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    for _ in 0..128 {
        encoder.write_all(&zeros).expect("memory");
    }
    let bomb = encoder.finish().expect("memory");
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let headers = format!("{NDJSON}content-encoding: zstd\r\n");
    let failed = settled(&tally, &submit(&tally, "", &headers, &bomb));
    assert_eq!((&failed["state"], &failed["accepted"]), (&json!("failed"), &json!(0)), "{failed}");
    assert!(tally.memory_bytes() < memory + (96 << 20), "{} {memory}", tally.memory_bytes());
}

#[test]
fn killed_again_and_again_it_counts_every_event_once() {
    const EVENTS: u64 = 40_000;
    let folder = tempfile::tempdir().expect("a folder");
    // Without ids of their own and with a window of a minute: the stamps must do it.
    let lines: String = (0..EVENTS).map(|n| format!("{{\"item\":\"k{}\"}}\n", n % 3)).collect();
    let flags = ["--flush-interval", "200ms"];
    let id = {
        let tally = Tally::start(folder.path(), &flags);
        let answer = submit(&tally, "", NDJSON, lines.as_bytes());
        assert_eq!(answer.status, 202);
        answer.json()["id"].clone()
    };
    let mut kills = 0;
    let done = loop {
        let tally = Tally::start(folder.path(), &flags);
        let before = job(&tally, &id)["records"].as_u64().unwrap_or(0);
        let has_moved = |job: &Value| {
            job["state"] == "done"
                || job["records"].as_u64().is_some_and(|now| now > before + 4_000)
        };
        tally.wait_until("further", || has_moved(&job(&tally, &id)));
        let now = job(&tally, &id);
        if now["state"] == "done" {
            wait_counted(&tally);
            let counts = (0..3).map(|n| tally.count(&format!("k{n}"))).sum::<u64>();
            assert_eq!(counts, EVENTS, "after {kills} kills");
            break now;
        }
        kills += 1;
    };
    assert_eq!((&done["accepted"], &done["rejected"]), (&json!(EVENTS), &json!(0)), "{done}");
}
