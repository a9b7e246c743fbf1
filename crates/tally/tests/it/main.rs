//! The program from outside: the real binary, a real port, a real data folder.

mod archive;
mod audit;
mod backup;
mod bad_input;
mod bulk;
mod counters;
mod counting;
mod dead_letters;
mod demo;
mod doc_commands;
mod doctor;
mod documents;
mod drill;
mod golden;
mod items;
mod keys;
mod listing;
mod live;
mod load_profiles;
mod log_tool;
mod operations;
#[cfg(feature = "otel")]
mod otel;
mod query_cache;
mod recount;
mod retention;
mod routing;
mod seams;
mod settings;
mod sources;
mod terminal;
mod tracker;
mod watch;

#[path = "../docs/mod.rs"]
mod docs;
#[path = "../proxy/mod.rs"]
mod proxy;
#[cfg(feature = "tls")]
mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything: far above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server process, killed when dropped.
struct Tally {
    child: Child,
    addr: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Tally {
    /// Starts `tally serve` on a free port and waits until it is ready.
    fn start(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_saying(data_dir, flags, Stdio::null())
    }

    /// As [`Tally::start`]; what it says of itself goes where it is told.
    fn start_saying(data_dir: &Path, flags: &[&str], words: Stdio) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_tally")), data_dir, flags, words)
    }

    /// As [`Tally::start_saying`], by the program with an environment of its own.
    fn start_as(mut program: Command, data_dir: &Path, flags: &[&str], words: Stdio) -> Self {
        let mut child = program
            .args(["serve", "--listen", "127.0.0.1:0", "--partitions", "2", "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .current_dir(data_dir)
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it says where it listens");
        let addr = line.trim().strip_prefix("listening on http://").expect("an address");
        let tally = Self { child, addr: addr.parse().expect("an address"), _stdout: stdout };
        tally.wait_until("ready", || tally.get("/readyz").status == 200);
        tally
    }

    /// Asks again and again until it holds.
    fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "not {what} within {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        // It may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n{headers}\r\n");
        self.raw(&[head.as_bytes(), body].concat())
    }

    fn send_json(&self, events: &Value) -> Answer {
        let body = events.to_string();
        self.post("/v1/events", "content-type: application/json\r\n", body.as_bytes())
    }

    fn count(&self, item: &str) -> u64 {
        let answer = self.get(&format!("/v1/items/{item}/count"));
        answer.json()["count"].as_u64().expect("a count")
    }

    /// Whether an answer begins, whose reader then leaves. There may be no room for one more as long
    /// as others that left are not forgotten.
    fn begins_to_answer(&self, path: &str) -> bool {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").expect("sent");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("a status");
        head.ends_with(b"200")
    }

    /// Resident memory in bytes.
    fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).expect("its memory");
        kib.parse::<u64>().expect("a number") << 10
    }

    /// Asks it to stop and waits for its exit status.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer, taken apart by hand so that nothing is mended on the way.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse::<usize>().expect("a length"));
                if bytes.len() >= end + 4 + length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                    let body = bytes[end + 4..].to_vec();
                    return Self { status: status.expect("a status"), head, body };
                }
            }
            let read = stream.read(&mut chunk).expect("an answer comes in time");
            assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}
