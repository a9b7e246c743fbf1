//! The load against a small peer that counts exactly, forgets on purpose, and is busy now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::super::BodyFormat;
use super::*;

/// How long the peer takes to say that it is busy.
const BUSY_FOR: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Counter {
    requests: AtomicUsize,
    /// Item and type to ids.
    ids: Mutex<HashMap<(String, String), std::collections::HashSet<String>>>,
    /// One event in so many is forgotten; 0: none.
    forget: usize,
    /// Of each `Idempotency-Key` the body that it came with.
    keys: Mutex<HashMap<String, String>>,
}

async fn take(
    State(counter): State<Arc<Counter>>,
    headers: axum::http::HeaderMap,
    body: String,
) -> Response {
    let key = headers["idempotency-key"].to_str().expect("text").to_owned();
    let named = counter.keys.lock().entry(key).or_insert_with(|| body.clone()).clone();
    assert_eq!(named, body, "a key is of one body");
    let request = counter.requests.fetch_add(1, Ordering::Relaxed);
    if request % 5 == 1 {
        tokio::time::sleep(BUSY_FOR).await;
        let body = json!({"type": "t", "title": "busy", "status": 503, "code": "overloaded"});
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response();
    }
    let mut ids = counter.ids.lock();
    let mut accepted = 0;
    for line in body.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        let text = |name: &str| event[name].as_str().expect(name).to_owned();
        accepted += 1;
        if counter.forget == 0 || accepted % counter.forget != 0 {
            ids.entry((text("item"), text("type"))).or_default().insert(text("id"));
        }
    }
    (StatusCode::ACCEPTED, axum::Json(json!({"accepted": accepted, "rejected": []})))
        .into_response()
}

async fn counts(State(counter): State<Arc<Counter>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let values = |name: &'static str| {
        query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let event_type = values("type").next().expect("a type").to_owned();
    let ids = counter.ids.lock();
    let rows: Vec<Value> = values("item")
        .map(|item| {
            let count = ids.get(&(item.to_owned(), event_type.clone())).map_or(0, |ids| ids.len());
            json!({"item": item, "count": count})
        })
        .collect();
    axum::Json(json!({"type": event_type, "counts": rows, "as_of": "now"})).into_response()
}

/// Runs a load of 2,050 events against a peer that forgets so much.
fn load(forget: usize, rate: Option<f64>, path: &str) -> LoadReport {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let counter = Arc::new(Counter { forget, ..Default::default() });
    let router = Router::new()
        .route("/v1/events", post(take))
        .route("/v1/counts", get(counts))
        .with_state(counter.clone());
    let listener =
        runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    runtime.spawn(async move { axum::serve(listener, router).await });
    let generator = GeneratorOptions {
        seed: 3,
        items: 50,
        skew: 1.05,
        hot: 0.0,
        duplicates: 0.1,
        attributes: false,
        format: BodyFormat::Ndjson,
        track: true,
        started_ms: 1_795_255_200_000,
    };
    let options = LoadOptions {
        client: Client::new(&url).expect("a URL"),
        path: path.into(),
        has_keys: true,
        generator,
        batch: 100,
        connections: 4,
        rate,
        steps: Vec::new(),
        timeline: None,
        events: 2_050,
        duration: None,
        verify: true,
        probe_visibility: false,
        query_rate: None,
        retry_for: Duration::from_secs(10),
        patience: if forget == 0 { Duration::from_secs(10) } else { Duration::ZERO },
    };
    let report = run(options, |_| {}).expect("the peer is there");
    assert!(counter.keys.lock().len() as u64 >= report.requests, "each body has a key of its own");
    report
}

#[test]
fn a_peer_that_counts_exactly_is_found_exact() {
    for rate in [None, Some(100_000.0)] {
        let report = load(0, rate, "/v1/events");
        assert_eq!((report.events, report.accepted, report.requests), (2_050, 2_050, 21));
        assert!(report.retries > 0 && report.errors.contains_key("overloaded"), "{report}");
        assert_eq!(report.latency_ms.samples, 21);
        let busy_ms = BUSY_FOR.as_secs_f64() * 1e3;
        assert!(report.latency_ms.max >= busy_ms, "what came before a retry counts: {report}");
        let verification = report.verification.as_ref().expect("asked for");
        assert!(verification.is_exact(), "{verification}");
        assert!((1_700..2_000).contains(&verification.expected), "{verification}");
    }
}

#[test]
fn a_peer_that_loses_events_is_found_out() {
    let report = load(50, None, "/v1/events");
    let verification = report.verification.as_ref().expect("asked for");
    assert!(verification.mismatches > 0 && !verification.is_exact(), "{verification}");
    let example = &verification.examples[0];
    assert!(example.counted < example.expected, "{verification}");
}

#[test]
fn a_path_that_refuses_everything_ends_the_run() {
    let report = load(0, None, "/v1/nothing");
    assert_eq!(report.stopped_by.as_deref(), Some("404"));
    assert!(
        report.rejected <= 400 && report.accepted == 0,
        "at most a body a connection: {report}"
    );
}

#[test]
fn a_verdict_follows_status_and_code() {
    let judge = |status, body: &'static str| {
        let answer =
            Answer { status, body: Bytes::from_static(body.as_bytes()), retry_after: None };
        match judge(&answer, 7) {
            Verdict::Settled(answer) => format!("settled {}", answer.accepted),
            Verdict::Again(code, _) => format!("again {code}"),
            Verdict::Refused(code) => format!("refused {code}"),
        }
    };
    assert_eq!(judge(204, ""), "settled 7");
    assert_eq!(judge(202, r#"{"accepted":3,"rejected":[]}"#), "settled 3");
    let retryable = r#"{"accepted":6,"rejected":[{"index":0,"code":"unavailable","detail":"","retryable":true}]}"#;
    assert_eq!(judge(202, retryable), "again unavailable");
    assert_eq!(judge(503, ""), "again 503");
    assert_eq!(judge(415, ""), "refused 415");
}
