//! Traces as a collector gets them: a request in its caller's trace, its write to the log, the write of counters.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::Tally;

/// Takes requests and keeps their bytes.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, kept) = (stream.expect("a connection"), kept.clone());
            std::thread::spawn(move || {
                let mut chunk = [0; 16 << 10];
                let mut request: Vec<u8> = Vec::new();
                while let Ok(read @ 1..) = stream.read(&mut chunk) {
                    request.extend_from_slice(&chunk[..read]);
                    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let length: usize = length.expect("a length").parse().expect("a number");
                    if request.len() >= end + 4 + length {
                        kept.lock().expect("a lock").append(&mut request);
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    (url, seen)
}

#[test]
fn a_request_is_traced_to_the_write_of_its_counters() {
    let (url, seen) = collector();
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let flags = ["--flush-interval", "100ms", "--audit-interval", "off"];
    let tally = Tally::start_as(command, dir.path(), &flags, Stdio::null());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("traceparent: {parent}\r\nx-request-id: traced-one\r\n");
    assert_eq!(tally.post("/v1/items/v/events", &headers, b"").status, 202);
    let trace: Vec<u8> = (0..32)
        .step_by(2)
        .map(|at| u8::from_str_radix(&parent[3 + at..5 + at], 16).expect("digits"))
        .collect();
    let has = |wanted: &[u8]| {
        let seen = seen.lock().expect("a lock");
        seen.windows(wanted.len()).any(|bytes| bytes == wanted)
    };
    for wanted in [
        &b"POST /v1/traces"[..],
        b"POST /v1/items/{item}/events",
        b"traced-one",
        b"append",
        b"flush",
        &trace,
    ] {
        let what = String::from_utf8_lossy(wanted);
        tally.wait_until(&format!("told of {what}"), || has(wanted));
    }
    assert_eq!(tally.stop(), Some(0));
}
