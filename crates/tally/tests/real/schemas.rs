//! The schema registry as Confluent's own client reads it, and the schema across its versions: what is
//! written today is read by who knows an older or a newer one, and what they write is counted.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use model::record::{RecordBuf, split};
use model::{Event, TimestampMs, Value};
use serde_json::json;

use super::server::Server;

/// Before each message: a zero, and the schema's id.
const CONFLUENT_HEADER: [u8; 5] = [0, 0, 0, 0, 1];

/// A message a line, in hexadecimal digits: one event with everything, one with little.
fn messages() -> String {
    let mut records = RecordBuf::new();
    let full = Event {
        id: "order-1".into(),
        item: "dQw4w9WgXcQ".into(),
        event_type: "like".into(),
        time: TimestampMs(1_795_255_200_123),
        value: Value::parse("-12.5").ok(),
        attributes: vec![("country".into(), "DE".into())],
    };
    records.push_stamped(&full, Some(("spool-1", 7)));
    let little = Event { value: None, attributes: Vec::new(), ..full };
    records.push(&Event { id: "0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f".into(), ..little });
    let mut lines = String::new();
    for record in split(records.payload()) {
        for byte in CONFLUENT_HEADER.iter().chain(record.expect("a record")) {
            write!(lines, "{byte:02x}").expect("a text takes it");
        }
        lines.push('\n');
    }
    lines
}

#[test]
fn versions_of_the_schema_understand_each_other() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"), &["--audit-interval", "off"]);
    let file = scratch.path().join("messages");
    std::fs::write(&file, messages()).expect("a file");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = Command::new(root.join("../../scripts/outside")).arg("registry").output();
    let python = python.expect("the script runs").stdout;
    let python = String::from_utf8_lossy(&python).trim().to_owned();
    let script = root.join("tests/real/outside/registry_versions.py");
    let output = Command::new(python).arg(script).arg(&server.url).arg(&file).output();
    let output = output.expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");

    assert_eq!(found["subjects"], json!(["tally-events-value"]));
    assert_eq!(found["versions"], json!([1]));
    assert_eq!(found["latest"], json!([1, 1, "tally-events-value", "AVRO"]));
    let expected = json!([[404, 40403], [404, 40401], [404, 40401], [404, 40402]]);
    assert_eq!(found["refusals"], expected, "errors are those of the registry");

    for reader in ["older", "today", "newer"] {
        let [full, little] = [0, 1].map(|n| &found["read"][reader][n]);
        for (field, value) in [
            ("item", "dQw4w9WgXcQ"),
            ("type", "like"),
            ("id", "order-1"),
            ("time", "2026-11-21 10:00:00.123000+00:00"),
            ("value", "-12.500000"),
        ] {
            assert_eq!(full[field], value, "{reader} {field}");
        }
        assert!(little["value"].is_null(), "{reader}: {little}");
        let id = little["id"].as_str().expect("an id").replace('-', "");
        assert_eq!(id, "0192f0c17e5a7cc398c4dc0c0c07398f", "{reader}");
        let knows = |field: &str| full.get(field).is_some();
        assert_eq!(knows("source") && knows("attributes"), reader != "older", "{full}");
        assert_eq!(knows("campaign"), reader == "newer", "{full}");
        if reader != "older" {
            assert_eq!(full["source"], json!({"name": "spool-1", "sequence": 7}));
            assert_eq!(full["attributes"], json!({"country": "DE"}));
        }
    }
    let newer = &found["read"]["newer"][0];
    assert_eq!((&newer["campaign"], &newer["priority"]), (&json!(null), &json!(3)), "defaults");

    for writer in ["older", "today", "newer"] {
        // The same event twice: the id is read too.
        assert_eq!(found["sent"][writer], json!({"accepted": 2, "rejected": []}), "{writer}");
        let path = format!("/v1/items/by-{writer}/count");
        let count = || Some(serde_json::from_str::<serde_json::Value>(&server.get(&path)?).ok()?);
        server.wait_for("it is counted once", || count().is_some_and(|it| it["count"] == 1));
    }
}
