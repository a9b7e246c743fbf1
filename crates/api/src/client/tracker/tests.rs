//! The tracker against peers that answer as a test says, and do not count twice what they know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::breaker::BreakerState;
use super::super::endpoints::Balance;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// What a peer does with its n-th request of events, from 0: a status, more headers and a body; no
/// status: it takes the events and closes the connection without an answer.
type Script = fn(request: usize, events: &[Value]) -> (Option<u16>, &'static str, Value);

#[derive(Default)]
struct Peer {
    url: String,
    is_up: AtomicBool,
    /// The bodies of its requests, with their stamps.
    requests: Mutex<Vec<(Option<String>, Vec<Value>)>>,
    /// How often each item was accepted, events with the same id once.
    counts: Mutex<BTreeMap<String, BTreeMap<String, u64>>>,
}

fn accept(events: &[Value]) -> (Option<u16>, &'static str, Value) {
    (Some(202), "", json!({"accepted": events.len(), "rejected": []}))
}

fn problem(status: u16, code: &str) -> (Option<u16>, &'static str, Value) {
    let problem = json!({"type": "t", "title": code, "status": status, "code": code});
    (Some(status), "retry-after: 0\r\n", problem)
}

impl Peer {
    async fn start(script: Script) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let peer = Arc::new(Self { url, is_up: AtomicBool::new(true), ..Self::default() });
        let this = Arc::clone(&peer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(Arc::clone(&this).serve(stream, script));
            }
        });
        peer
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream, script: Script) -> Option<()> {
        let mut bytes = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
            };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let header = |name: &str| {
                head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            let length: usize =
                header("content-length:").map_or(0, |text| text.parse().expect("a length"));
            while bytes.len() < end + length {
                stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
            }
            let body = bytes[end..end + length].to_vec();
            bytes.drain(..end + length);
            if !self.is_up.load(Ordering::Relaxed) {
                return None;
            }
            let (status, more, answer) = if head.starts_with("get /readyz") {
                (Some(200), "", json!({}))
            } else {
                let stamp = header("tally-source:").zip(header("tally-sequence:"));
                self.take(script, stamp.map(|(source, from)| format!("{source} {from}")), &body)
            };
            let (status, answer) = (status?, answer.to_string());
            let length = answer.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\n{more}content-length: {length}\r\n\r\n{answer}");
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn take(
        &self,
        script: Script,
        stamp: Option<String>,
        body: &[u8],
    ) -> (Option<u16>, &'static str, Value) {
        let events: Vec<Value> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        let mut requests = self.requests.lock().expect("no panic");
        let answer = script(requests.len(), &events);
        requests.push((stamp, events.clone()));
        let rejected = answer.2["rejected"].as_array().cloned().unwrap_or_default();
        if matches!(answer.0, None | Some(202)) {
            let mut counts = self.counts.lock().expect("no panic");
            for (index, event) in events.iter().enumerate() {
                if rejected.iter().all(|refused| refused["index"] != index) {
                    let text = |name: &str| event[name].as_str().expect("text").to_owned();
                    let ids = counts.entry(text("item")).or_default();
                    *ids.entry(text("id")).or_default() += 1;
                }
            }
        }
        answer
    }

    /// Different ids of an item.
    fn count(&self, item: &str) -> usize {
        self.counts.lock().expect("no panic").get(item).map_or(0, BTreeMap::len)
    }

    fn requests(&self) -> Vec<(Option<String>, Vec<Value>)> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn options(peer: &Peer) -> TrackerOptions {
    let mut options = TrackerOptions::new([peer.url.as_str()]);
    options.linger = MS * 5;
    options.first_wait = MS;
    options.longest_wait = MS * 4;
    options.endpoints.health_interval = MS * 20;
    options.endpoints.breaker.open_for = MS * 20;
    options
}

async fn start(options: TrackerOptions) -> Tracker {
    Tracker::start(options).await.expect("good options")
}

#[tokio::test]
async fn batches_go_by_size_and_by_time_and_everything_has_a_receipt() {
    let peer = Peer::start(|_, events| accept(events)).await;
    let mut options = options(&peer);
    options.batch_events = 10;
    options.in_flight = 1;
    options.linger = Duration::from_secs(3_600);
    let tracker = start(options.clone()).await;
    let mut receipts = Vec::new();
    for _ in 0..25 {
        receipts.push(tracker.track_with_receipt(&Event::new("a")).expect("room"));
    }
    let last = receipts.split_off(20);
    for receipt in receipts {
        assert_eq!(receipt.await, Fate::Accepted);
    }
    assert_eq!(tracker.metrics().buffered, 5, "they linger");
    tracker.flush().await;
    for receipt in last {
        assert_eq!(receipt.await, Fate::Accepted);
    }
    let sizes: Vec<_> = peer.requests().iter().map(|(_, events)| events.len()).collect();
    assert_eq!((sizes, peer.count("a")), (vec![10, 10, 5], 25));
    let metrics = tracker.close(Duration::from_secs(9)).await;
    assert_eq!((metrics.tracked, metrics.accepted, metrics.requests), (25, 25, 3));
    assert_eq!((metrics.buffered, metrics.retries), (0, 0));
    assert_eq!(tracker.track(&Event::new("a")), Err(TrackError::Closed));
    tracker.flush().await;

    options.linger = MS;
    let tracker = start(options).await;
    let receipt = tracker.track_with_receipt(&Event::new("b")).expect("room");
    assert_eq!(receipt.await, Fate::Accepted, "without a flush");
}

#[tokio::test]
async fn only_what_was_refused_for_a_while_goes_again_with_the_same_ids() {
    let peer = Peer::start(|request, events| match request {
        0 => problem(503, "unavailable"),
        1 => {
            let rejected = json!([
                {"index": 1, "code": "event_too_old", "detail": "old"},
                {"index": 2, "code": "unavailable", "detail": "", "retryable": true},
                {"index": 4, "code": "outcome_unknown", "detail": "", "retryable": true}]);
            (Some(202), "", json!({"accepted": events.len() - 3, "rejected": rejected}))
        }
        2 => (None, "", Value::Null),
        3 => (Some(202), "", json!({"accepted": 77, "rejected": []})),
        4 => (Some(500), "", json!("a proxy's page")),
        _ => accept(events),
    })
    .await;
    let tracker = start(options(&peer)).await;
    let mut receipts = Vec::new();
    for n in 0..6 {
        receipts.push(tracker.track_with_receipt(&Event::new(n.to_string())).expect("room"));
    }
    for (n, receipt) in receipts.into_iter().enumerate() {
        let fate = receipt.await;
        match n {
            1 => assert!(matches!(fate, Fate::Rejected { code, .. } if code == "event_too_old")),
            _ => assert_eq!(fate, Fate::Accepted),
        }
    }
    let requests = peer.requests();
    assert_eq!(requests[0], requests[1], "the same ids, no stamp");
    let again: Vec<_> = requests[2].1.iter().map(|event| event["item"].clone()).collect();
    assert_eq!(again, ["2", "4"]);
    assert!(requests[2..].iter().all(|request| *request == requests[2]) && requests.len() == 6);
    let metrics = tracker.metrics();
    assert_eq!((metrics.accepted, metrics.retries, metrics.retried), (5, 5, 6 + 4 * 2));
    assert_eq!(metrics.rejected, [("event_too_old".to_owned(), 1)].into());
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_kept() {
    let peer = Peer::start(|request, events| match request {
        0 => (Some(429), "retry-after: 1\r\n", json!("slow down")),
        _ => accept(events),
    })
    .await;
    let tracker = start(options(&peer)).await;
    let began = Instant::now();
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    assert_eq!(receipt.await, Fate::Accepted);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let endpoint = &tracker.metrics().endpoints[0];
    assert_eq!((endpoint.requests, endpoint.failures), (2, 0), "who refuses works");
}

#[tokio::test]
async fn a_server_that_never_answers_is_timed_out() {
    // Connections open, and nobody reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let mut options = TrackerOptions::new([url]);
    options.linger = MS;
    options.first_wait = MS;
    options.retry_for = MS * 100;
    options.endpoints.request_timeout = MS * 20;
    let tracker = start(options).await;
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    let Fate::Lost { reason: LostReason::RetriesEnded { code }, may_be_counted } = receipt.await
    else {
        panic!("it cannot arrive")
    };
    assert_eq!((code.as_str(), may_be_counted), ("timeout", true));
}

#[tokio::test]
async fn what_can_never_be_accepted_is_refused_once() {
    let peer = Peer::start(|_, _| problem(403, "forbidden")).await;
    let tracker = start(options(&peer)).await;
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    assert!(matches!(receipt.await, Fate::Rejected { code, .. } if code == "forbidden"));
    assert_eq!(peer.requests().len(), 1);
    assert_eq!(tracker.metrics().endpoints[0].breaker, BreakerState::Closed);
    let invalid = tracker.track(&Event::new("")).expect_err("no item");
    assert_eq!(invalid, TrackError::Invalid(InvalidEvent::Item));
}

#[tokio::test]
async fn a_full_buffer_says_so_at_once_and_waits_for_those_who_want_that() {
    let peer = Peer::start(|_, events| accept(events)).await;
    peer.is_up.store(false, Ordering::Relaxed);
    let mut options = options(&peer);
    options.buffer_places = 64;
    let tracker = start(options).await;
    let taken = (0..100).take_while(|_| tracker.track(&Event::new("a")).is_ok()).count();
    assert_eq!(taken, 64);
    assert_eq!(tracker.track(&Event::new("a")), Err(TrackError::Full));
    assert_eq!(tracker.metrics().dropped, 2);
    let event = Event::new("a");
    let mut waiting = Box::pin(tracker.track_wait(&event));
    assert!(tokio::time::timeout(MS * 20, waiting.as_mut()).await.is_err());
    peer.is_up.store(true, Ordering::Relaxed);
    waiting.await.expect("room again");
    tracker.flush().await;
    assert_eq!(peer.count("a"), 65);
}

#[tokio::test]
async fn without_a_spool_retries_end_and_a_closed_tracker_gives_up_in_time() {
    let peer = Peer::start(|_, _| (None, "", Value::Null)).await;
    let mut options = options(&peer);
    options.retry_for = MS * 60;
    let tracker = start(options.clone()).await;
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    let Fate::Lost { reason: LostReason::RetriesEnded { code }, may_be_counted } = receipt.await
    else {
        panic!("it cannot arrive")
    };
    assert_eq!((code.as_str(), may_be_counted), ("interrupted", true));
    options.retry_for = Duration::from_secs(3_600);
    peer.is_up.store(false, Ordering::Relaxed);
    let tracker = start(options).await;
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    let began = Instant::now();
    let metrics = tracker.close(MS * 100).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!((metrics.lost, metrics.buffered), (1, 0));
    assert!(matches!(receipt.await, Fate::Lost { reason: LostReason::Closed, .. }));
}

#[tokio::test]
async fn a_server_that_is_down_sees_no_more_than_the_budget() {
    let peer = Peer::start(|_, _| problem(503, "unavailable")).await;
    let mut options = options(&peer);
    // The breaker is not to help here.
    options.endpoints.breaker.failures = u32::MAX;
    options.batch_events = 1;
    options.in_flight = 8;
    options.retry_for = MS * 500;
    options.retry_budget.burst = 3;
    options.retry_budget.per_second = 4.0;
    let (ratio, burst) = (options.retry_budget.ratio, f64::from(options.retry_budget.burst));
    let tracker = start(options).await;
    let began = Instant::now();
    for _ in 0..64 {
        tracker.track(&Event::new("a")).expect("room");
    }
    tracker.flush().await;
    let metrics = tracker.close(MS).await;
    let first = (metrics.requests - metrics.retries) as f64;
    let most = burst + ratio * first + 4.0 * began.elapsed().as_secs_f64();
    assert_eq!((metrics.lost, first), (64, 64.0));
    assert!(metrics.retries as f64 <= most, "{} of {most}", metrics.retries);
    assert_eq!(peer.requests().len() as u64, metrics.requests);
}

#[tokio::test]
async fn the_spool_takes_over_when_all_are_down_and_is_drained_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::start(|request, events| match request {
        0 => (None, "", Value::Null),
        _ => accept(events),
    })
    .await;
    let mut options = options(&peer);
    options.spool = Some(SpoolOptions::new(folder.path()));
    options.batch_events = 10;
    let tracker = start(options.clone()).await;
    // Taken, but the answer is lost; then nobody is there.
    let unanswered = tracker.track_with_receipt(&Event::new("a")).expect("room");
    while peer.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    peer.is_up.store(false, Ordering::Relaxed);
    assert_eq!(unanswered.await, Fate::Spooled);
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(tracker.track_with_receipt(&Event::new("a")).expect("room"));
    }
    for receipt in receipts {
        assert_eq!(receipt.await, Fate::Spooled);
    }
    let metrics = tracker.close(Duration::from_secs(9)).await;
    assert_eq!((metrics.spooled, metrics.spool_events, metrics.lost), (101, 101, 0));

    // Another run, with more.
    let tracker = start(options).await;
    for _ in 0..50 {
        tracker.track(&Event::new("a")).expect("room");
    }
    tracker.flush().await;
    assert_eq!(peer.count("a"), 1);
    peer.is_up.store(true, Ordering::Relaxed);
    tracker.drained().await;
    assert_eq!(peer.count("a"), 151);
    let metrics = tracker.close(Duration::from_secs(9)).await;
    assert_eq!((metrics.drained, metrics.spool_events, metrics.spool_bytes), (151, 0, 0));
    let requests = peer.requests();
    assert_eq!(requests[0], requests[1], "the first of the spool has the stamp and the ids it had");
    let mut last = BTreeMap::new();
    for (stamp, _) in &requests[1..] {
        let (source, sequence) =
            stamp.as_ref().and_then(|stamp| stamp.split_once(' ')).expect("a stamp");
        let sequence: u64 = sequence.parse().expect("a number");
        let before = last.insert(source.to_owned(), sequence);
        assert!(before.is_none_or(|before| before < sequence), "{requests:?}");
    }
}

