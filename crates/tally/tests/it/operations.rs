//! What an operator relies on: metrics as documented, alerts with a runbook, logs that name their request.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Answer, Tally};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Name, type and what is said of every metric in the tables of `docs/metrics.md`.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        let (kind, _labels, what) = (cells.next()?, cells.next()?, cells.next()?);
        Some((name, (kind.to_owned(), what.to_owned())))
    });
    rows.collect()
}

/// What is there only under a condition that its row names.
fn is_conditional(what: &str) -> bool {
    what.contains("where the kernel counts it") || what.contains("where HTTPS is served")
}

/// Name and type of every metric that the server describes.
fn described(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn metrics_are_those_that_the_page_lists() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &["--audit-interval", "off"]);
    server.send_json(&json!([{"item": "v"}, {"item": ""}]));
    assert_eq!(server.post("/v1/admin/audits", "", b"").status, 200);
    let text = String::from_utf8(server.get("/metrics").body).expect("text");
    let (documented, described) = (documented(), described(&text));
    for (name, kind) in &described {
        let of = documented.get(name).map(|(kind, _)| kind);
        assert_eq!(of, Some(kind), "{name} is {kind} in /metrics");
    }
    for (name, (_, what)) in &documented {
        let is_there = described.contains_key(name) || is_conditional(what);
        assert!(is_there, "docs/metrics.md lists {name}, which /metrics does not have");
    }
    // Every sample belongs to a metric that is described, and has help.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = histogram.filter(|name| described.contains_key(*name)).unwrap_or(name);
        assert!(described.contains_key(family), "{line} has no type");
        assert!(text.contains(&format!("# HELP {family} ")), "{line} has no help");
    }
}

#[test]
fn open_metrics_are_given_to_who_asks_for_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &[]);
    let ask = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nhost: t\r\naccept: {accept}\r\n\r\n");
        server.raw(head.as_bytes())
    };
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
    let open = ask(prometheus);
    assert!(open.head.contains("content-type: application/openmetrics-text"), "{}", open.head);
    let open = String::from_utf8(open.body).expect("text");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE tally_events_accepted counter"));
    let classic = ask("*/*");
    assert!(classic.head.contains("content-type: text/plain; version=0.0.4"), "{}", classic.head);
    let classic = String::from_utf8(classic.body).expect("text");
    assert!(classic.contains("# TYPE tally_events_accepted_total counter"), "{classic}");
}

/// Every name in a text that looks like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("tally_") || word.starts_with("process_"));
    let base = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        histogram.unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

#[test]
fn each_alert_has_a_runbook_a_test_and_metrics_that_exist() {
    let rules = read("deploy/prometheus/alerts.yml");
    let tests = read("deploy/prometheus/alerts.test.yml");
    let runbook = read("docs/operations.md");
    let documented = documented();
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 20, "{alerts:?}");
    for (name, rule) in alerts.iter().zip(rules.split("- alert: ").skip(1)) {
        let link = format!("runbook_url: docs/operations.md#{}", name.to_lowercase());
        assert!(rule.lines().any(|line| line.trim() == link), "{name} has no {link}");
        assert!(
            rule.contains("labels: {severity: page}")
                || rule.contains("labels: {severity: ticket}")
        );
        let section = format!("### {name}\n");
        let entry = runbook.split(&section).nth(1).unwrap_or_else(|| panic!("no {section}"));
        let entry = entry.split("\n#").next().unwrap_or_default();
        assert!(entry.contains("**Means.**") && entry.contains("**Do.**"), "{name}: {entry}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
    }
    // The other way round: no section or test of an alert that is no more.
    for section in runbook.lines().filter_map(|line| line.strip_prefix("### Tally")) {
        assert!(alerts.contains(&format!("Tally{section}").as_str()), "no alert Tally{section}");
    }
    let dashboard = read("deploy/grafana/tally.json");
    let json: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = json["panels"].as_array().map_or(0, Vec::len);
    assert!(panels >= 12, "{panels} panels");
    for (file, text) in [("alerts.yml", &rules), ("tally.json", &dashboard)] {
        for name in metrics_in(text) {
            assert!(documented.contains_key(&name), "{file} uses {name}, which is no metric");
        }
    }
}

/// The value of a header of an answer, whose head is in lower case.
fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let line = answer.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {}", answer.head))
}

fn log_level(server: &Tally, filter: &str) -> Answer {
    let body = json!({ "filter": filter }).to_string();
    let length = body.len();
    let head = format!(
        "PUT /v1/admin/log-level HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    server.raw(head.as_bytes())
}

#[test]
fn log_lines_are_json_name_their_request_and_are_as_many_as_are_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("log.jsonl");
    let log = File::create(&path).expect("a file");
    let server = Tally::start_saying(dir.path(), &["--log-format", "json"], Stdio::from(log));
    let ask = |id: &str| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let head = format!(
            "GET /v1/items/v/count HTTP/1.1\r\nhost: t\r\nx-request-id: {id}\r\ntraceparent: {trace}\r\n\r\n"
        );
        server.raw(head.as_bytes())
    };
    // The log is of one object a line, but for the words to whoever started the server.
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).expect("the log");
        let objects = text.lines().filter(|line| line.starts_with('{'));
        objects.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let of = |id: &str| lines().into_iter().find(|line| line["request_id"] == id);
    assert_eq!(header(&ask("quiet"), "x-request-id"), "quiet");
    assert_eq!(server.get("/v1/admin/log-level").json(), json!({"filter": "info"}));
    assert_eq!(log_level(&server, "info,tally::access=debug").status, 200);
    let shown = server.get("/v1/admin/log-level");
    assert_eq!(shown.json(), json!({"filter": "info,tally::access=debug"}));
    assert_eq!(header(&shown, "x-request-id").len(), 24, "one is made where none is sent");
    assert_eq!(header(&ask("loud"), "x-request-id"), "loud");
    server.wait_until("logged", || of("loud").is_some());
    let line = of("loud").expect("it is there");
    assert_eq!((&line["target"], &line["level"]), (&json!("tally::access"), &json!("DEBUG")));
    assert_eq!((&line["route"], &line["status"]), (&json!("/v1/items/{item}/count"), &json!(200)));
    assert_eq!(line["trace_id"], json!("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(line["parent_id"], json!("b7ad6b7169203331"));
    assert!(of("quiet").is_none(), "nobody had asked for it then");
    let refused = log_level(&server, "info,tally=loud");
    assert_eq!((refused.status, refused.code().as_str()), (422, "invalid_filter"));
    assert_eq!(log_level(&server, "error").status, 200);
    assert_eq!(header(&ask("again"), "x-request-id"), "again");
    assert!(of("again").is_none());
}
