//! `tally watch` on a terminal of its own: it shows numbers that move, and gives the terminal back
//! however it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::Tally;
use super::terminal::{TO_OTHER_SCREEN, Terminal};

const TALLY: &str = env!("CARGO_BIN_EXE_tally");
fn url(tally: &Tally) -> String {
    format!("http://{}", tally.addr)
}

fn send(tally: &Tally, item: &str, times: usize) {
    let events: Vec<Value> = (0..times).map(|_| json!({"item": item, "value": 2.5})).collect();
    assert_eq!(tally.send_json(&json!(events)).status, 202);
    tally.wait_until("counted", || tally.count(item) >= times as u64);
}

#[test]
fn an_item_is_watched_until_q() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let mut terminal = Terminal::start(&url(&tally), &["clip"], &[]);
    terminal.wait_for("1,234 view");
    assert!(terminal.is_raw());
    assert!(terminal.printed().contains(TO_OTHER_SCREEN));
    // Sum and average.
    terminal.wait_for("3085");
    terminal.wait_for("2.5");
    send(&tally, "clip", 1);
    send(&tally, "clip", 5000);
    terminal.wait_for("6,235 view");
    terminal.press("q");
    terminal.assert_given_back();
}

#[test]
fn the_overview_selects_opens_goes_back_and_resizes() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "first", 30);
    send(&tally, "second", 20);
    let mut terminal = Terminal::start(&url(&tally), &[], &[]);
    terminal.wait_for("second");
    terminal.resize(120, 30);
    terminal.signal("-WINCH");
    // The keys are in the last line.
    terminal.wait_until("resized", |screen| {
        screen.lines().nth(29).is_some_and(|line| line.starts_with("q quit"))
    });
    terminal.press("?");
    terminal.wait_for("shift-tab");
    terminal.press(" \t\t\r");
    terminal.wait_until("on the second item's page", |screen| {
        screen.contains("last 60 minutes") && screen.contains("20 view")
    });
    terminal.press("\u{1b}");
    terminal.wait_for("top of view");
    terminal.press("t");
    terminal.wait_for("top of like");
    terminal.press("\u{3}");
    terminal.assert_given_back();
}

#[test]
fn signals_give_the_terminal_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut terminal = Terminal::start(&url(&tally), &[], &[]);
        terminal.wait_for("ready");
        terminal.signal(signal);
        terminal.assert_given_back();
    }
}

#[test]
fn without_colours_or_unicode_none_are_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "brücke", 30);
    let envs = [("NO_COLOR", "1"), ("LANG", "C")];
    let mut terminal = Terminal::start(&url(&tally), &[], &envs);
    terminal.wait_for("br?cke");
    terminal.wait_for("###");
    terminal.press("q");
    terminal.assert_given_back();
    let printed = terminal.printed();
    assert!(printed.is_ascii(), "{printed:?}");
    // Cyan, green and red.
    for color in ["38;5;6", "38;5;2", "38;5;1", "[36m", "[32m", "[31m"] {
        assert!(!printed.contains(color), "{color} in {printed:?}");
    }
}

/// A server at a fixed address.
fn serve_again(address: SocketAddr, dir: &Path) -> Child {
    Command::new(TALLY)
        .args(["serve", "--listen", &address.to_string(), "--data-dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn a_server_that_goes_away_is_told_and_taken_up_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let address = tally.addr;
    let mut terminal = Terminal::start(&url(&tally), &["clip"], &[]);
    terminal.wait_for("1,234");
    assert_eq!(tally.stop(), Some(0));
    terminal.wait_until("away since, with old numbers", |screen| {
        ["away", "no answer since", "OLD numbers", "1,234 view"].iter().all(|p| screen.contains(p))
    });
    let mut again = serve_again(address, dir.path());
    terminal.wait_until("ready again, with new numbers", |screen| {
        screen.contains("ready") && !screen.contains("OLD") && screen.contains("1,234 view")
    });
    terminal.press("q");
    terminal.assert_given_back();
    again.kill().expect("it runs");
    again.wait().expect("it ends");
}

fn watch(url: &str, args: &[&str], envs: &[(&str, &str)]) -> Output {
    Command::new(TALLY)
        .args(["watch", "--interval", "250ms", "--url", url])
        .args(args)
        .env("LANG", "C.UTF-8")
        .env_remove("LC_ALL")
        .envs(envs.iter().copied())
        .output()
        .expect("the binary starts")
}

#[test]
fn a_pipe_gets_one_snapshot_or_is_told_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    send(&tally, "clip", 1234);
    let url = url(&tally);

    let output = watch(&url, &[], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--once") && output.stdout.is_empty(), "{said}");

    let output = watch(&url, &["--once"], &[("COLUMNS", "40")]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for part in ["ready", "0 events/s", "top of view", "clip", "1,234", "lag 0"] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(!printed.contains('\u{1b}') && !printed.contains("q quit"), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() <= 40), "{printed}");

    let output = watch(&url, &["--once", "--json"], &[]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["top"][0], json!({"item": "clip", "count": 1234}));
    assert_eq!((&shown["is_ready"], &shown["events_per_second"]), (&json!(true), &json!(0)));
    assert_eq!(shown["server"]["partitions"].as_array().map(Vec::len), Some(2), "{shown}");

    let output = watch(&url, &["clip", "--once", "--json"], &[]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let item = &shown["item"];
    assert_eq!((&item["total"]["count"], &item["total"]["sum"]), (&json!(1234), &json!(3085)));
    assert_eq!(item["types"], json!([{"type": "view", "count": 1234}]));
    for (series, points) in [("minutes", 60), ("hours", 48)] {
        let counts = item[series].as_array().expect("a series");
        assert_eq!(counts.len(), points);
        let all: u64 = counts.iter().filter_map(Value::as_u64).sum();
        assert_eq!(all, 1234, "{shown}");
    }

    assert_eq!(tally.stop(), Some(0));
    let output = watch(&url, &["--once"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot connect"), "{said}");
}