#[tokio::test]
async fn what_is_in_the_spool_outlives_a_revoked_key_but_not_a_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::start(|request, events| match request {
        0..5 => problem(503, "unavailable"),
        5..8 => problem(403, "forbidden"),
        8 => problem(422, "all_rejected_by_some_rule"),
        _ => accept(events),
    })
    .await;
    let mut options = options(&peer);
    options.spool = Some(SpoolOptions::new(folder.path()));
    options.in_flight = 1;
    options.batch_events = 10;
    let tracker = start(options).await;
    for _ in 0..20 {
        tracker.track(&Event::new("a")).expect("room");
    }
    tracker.flush().await;
    tracker.drained().await;
    let metrics = tracker.close(Duration::from_secs(9)).await;
    assert_eq!((metrics.spooled, metrics.drained, metrics.lost), (20, 20, 0));
    assert_eq!(metrics.rejected, [("all_rejected_by_some_rule".to_owned(), 10)].into());
    assert_eq!((metrics.accepted, peer.count("a")), (10, 10));
}

#[tokio::test]
async fn a_tracker_that_is_dropped_still_delivers_what_it_has() {
    let peer = Peer::start(|_, events| accept(events)).await;
    let mut options = options(&peer);
    options.linger = Duration::from_secs(3_600);
    let tracker = start(options).await;
    let receipt = tracker.track_with_receipt(&Event::new("a")).expect("room");
    drop(tracker);
    assert_eq!(receipt.await, Fate::Accepted);
}

