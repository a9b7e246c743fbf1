//! The live audit: quiet where all is well, loud where events are dropped, doubled or refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, Tally};

/// What a proxy does to the requests with events.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mischief {
    /// Says that they were accepted, and lets them go.
    Drop,
    /// Sends them once more under other ids.
    Double,
    /// Says that it cannot take them.
    Refuse,
    /// Passes them on, but asks the last look's first question too late: the answer comes when nobody
    /// waits for it any more, as on a machine that is busy with other work.
    Stall,
}

/// An audit asks for an item of each partition.
const ITEMS: usize = 2;
/// What was accepted is counted by then.
const COUNTED: Duration = Duration::from_secs(2);
/// Longer than an audit waits for an answer.
const TOO_LATE: Duration = Duration::from_millis(5_500);

/// A proxy in front of a server that is named later. Ends with the test's process.
struct Proxy {
    url: String,
    server: std::sync::Arc<std::sync::OnceLock<SocketAddr>>,
    /// Questions that came.
    asked: std::sync::Arc<AtomicUsize>,
}

impl Proxy {
    fn start(mischief: Mischief) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::sync::Arc::<std::sync::OnceLock<SocketAddr>>::default();
        let asked = std::sync::Arc::<AtomicUsize>::default();
        let (known, counter) = (server.clone(), asked.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, known) = (client.expect("a connection"), known.clone());
                let counter = counter.clone();
                std::thread::spawn(move || relay(client, &known, &counter, mischief));
            }
        });
        Self { url, server, asked }
    }
}

/// Passes on one request after the other, until the client goes.
fn relay(
    mut client: TcpStream,
    server: &std::sync::OnceLock<SocketAddr>,
    asked: &AtomicUsize,
    mischief: Mischief,
) {
    while let Some((head, body)) = message(&mut client) {
        let server = *server.get().expect("the server is known before it is asked");
        let pass_on = |body: &[u8]| {
            let mut head = head.clone();
            head = head
                .split("\r\n")
                .filter(|line| !line.to_ascii_lowercase().starts_with("content-length"))
                .collect::<Vec<_>>()
                .join("\r\n");
            let mut stream = TcpStream::connect(server).expect("the server listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat()).expect("it reads");
            let (head, body) = message(&mut stream).expect("it answers");
            [head.as_bytes(), b"\r\n\r\n", &body].concat()
        };
        let has_events = head.starts_with("POST /v1/events");
        let answer = match mischief {
            Mischief::Drop if has_events => {
                let events = body.iter().filter(|byte| **byte == b'\n').count();
                let answer = format!("{{\"accepted\":{events},\"rejected\":[]}}");
                let length = answer.len();
                format!("HTTP/1.1 202 Accepted\r\ncontent-length: {length}\r\n\r\n{answer}").into()
            }
            Mischief::Refuse if has_events => {
                b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_vec()
            }
            Mischief::Double if has_events => {
                let again = String::from_utf8(body.clone()).expect("text");
                pass_on(again.replace("\"id\":\"", "\"id\":\"again-").as_bytes());
                pass_on(&body)
            }
            Mischief::Stall if head.starts_with("GET /v1/items/") => {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    // Then the first look shows everything.
                    0 => std::thread::sleep(COUNTED),
                    ITEMS => std::thread::sleep(TOO_LATE),
                    _ => {}
                }
                pass_on(&body)
            }
            _ => pass_on(&body),
        };
        if client.write_all(&answer).is_err() {
            return;
        }
    }
}

/// A head without its empty line, and a body; none when the other side has gone.
fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(bytes[..bytes.len() - 4].to_vec()).expect("a head is text");
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().expect("a length"))];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn audit(tally: &Tally, args: &[&str]) -> Output {
    let url = format!("http://{}", tally.addr);
    let mut run = Command::new(env!("CARGO_BIN_EXE_tally"));
    run.arg("audit").args(args).env("TALLY_URL", url).output().expect("the binary starts")
}

fn audit_now(tally: &Tally) -> (Option<i32>, Value) {
    let output = audit(tally, &["--now", "--json"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&printed).expect("JSON"))
}

