//! The sender against a small peer that refuses, fails and comes back as a test says.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::super::reader::{Format, ReadOptions, Reader};
use super::super::source;
use super::*;

/// What the peer does with its n-th request, from 0.
type Script = fn(request: usize, events: &[Value]) -> Response;

struct Peer {
    script: Script,
    /// Of each source: the requests that are under way, and the next sequence.
    sources: Mutex<HashMap<String, (usize, u64)>>,
    requests: Mutex<usize>,
    /// How often each id was accepted.
    accepted: Mutex<HashMap<String, usize>>,
}

impl Peer {
    /// A stamped request comes: none of the same source is under way, and its sequences rise.
    fn begin(&self, headers: &HeaderMap) -> Option<(String, u64)> {
        let text = |name: &str| Some(headers.get(name)?.to_str().expect("ASCII").to_owned());
        let source = text("tally-source")?;
        let first = text("tally-sequence").expect("both").parse().expect("a number");
        let mut sources = self.sources.lock().expect("no panic");
        let (under_way, next) = sources.entry(source.clone()).or_default();
        assert!(*under_way == 0 && first >= *next, "{source}: {first} after {next}");
        *under_way += 1;
        Some((source, first))
    }

    fn end(&self, source: &str, next: Option<u64>) {
        let mut sources = self.sources.lock().expect("no panic");
        let state = sources.get_mut(source).expect("it has begun");
        *state = (state.0 - 1, next.unwrap_or(state.1));
    }
}

async fn take(State(peer): State<Arc<Peer>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match headers.get("content-encoding").map(|text| text.as_bytes()) {
        Some(b"zstd") => zstd::decode_all(body.as_ref()).expect("zstd"),
        _ => body.to_vec(),
    };
    let events: Vec<Value> = body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("an event a line"))
        .collect();
    let request = {
        let mut requests = peer.requests.lock().expect("no panic");
        *requests += 1;
        *requests - 1
    };
    let stamp = peer.begin(&headers);
    tokio::task::yield_now().await;
    let response = (peer.script)(request, &events);
    if let Some((source, first)) = stamp {
        let is_taken = response.status() == StatusCode::ACCEPTED;
        peer.end(&source, is_taken.then_some(first + events.len() as u64));
    }
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("memory");
    if head.status == StatusCode::ACCEPTED {
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        let rejected = answer["rejected"].as_array().expect("a list");
        let is_rejected = |i| rejected.iter().any(|event| event["index"] == i);
        let mut accepted = peer.accepted.lock().expect("no panic");
        for (i, event) in events.iter().enumerate().filter(|(i, _)| !is_rejected(*i)) {
            let id = event["id"].as_str().unwrap_or_else(|| panic!("no id at {i}"));
            *accepted.entry(id.to_owned()).or_default() += 1;
        }
    }
    (head, body).into_response()
}