#[tokio::test]
async fn a_full_spool_holds_events_back_and_loses_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::start(|_, events| accept(events)).await;
    peer.is_up.store(false, Ordering::Relaxed);
    let mut options = options(&peer);
    let mut spool = SpoolOptions::new(folder.path());
    spool.max_bytes = 1 << 20;
    options.spool = Some(spool);
    options.buffer_places = 1_000;
    options.batch_events = 100;
    let tracker = start(options).await;
    let text = "x".repeat(250);
    let event = (0..16).fold(Event::new("a"), |event, n| event.attribute(n.to_string(), &text));
    let mut tracked = 0;
    while tracker.metrics().spool_errors == 0 || tracker.track(&event).is_ok() {
        tracked += u64::from(tracker.track(&event).is_ok());
        tokio::task::yield_now().await;
    }
    let before = tracker.metrics();
    assert!(before.tracked >= tracked && before.spool_bytes <= 1 << 20);
    assert_eq!(before.lost, 0);
    peer.is_up.store(true, Ordering::Relaxed);
    tracker.flush().await;
    tracker.drained().await;
    let metrics = tracker.close(Duration::from_secs(9)).await;
    assert_eq!(peer.count("a") as u64, metrics.tracked);
    assert_eq!((metrics.accepted, metrics.lost), (metrics.tracked, 0));
}