fn metric(tally: &Tally, name: &str) -> Option<f64> {
    let text = String::from_utf8(tally.get("/metrics").body).expect("text");
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_server_audits_itself_and_remembers() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &["--audit-interval", "1s"]);
    let audits = |tally: &Tally| {
        let answer = tally.get("/v1/admin/audits").json();
        answer["audits"].as_array().expect("a list").clone()
    };
    tally.wait_until("audited thrice", || audits(&tally).len() >= 3);
    for audit in audits(&tally) {
        assert_eq!(
            (&audit["kind"], &audit["result"]),
            (&"live".into(), &"equal".into()),
            "{audit}"
        );
        assert_eq!(audit["expected"], audit["found"]);
        assert!(audit["expected"].as_u64() > Some(0), "{audit}");
    }
    assert_eq!(metric(&tally, "tally_audit_drift{kind=\"live\"}"), Some(0.0));
    assert!(metric(&tally, "tally_audit_runs_total{kind=\"live\",result=\"equal\"}") >= Some(3.0));
    // Nobody sees them who does not ask for their type.
    let top = tally.get("/v1/top?window=1h").json();
    assert_eq!(top["items"], Value::from(Vec::<Value>::new()), "{top}");
    let printed = audit(&tally, &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&printed.stdout).contains("equal"));
    assert_eq!(
        tally.get("/v1/admin/audits?kind=recount").json()["audits"],
        Value::from(Vec::<Value>::new())
    );
    assert_eq!(tally.get("/v1/admin/audits?kinds=live").status, 400);
    let newest = audits(&tally)[0].clone();
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &["--audit-interval", "off"]);
    assert!(audits(&tally).contains(&newest), "audits outlive a restart");
    let (status, now) = audit_now(&tally);
    assert_eq!((status, &now["result"]), (Some(0), &"equal".into()), "{now}");
    // Many in a minute do not meet each other's events.
    for _ in 0..5 {
        let (_, now) = audit_now(&tally);
        assert_eq!(now["result"], "equal", "{now}");
    }
}

/// A server whose audit goes through a proxy; what the audit finds.
fn audited_through(mischief: Mischief) -> (Tally, tempfile::TempDir, Value) {
    let dir = tempfile::tempdir().expect("a folder");
    let proxy = Proxy::start(mischief);
    let tally = Tally::start(dir.path(), &["--audit-url", &proxy.url]);
    proxy.server.set(tally.addr).expect("it is set once");
    let (status, found) = audit_now(&tally);
    assert_eq!(status, Some(1), "{mischief:?}: {found}");
    assert_eq!(audit(&tally, &[]).status.code(), Some(1), "the last one was not well");
    (tally, dir, found)
}

#[test]
fn events_that_are_dropped_are_reported() {
    let (tally, _dir, found) = audited_through(Mischief::Drop);
    assert_eq!((&found["result"], &found["found"]), (&"different".into(), &0.into()), "{found}");
    assert!(found["expected"].as_f64() > Some(0.0), "{found}");
    assert_eq!(found["drift"], found["expected"]);
    assert!(found["detail"].as_str().expect("a text").contains("item tally-audit:"), "{found}");
    assert_eq!(metric(&tally, "tally_audit_drift{kind=\"live\"}"), found["drift"].as_f64());
    let runs = "tally_audit_runs_total{kind=\"live\",result=\"different\"}";
    assert_eq!(metric(&tally, runs), Some(1.0));
}

#[test]
fn events_that_are_counted_twice_are_reported() {
    let (tally, _dir, found) = audited_through(Mischief::Double);
    assert_eq!(found["result"], "different", "{found}");
    assert!(found["found"].as_u64() > found["expected"].as_u64(), "{found}");
    assert!(metric(&tally, "tally_audit_drift{kind=\"live\"}") > Some(0.0));
}

/// What took too long once is asked again: it says nothing of what was counted.
#[test]
fn an_answer_that_comes_too_late_is_asked_for_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let proxy = Proxy::start(Mischief::Stall);
    let flags = ["--audit-url", &proxy.url, "--audit-interval", "off"];
    let tally = Tally::start(dir.path(), &flags);
    proxy.server.set(tally.addr).expect("it is set once");
    let (status, found) = audit_now(&tally);
    assert_eq!((status, &found["result"]), (Some(0), &"equal".into()), "{found}");
    assert!(found["duration_ms"].as_u64() > Some(5_000), "it did wait: {found}");
    let asked = proxy.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2 * ITEMS + 1, "the first look, the question in vain, and the last look");
}

#[test]
fn a_server_that_takes_no_events_is_reported() {
    let (tally, _dir, found) = audited_through(Mischief::Refuse);
    assert_eq!(found["result"], "failed", "{found}");
    assert!(found["detail"].as_str().expect("a text").contains("403"), "{found}");
    assert_eq!(
        metric(&tally, "tally_audit_runs_total{kind=\"live\",result=\"failed\"}"),
        Some(1.0)
    );
}
