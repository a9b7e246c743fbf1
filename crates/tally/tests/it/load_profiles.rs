//! `tally load --profile`: each profile against a running server, its verdict, and the report as a
//! file that needs nothing else.

use std::process::Command;

use serde_json::Value;

use super::Tally;

/// Runs a profile and returns what it prints as JSON, and its report.
fn profile(server: &Tally, name: &str, args: &[&str]) -> (Value, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["load", "--json", "--items", "500", "--profile", name, "--report"])
        .arg(&file)
        .args(args)
        .env("TALLY_URL", format!("http://{}", server.addr))
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    // A busy machine may not keep up, which is a finding and no failure of the program.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{text}{said}");
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{said}"));
    assert_eq!(report["profile"], name);
    assert_eq!(report["verdict"]["kind"], name);
    assert_eq!(report["run"]["rejected"], 0, "{report}");
    let page = std::fs::read_to_string(&file).expect("the report is written");
    for sign in ["<script", "http:", "https:", "url(", "NaN", "@import", "src="] {
        assert!(!page.contains(sign), "{name}: the report has `{sign}`");
    }
    assert!(page.matches("<svg").count() >= 5 && page.contains("prefers-color-scheme"), "{name}");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    (report, page)
}

fn samples<'r>(report: &'r Value, figure: &'r str) -> impl Iterator<Item = f64> + 'r {
    let samples = report["samples"].as_array().expect("samples");
    samples.iter().filter_map(move |sample| sample[figure].as_f64())
}

#[test]
fn a_steady_load_and_a_soak_are_watched() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &[]);
    let args = ["--rate", "500", "--batch", "10", "--duration", "3s", "--verify"];
    let (report, page) = profile(&server, "load", &args);
    assert_eq!(report["run"]["accepted"], 1_500, "{report}");
    assert_eq!(report["run"]["verification"]["mismatches"], 0);
    assert_eq!(report["steps"].as_array().expect("steps").len(), 1);
    assert!(page.contains("Events a second") && page.contains("Memory of the server"));
    for figure in ["memory_bytes", "open_files", "cores", "lag_events", "generator_cores"] {
        assert!(samples(&report, figure).count() > 5, "{figure} is watched");
    }
    let events: f64 = samples(&report, "answered").sum();
    assert!(events > 0.0);
    let (report, _) =
        profile(&server, "soak", &["--rate", "500", "--batch", "10", "--duration", "3s"]);
    assert!(report["verdict"]["leaks"].is_null(), "three seconds prove no leak: {report}");
    assert_eq!(report["verdict"]["resources"].as_array().expect("resources").len(), 2);
}

#[test]
fn a_spike_is_ten_times_the_load_in_the_middle() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &[]);
    let args = ["--rate", "300", "--batch", "10", "--duration", "6s", "--verify"];
    let (report, _) = profile(&server, "spike", &args);
    assert_eq!(report["run"]["accepted"], 600 + 3_000 + 900, "{report}");
    let due: Vec<f64> = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|s| s["offered"].as_f64().unwrap())
        .collect();
    assert_eq!(due, [300.0, 3_000.0, 300.0]);
    assert!(report["verdict"]["worst_p99_ms"].as_f64() > Some(0.0));
}

#[test]
fn a_ramp_ends_where_something_gives_way_and_names_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Tally::start(dir.path(), &[]);
    let args = ["--rate", "20000", "--batch", "100", "--duration", "12s", "--verify"];
    let (report, page) = profile(&server, "stress", &args);
    let saturated = &report["verdict"]["saturated"];
    assert!(saturated["component"].is_string(), "1.7 M events/s in requests of 100: {report}");
    assert!(saturated["because"].as_str().is_some_and(|text| text.contains(';')), "{saturated}");
    assert_eq!(report["run"]["verification"]["mismatches"], 0, "{report}");
    assert!(page.contains("gave way"), "the report says it too");
}