#[tokio::test]
async fn one_of_two_that_goes_away_is_not_missed_and_hashes_keep_items_together() {
    let peers = [
        Peer::start(|_, events| accept(events)).await,
        Peer::start(|_, events| accept(events)).await,
    ];
    let mut options = options(&peers[0]);
    options.endpoints.targets = peers.iter().map(|peer| peer.url.as_str().into()).collect();
    options.endpoints.balance = Balance::Hash;
    let tracker = start(options).await;
    let track = |tracker: &Tracker| {
        for n in 0..300 {
            tracker.track(&Event::new((n % 30).to_string())).expect("room");
        }
    };
    track(&tracker);
    tracker.flush().await;
    for n in 0..30 {
        let counts = peers.each_ref().map(|peer| peer.count(&n.to_string()));
        assert!(counts == [10, 0] || counts == [0, 10], "{n}: {counts:?}");
    }
    peers[0].is_up.store(false, Ordering::Relaxed);
    track(&tracker);
    tracker.flush().await;
    let total: usize =
        peers.iter().map(|peer| (0..30).map(|n| peer.count(&n.to_string())).sum::<usize>()).sum();
    assert_eq!((total, tracker.metrics().lost), (600, 0));
}

#[tokio::test]
async fn options_out_of_bounds_are_named() {
    let mut options = TrackerOptions::new(["http://127.0.0.1:9"]);
    options.in_flight = 0;
    let error = Tracker::start(options).await.expect_err("out of bounds");
    assert_eq!(error.to_string(), "in_flight must be from 1 to 1,000");
    let none: [&str; 0] = [];
    let error = Tracker::start(TrackerOptions::new(none)).await.expect_err("no server");
    assert!(matches!(error, StartError::Endpoints(_)));
}