async fn start(script: Script) -> (Sender, Arc<Peer>) {
    let peer = Arc::new(Peer {
        script,
        sources: Mutex::default(),
        requests: Mutex::default(),
        accepted: Mutex::default(),
    });
    let router = Router::new().route("/v1/events", post(take)).with_state(Arc::clone(&peer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let ms = Duration::from_millis;
    let options = SendOptions {
        batch_events: 10,
        in_flight: 3,
        compress: false,
        retry_for: ms(500),
        first_wait: ms(1),
        longest_wait: ms(4),
    };
    (Sender::new(Client::new(&url).expect("a good URL"), options), peer)
}

fn accept(events: &[Value], rejected: Value) -> Response {
    let refused = rejected.as_array().map_or(0, Vec::len);
    let answer = json!({"accepted": events.len() - refused, "rejected": rejected});
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({"type": "/problems/x", "title": code, "status": status, "code": code});
    (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response()
}

/// A hundred events without ids, and two lines that are none.
fn file() -> Reader {
    let mut text = String::from("{\"item\":\n");
    for i in 0..100 {
        text += &format!("{{\"item\":\"{i}\"}}\n");
    }
    text += "[]\n";
    let options = ReadOptions { format: Some(Format::Ndjson), ..Default::default() };
    Reader::new(source::from_bytes(text.into_bytes()), &options).expect("readable")
}

async fn send(
    sender: &Sender,
    earlier: Progress,
    resume: Option<ResumeFile>,
) -> Result<FileReport, SendError> {
    sender.send_file(file(), earlier, resume, None, |_| {}, std::future::pending()).await
}

#[tokio::test]
async fn everything_is_accepted_once_and_bad_lines_are_told() {
    let (mut sender, peer) = start(|_, events| accept(events, json!([]))).await;
    sender.options.compress = true;
    let report = send(&sender, Progress::default(), None).await.expect("all sent");
    assert_eq!((report.records, report.accepted, report.line), (102, 100, 102));
    let (code, refused) = report.refused.iter().next().expect("one code");
    assert_eq!((code, refused.count, refused.examples[1].line), ("invalid_json", 2, 102));
    assert_eq!(peer.accepted.lock().expect("no panic").len(), 100);
}

#[tokio::test]
async fn a_busy_server_gets_the_same_ids_again() {
    let (sender, peer) = start(|request, events| match request {
        0 | 4 => problem(503, "overloaded"),
        2 => problem(429, "overloaded"),
        _ => accept(events, json!([])),
    })
    .await;
    let report = send(&sender, Progress::default(), None).await.expect("all sent");
    assert_eq!((report.accepted, report.retries), (100, 3));
    let accepted = peer.accepted.lock().expect("no panic");
    assert!(accepted.len() == 100 && accepted.values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_request_of_which_a_part_was_refused_for_a_while_is_sent_again() {
    let (sender, peer) = start(|request, events| match request {
        0 => accept(
            events,
            json!([{"index": 1, "code": "unavailable", "detail": "", "retryable": true},
                   {"index": 2, "code": "event_too_old", "detail": "old"},
                   {"index": 9, "code": "outcome_unknown", "detail": "", "retryable": true}]),
        ),
        _ if events[2]["item"] == "2" => {
            accept(events, json!([{"index": 2, "code": "event_too_old", "detail": "old"}]))
        }
        _ => accept(events, json!([])),
    })
    .await;
    let report = send(&sender, Progress::default(), None).await.expect("all sent");
    assert_eq!((report.accepted, report.refused.total(), report.retries), (99, 3, 1));
    // The whole request, with the same ids: what had been written is not counted again.
    let accepted = peer.accepted.lock().expect("no panic");
    assert_eq!(accepted.len(), 99);
    assert_eq!(accepted.values().filter(|times| **times == 2).count(), 7);
}

#[tokio::test]
async fn a_batch_of_which_all_is_refused_is_no_failure() {
    let (sender, _) = start(|_, events| {
        let rejected: Vec<Value> = (0..events.len())
            .map(|i| json!({"index": i, "code": "event_too_old", "detail": "old"}))
            .collect();
        let body = json!({"type": "/problems/all_rejected", "title": "t", "status": 422,
            "code": "all_rejected", "rejected": rejected});
        (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(body)).into_response()
    })
    .await;
    let report = send(&sender, Progress::default(), None).await.expect("all settled");
    assert_eq!((report.accepted, report.refused.total()), (0, 102));
    let examples = report.refused.iter().find(|(code, _)| *code == "event_too_old");
    assert_eq!(examples.expect("the code").1.examples[0].line, 2, "lines of the file");
}

#[tokio::test]
async fn after_a_failure_the_same_command_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let resume = || Some(ResumeFile::new(folder.path(), "f", 1, ""));
    let (mut sender, _) = start(|request, events| match request {
        0..4 => accept(events, json!([])),
        _ => problem(400, "invalid_json"),
    })
    .await;
    sender.options.in_flight = 1;
    let error = send(&sender, Progress::default(), resume()).await.expect_err("refused");
    assert!(format!("{:#}", error.cause).contains("invalid_json"), "{:#}", error.cause);
    let earlier = resume().expect("a file").load().expect("progress");
    let done = &earlier.done;
    assert_eq!((done, earlier.ahead.len()), (&error.done, 0));
    assert_eq!((done.accepted, done.records, done.line), (40, 41, 41));

    let (sender, peer) = start(|_, events| accept(events, json!([]))).await;
    let report = send(&sender, earlier, resume()).await.expect("all sent");
    assert_eq!((report.accepted, report.records), (100, 102));
    assert_eq!(peer.accepted.lock().expect("no panic").len(), 60);
    assert_eq!(resume().expect("a file").load(), None, "the next run sends all again");
}

#[tokio::test]
async fn what_is_settled_behind_a_gap_is_not_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let resume = || Some(ResumeFile::new(folder.path(), "f", 1, ""));
    // All of the file is under way at once; the batch with the second event fails.
    let script: Script = |_, events| match events.iter().any(|event| event["only"] == "bad") {
        true => problem(400, "invalid_json"),
        false => accept(events, json!([])),
    };
    let text: String = (0..50)
        .map(|i| match i {
            12 => "{\"item\":\"a\",\"only\":\"bad\"}\n",
            _ => "{\"item\":\"a\"}\n",
        })
        .collect();
    let file = || {
        let options = ReadOptions { format: Some(Format::Ndjson), ..Default::default() };
        Reader::new(source::from_bytes(text.clone().into_bytes()), &options).expect("readable")
    };
    let (mut sender, first) = start(script).await;
    sender.options.in_flight = 5;
    let stop = std::future::pending;
    let error = sender
        .send_file(file(), Progress::default(), resume(), None, |_| {}, stop())
        .await
        .expect_err("the second batch fails");
    assert_eq!((error.done.records, error.done.accepted), (10, 10));
    let accepted = first.accepted.lock().expect("no panic").len() as u64;
    let earlier = resume().expect("a file").load().expect("progress");
    let ahead: u64 = earlier.ahead.iter().map(|piece| piece.report.accepted).sum();
    assert_eq!(10 + ahead, accepted);

    let (sender, second) = start(|_, events| accept(events, json!([]))).await;
    let report =
        sender.send_file(file(), earlier, None, None, |_| {}, stop()).await.expect("all sent");
    assert_eq!((report.records, report.accepted), (50, 50));
    assert_eq!(second.accepted.lock().expect("no panic").len() as u64, 50 - accepted);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_the_run() {
    let (mut sender, _) = start(|_, _| problem(503, "unavailable")).await;
    sender.options.retry_for = Duration::from_millis(20);
    let error = send(&sender, Progress::default(), None).await.expect_err("never there");
    assert!(format!("{:#}", error.cause).contains("unavailable"), "{:#}", error.cause);
    assert_eq!(error.done.records, 0);
}

#[tokio::test]
async fn a_stop_keeps_what_is_settled() {
    let (sender, _) = start(|_, _| problem(503, "unavailable")).await;
    let stopped = sender
        .send_file(file(), Progress::default(), None, None, |_| {}, std::future::ready(()))
        .await
        .expect_err("stopped");
    assert!(stopped.cause.to_string().contains("interrupted"));
}

#[tokio::test]
async fn a_source_sends_one_request_after_the_other_and_events_keep_their_stamps() {
    // Every tenth line is none, and some requests fail at first.
    let text: String = (0..25_000)
        .map(|i| if i % 10 == 3 { "{\n".to_owned() } else { format!("{{\"item\":\"{i}\"}}\n") })
        .collect();
    let script: Script = |request, events| match request % 5 {
        2 => problem(503, "unavailable"),
        _ => accept(events, json!([])),
    };
    let options = ReadOptions { format: Some(Format::Ndjson), ..Default::default() };
    let mut ends = Vec::new();
    for (batch_events, in_flight) in [(2_000, 4), (700, 1), (100_000, 64)] {
        let (mut sender, peer) = start(script).await;
        sender.options.batch_events = batch_events;
        sender.options.in_flight = in_flight;
        let file = Reader::new(source::from_bytes(text.clone().into_bytes()), &options);
        let lanes = Some(Lanes::named("f"));
        let stop = std::future::pending::<()>();
        let report = sender
            .send_file(file.expect("readable"), Progress::default(), None, lanes, |_| {}, stop)
            .await
            .expect("all sent");
        assert_eq!((report.accepted, report.refused.total()), (22_500, 2_500));
        let sources = peer.sources.lock().expect("no panic").clone();
        ends.push(sources.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    }
    let expected: Vec<_> = (0..8).map(|lane| format!("f:{lane}")).collect();
    assert!(ends[0].keys().eq(&expected), "{ends:?}");
    assert_eq!(ends[0]["f:3"], (0, 22_500), "the last events of the file have the lane 11 % 8");
    assert_eq!(ends[0]["f:4"], (0, 10_000));
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}
