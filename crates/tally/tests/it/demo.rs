//! `tally demo`: numbers move at once, and nothing is left of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::PATIENCE;

const TALLY: &str = env!("CARGO_BIN_EXE_tally");

/// A running demo; killed when dropped.
struct Demo {
    child: Child,
    url: String,
    /// What it says to begin with.
    greeting: String,
}

impl Demo {
    /// Starts one whose temporary folders are made in `scratch`.
    fn start(scratch: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(TALLY)
            .args(["demo", "--rate", "50"])
            .args(args)
            .env("TMPDIR", scratch)
            // It is not to be led astray by what a server has.
            .env("TALLY_DATA_DIR", "/nowhere")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut greeting = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("it is text");
            greeting += &line;
            greeting.push('\n');
            if line.contains("Ctrl-C") {
                break;
            }
        }
        let url = greeting.lines().next().and_then(|line| line.strip_prefix("listening on "));
        let url = url.unwrap_or_else(|| panic!("no address in {greeting}")).to_owned();
        Self { child, url, greeting }
    }

    fn snapshot(&self, args: &[&str]) -> Option<Value> {
        let output = Command::new(TALLY)
            .args(["watch", "--once", "--json", "--interval", "250ms", "--url", &self.url])
            .args(args)
            .output()
            .expect("the binary starts");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// Takes snapshots until one is as wanted.
    fn see(&self, what: &str, args: &[&str], is_it: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            match self.snapshot(args) {
                Some(shown) if is_it(&shown) => return shown,
                shown => assert!(begun.elapsed() < PATIENCE, "not {what}: {shown:?}"),
            }
        }
    }

    /// Its exit status and what it said on standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut said).expect("it is text");
        (self.child.wait().expect("it ends").code(), said)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a folder").count()
}

#[test]
fn counts_move_and_sigterm_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut demo = Demo::start(scratch.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(entries(scratch.path()), 1);
    let first = demo.see("moving", &[], |shown| {
        shown["events_per_second"].as_u64() > Some(0) && shown["top"][9]["count"].as_u64() > Some(0)
    });
    let accepted = |shown: &Value| shown["server"]["accepted"].as_u64();
    demo.see("moving on", &[], |shown| accepted(shown) > accepted(&first));
    // Videos have titles, and what grew is known.
    let titled = demo.see("trending", &[], |shown| {
        shown["trending"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    assert!(titled["top"][0]["title"].is_string(), "{titled}");
    // What it says to try is there, with a past and a value.
    let example =
        demo.greeting.lines().find(|line| line.contains("tally watch") && line.contains('#'));
    let item = example.and_then(|line| line.split_whitespace().nth(2)).expect("an item to watch");
    let is_all_there = |shown: &Value| {
        let counts = |series: &str| -> usize {
            let counts = shown["item"][series].as_array().expect("a series");
            counts.iter().filter(|count| count.as_u64() > Some(0)).count()
        };
        let types = shown["item"]["types"].as_array().map(Vec::len);
        counts("minutes") > 20 && counts("hours") > 40 && types == Some(3)
    };
    let shown = demo.see("all there", &[item], is_all_there);
    assert!(shown["item"]["title"].is_string(), "{shown}");
    assert!(shown["item"]["total"]["average"].as_f64() > Some(1.0), "{shown}");

    let killed = Command::new("kill").args(["-TERM", &demo.child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let (status, said) = demo.ended();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("its folder goes"), "{said}");
    assert_eq!(entries(scratch.path()), 0, "it cleans up");
}

#[test]
fn a_taken_port_is_no_obstacle_unless_it_was_asked_for() {
    let scratch = tempfile::tempdir().expect("a folder");
    // Somebody else may have it already, which is as good.
    let taken = TcpListener::bind("127.0.0.1:8080");
    let mut demo = Demo::start(scratch.path(), &["--duration", "1s"]);
    assert!(!demo.url.ends_with(":8080"), "{}", demo.url);
    assert!(demo.greeting.contains(&format!("--url {}", demo.url)), "{}", demo.greeting);
    let (status, said) = demo.ended();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("127.0.0.1:8080 is taken"), "{said}");
    drop(taken);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(TALLY)
        .args(["demo", "--listen", &address])
        .env("TMPDIR", scratch.path())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert_eq!(entries(scratch.path()), 0, "it cleans up");
}

#[test]
fn a_named_folder_stays_and_goes_on_and_that_of_another_is_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data = scratch.path().join("data");
    let named = ["--listen", "127.0.0.1:0", "--data-dir", data.to_str().expect("a plain path")];
    for turn in ["first", "second"] {
        let mut demo = Demo::start(scratch.path(), &named);
        let goes_on = demo.greeting.contains("goes on from the demo before");
        assert_eq!(goes_on, turn == "second", "{}", demo.greeting);
        demo.see("moving", &[], |shown| shown["events_per_second"].as_u64() > Some(0));
        let pid = demo.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
        let (status, said) = demo.ended();
        assert_eq!((status, said.contains("its folder stays")), (Some(0), true), "{said}");
        assert!(data.join("log").is_dir());
    }
    fs::remove_file(data.join("tally-demo")).expect("its mark");
    let output = Command::new(TALLY).arg("demo").args(named).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("something else than a demo"), "{said}");
}
