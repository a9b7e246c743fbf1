use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use api::ProblemCode;
use axum::http::Method;
use bytes::Bytes;
use engine::ports::{
    AppendPart, Appended, Clock, ErrorKind, EventLog, LogBounds, PartResult, PortError,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

use super::*;
use crate::config::ConnectionLimits;
use crate::keys::{Draft, KeyFile, Keyring, Rates, Scopes};

mod binary;
mod doors;
#[cfg(feature = "tls")]
mod wire;

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> ClockReading {
        ClockReading { wall: NOW, monotonic_ms: 0 }
    }
}

/// Goes on when it is told to.
#[derive(Default)]
struct HandClock(Mutex<i64>);

impl Clock for HandClock {
    fn now(&self) -> ClockReading {
        let passed = *self.0.lock();
        ClockReading { wall: TimestampMs(NOW.0 + passed), monotonic_ms: passed }
    }
}

/// Counts what is appended, or fails as it is told.
#[derive(Default)]
struct MemoryLog {
    records: Mutex<u64>,
    /// Refuses whole requests with this kind.
    refuses: Mutex<Option<ErrorKind>>,
    /// Fails the parts of partition 1 with this kind.
    fails: Mutex<Option<ErrorKind>>,
}

impl EventLog for MemoryLog {
    fn partitions(&self) -> u16 {
        2
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        if let Some(kind) = *self.refuses.lock() {
            return Err(PortError::new(kind, "told to refuse"));
        }
        let fails = *self.fails.lock();
        let results: Vec<PartResult> = parts
            .iter()
            .map(|part| match fails {
                Some(kind) if part.partition.0 == 1 => Err(PortError::new(kind, "told to fail")),
                _ => {
                    *self.records.lock() += u64::from(part.records.record_count());
                    let partition = part.partition;
                    let (base_offset, next_offset) = (Offset(0), Offset(1));
                    Ok(Appended { partition, base_offset, next_offset, append_time: NOW })
                }
            })
            .collect();
        // Not ready at once, as a log that waits for a sync.
        Ok(async move {
            tokio::task::yield_now().await;
            results
        }
        .boxed())
    }

    fn read(
        &self,
        _: PartitionId,
        _: Offset,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        futures::future::pending().boxed()
    }

    fn bounds(&self, _: PartitionId) -> LogBounds {
        LogBounds { log_epoch: 1, start_offset: Offset(0), durable_offset: Offset(0) }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(NOW)
    }
}

/// A server with the paths that take events, over a log in memory.
struct Server {
    _runtime: tokio::runtime::Runtime,
    addr: SocketAddr,
    log: Arc<MemoryLog>,
    admission: Arc<Admission>,
    clock: Arc<HandClock>,
    door: Arc<Door>,
    _keys_dir: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn ingest_routes(log: Arc<MemoryLog>, admission: Arc<Admission>) -> (Routes, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(|| Vitals {
        partitions: Vec::new(),
        archive: None,
        now: NOW,
        body_memory_used: 0.0,
        disk: None,
        dedup_bytes: 0,
        dedup_fill: 0.0,
        is_ready: true,
        flush_durations: Default::default(),
        last_backup_ms: None,
        certificate_ends: None,
        query_cache: Default::default(),
        stale_answers: 0,
        partition_skew: 0.0,
        routing: None,
        live_listeners: 0,
        audits: Vec::new(),
    }));
    let gateway = Arc::new(Gateway::new(log, Arc::new(StillClock), admission, 7 * 86_400_000));
    let pool = IngestPool::start(2).unwrap();
    let budget = BodyBudget::new();
    let durability = api::Durability::FSYNC;
    let ingest = Arc::new(Ingest { gateway, budget, pool, metrics: metrics.clone(), durability });
    let routes = static_routes(events::routes(Routes::default(), &ingest));
    (metrics::routes(routes, &metrics), metrics)
}

impl Server {
    fn start() -> Self {
        Self::start_with(&DoorSettings::default())
    }

    /// With a stand-in for every described path that needs an engine.
    fn start_with_all_paths() -> Self {
        let (keys_dir, clock, door) = Self::door(&DoorSettings::default());
        Self::over(keys_dir, clock, door, None, |mut routes| {
            let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
            for path in document["paths"].as_object().unwrap().keys() {
                if routes.listed.iter().all(|(listed, _)| listed != path) {
                    let path: &'static str = path.clone().leak();
                    routes = routes.add(path, &[], axum::routing::any(async || "here"));
                }
            }
            routes
        })
    }

    fn start_with(settings: &DoorSettings) -> Self {
        let (keys_dir, clock, door) = Self::door(settings);
        Self::over(keys_dir, clock, door, None, |routes| routes)
    }

    fn door(settings: &DoorSettings) -> (tempfile::TempDir, Arc<HandClock>, Arc<Door>) {
        let keys_dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::default());
        let file = KeyFile::new(keys_dir.path().join("keys.json"));
        let keys = Arc::new(Keyring::open(file, clock.clone()).unwrap());
        let door = Arc::new(Door::new(settings, keys, clock.clone()));
        (keys_dir, clock, door)
    }

    fn over(
        keys_dir: tempfile::TempDir,
        clock: Arc<HandClock>,
        door: Arc<Door>,
        tls: Option<Arc<Tls>>,
        more: impl FnOnce(Routes) -> Routes,
    ) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let log = Arc::new(MemoryLog::default());
        let admission = Arc::new(Admission::new(2, 1 << 30));
        let (routes, metrics) = ingest_routes(log.clone(), admission.clone());
        let routes = routes.add(
            "/panic",
            &["GET"],
            axum::routing::get(async || std::hint::black_box(None::<&str>).expect("told to panic")),
        );
        let routes = more(routes);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let front = routes.behind(metrics, door.clone());
        let service = Service {
            front,
            tells_peers: door.wants_address(),
            limits: ConnectionLimits { total: 2_000, per_address: None },
            trusted_proxies: Vec::new(),
            tls,
        };
        runtime.spawn(serve(listener, service, futures::future::pending()));
        Self { _runtime: runtime, addr, log, admission, clock, door, _keys_dir: keys_dir }
    }

    fn records(&self) -> u64 {
        *self.log.records.lock()
    }

    /// Sends the bytes and reads one answer.
    fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        answer(&mut stream)
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    fn json(&self, body: &str) -> Answer {
        self.post("/v1/events", "content-type: application/json\r\n", body.as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
    }
}

fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 << 10];
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
            if bytes.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
                return Answer { status, head, body };
            }
        }
        let read = stream.read(&mut chunk).expect("an answer comes in time");
        assert!(read > 0, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
    }
}

#[test]
fn events_are_accepted_and_verdicts_given() {
    let server = Server::start();
    let one = server.json(r#"{"item":"v"}"#);
    assert_eq!((one.status, one.body.as_str()), (202, r#"{"accepted":1,"rejected":[]}"#));
    assert!(one.head.contains("tally-durability: fsync"), "{}", one.head);
    let some = server.json(r#"[{"item":"a"},{"item":""},{"item":"b"}]"#);
    assert_eq!(some.status, 202);
    assert!(some.body.starts_with(r#"{"accepted":2,"rejected":[{"index":1,"code":"invalid_item""#));
    let large = "{\"item\":\"v\"}\n".repeat(5_000);
    let large =
        server.post("/v1/events", "content-type: application/x-ndjson\r\n", large.as_bytes());
    assert_eq!(large.body, r#"{"accepted":5000,"rejected":[]}"#);
    let path = "/v1/items/a%2Fb+c%E2%82%AC/events?type=like&value=1.5&attr.country=DE&id=x+y";
    assert_eq!(server.post(path, "", b"").status, 202);
    assert_eq!(server.records(), 5_004);
}

#[test]
fn every_bad_input_has_its_status_and_code_and_nothing_is_counted() {
    let server = Server::start();
    let json = "content-type: application/json\r\n";
    let ndjson = "content-type: application/x-ndjson\r\n";
    let avro = "content-type: application/avro\r\n";
    let many = "{\"item\":\"v\"}\n".repeat(100_001);
    let brackets = "[".repeat(100_000);
    let gzip = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let zstd = "content-type: application/json\r\ncontent-encoding: zstd\r\n";
    let br = "content-type: application/json\r\ncontent-encoding: br\r\n";
    let long_key = format!("{json}idempotency-key: {}\r\n", "k".repeat(257));
    let events = "/v1/events";
    let cases: [(&str, &str, &[u8], u16, &str); 26] = [
        (events, json, b"{", 400, "invalid_json"),
        (events, json, b"\"x\"", 400, "invalid_json"),
        (events, json, br#"{"item":"v","value":NaN}"#, 400, "invalid_json"),
        (events, json, brackets.as_bytes(), 400, "invalid_json"),
        (events, json, b"{\"item\":\"\xff\"}", 400, "unreadable_body"),
        (events, json, b"", 422, "empty_batch"),
        (events, json, b"[]", 422, "empty_batch"),
        (events, ndjson, b"\n\n", 422, "empty_batch"),
        (events, json, br#"{"item":"a\u0001"}"#, 422, "all_rejected"),
        (events, ndjson, b"no\nno\n", 422, "all_rejected"),
        (events, ndjson, many.as_bytes(), 413, "too_many_events"),
        (events, avro, b"Obj\x01", 400, "invalid_avro"),
        (events, avro, b"{}", 400, "invalid_avro"),
        (events, gzip, b"{\"item\":\"v\"}", 400, "unreadable_body"),
        (events, zstd, b"{\"item\":\"v\"}", 400, "unreadable_body"),
        (events, br, b"x", 415, "unsupported_encoding"),
        (events, "", b"{\"item\":\"v\"}", 415, "unsupported_media_type"),
        (events, "content-type: text/csv\r\n", b"v", 415, "unsupported_media_type"),
        (events, &long_key, b"{\"item\":\"v\"}", 400, "invalid_parameter"),
        ("/v1/events?type=view", json, b"{\"item\":\"v\"}", 400, "invalid_parameter"),
        ("/v1/items/v/events?typ=view", "", b"", 400, "invalid_parameter"),
        ("/v1/items/v/events", json, b"{}", 400, "invalid_parameter"),
        ("/v1/items/%FF/events", "", b"", 422, "invalid_item"),
        ("/v1/items/a%00/events", "", b"", 422, "invalid_item"),
        ("/v1/items/v/events?value=NaN", "", b"", 422, "invalid_value"),
        ("/v1/items/v/events?time=0", "", b"", 422, "event_too_old"),
    ];
    for (path, headers, body, status, code) in cases {
        let answer = server.post(path, headers, body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        let got = (answer.status, answer.code());
        assert_eq!(got, (status, code.to_owned()), "{path} {headers} {shown} {}", answer.body);
        assert!(answer.head.contains("content-type: application/problem+json"));
    }
    assert_eq!(server.records(), 0);
}

#[test]
fn large_bodies_and_bombs_are_refused() {
    let server = Server::start();
    // By its length, before a byte of it is sent.
    let head = "POST /v1/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
                content-length: 16777217\r\nexpect: 100-continue\r\n\r\n";
    assert_eq!(server.raw(head.as_bytes()).code(), "body_too_large");
    // A client that sends on regardless still reads the answer.
    let answer =
        server.post("/v1/events", "content-type: application/json\r\n", &vec![b' '; 20 << 20]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..64 {
        gzip.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    assert_eq!(server.post("/v1/events", headers, &bomb).code(), "body_too_large");
    assert_eq!(server.records(), 0);
}

#[test]
fn compressed_and_expected_bodies_are_taken() {
    let server = Server::start();
    let zstd = zstd::encode_all(&br#"{"item":"v"}"#[..], 3).unwrap();
    let headers = "content-type: application/json\r\ncontent-encoding: zstd\r\n";
    assert_eq!(server.post("/v1/events", headers, &zstd).status, 202);
    let mut stream = TcpStream::connect(server.addr).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
                content-length: 12\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 100);
    stream.write_all(br#"{"item":"v"}"#).unwrap();
    assert_eq!(answer(&mut stream).status, 202);
    assert_eq!(server.records(), 2);
}

#[test]
fn a_client_that_trickles_is_cut_off() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.addr).unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
                content-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let started = Instant::now();
    let trickle = std::thread::spawn(move || {
        while started.elapsed() < Duration::from_secs(20) && writer.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let cut = answer(&mut stream);
    assert_eq!((cut.status, cut.code().as_str()), (408, "request_timeout"));
    assert!(cut.head.contains("connection: close"), "{}", cut.head);
    assert!(started.elapsed() < Duration::from_secs(15));
    drop(stream);
    trickle.join().unwrap();
}

#[test]
fn a_log_that_cannot_write_is_told_apart_from_one_that_may_have() {
    let server = Server::start();
    let mut batch: Vec<String> = (0..40).map(|n| format!(r#"{{"item":"i{n}"}}"#)).collect();
    batch.push("{}".into());
    let batch = format!("[{}]", batch.join(","));
    *server.log.refuses.lock() = Some(ErrorKind::Overloaded);
    let refused = server.json(&batch);
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    *server.log.refuses.lock() = Some(ErrorKind::Unavailable);
    assert_eq!(server.json(&batch).code(), "unavailable");
    *server.log.refuses.lock() = None;
    for (kind, code) in
        [(ErrorKind::Unavailable, "unavailable"), (ErrorKind::Conflict, "outcome_unknown")]
    {
        *server.log.fails.lock() = Some(kind);
        let before = server.records();
        let answer = server.json(&batch);
        assert_eq!(answer.status, 202);
        let answer: api::AcceptedAnswer = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.accepted, server.records() - before);
        assert_eq!(answer.accepted + answer.rejected.len() as u64, 41);
        let failed = answer.rejected.iter().filter(|r| r.retryable && r.code == code).count();
        assert_eq!(failed, answer.rejected.len() - 1);
        assert!(answer.rejected.is_sorted_by_key(|r| r.index));
    }
    server.admission.stop();
    let stopping = server.json(&batch);
    assert_eq!((stopping.status, stopping.code().as_str()), (503, "not_ready"));
}

#[test]
fn wrong_paths_methods_and_panics_are_problems() {
    let server = Server::start();
    let missing = server.get("/v2/events");
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
    let wrong = server.get("/v1/events");
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.write_all(b"GET /panic HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let panicked = answer(&mut stream);
    assert_eq!((panicked.status, panicked.code().as_str()), (500, "internal"));
    stream.write_all(b"GET /subjects HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).body, r#"["tally-events-value"]"#);
    for path in ["/schemas/ids/1", "/subjects/tally-events-value/versions/latest", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.get("/subjects/tally-events-value/versions").body, "[1]");
    for missing in [
        "/schemas/ids/2",
        "/schemas/ids/%ff",
        "/subjects/x/versions",
        "/subjects/x/versions/1",
        "/subjects/tally-events-value/versions/2",
    ] {
        let answer = server.get(missing);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{missing}");
        let head = format!(
            "GET {missing} HTTP/1.1\r\nhost: t\r\naccept: application/vnd.schemaregistry.v1+json\r\n\r\n"
        );
        let answer = server.raw(head.as_bytes());
        assert!(answer.head.contains("content-type: application/vnd.schemaregistry.v1+json"));
        assert!(answer.body.starts_with(r#"{"error_code":404"#), "{}", answer.body);
    }
    server.json("{}");
    let metrics = server.get("/metrics").body;
    for line in [
        r#"tally_http_requests_total{method="GET",route="other",status="404"} 1"#,
        r#"tally_events_rejected_total{code="invalid_item"} 1"#,
        "tally_events_accepted_total 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn the_description_lists_every_path_and_no_other() {
    let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
    let described: std::collections::BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let source = [
        include_str!("activity.rs"),
        include_str!("admin.rs"),
        include_str!("audits.rs"),
        include_str!("backups.rs"),
        include_str!("counters.rs"),
        include_str!("counts.rs"),
        include_str!("dead_letters.rs"),
        include_str!("details/list.rs"),
        include_str!("details/mod.rs"),
        include_str!("bulk.rs"),
        include_str!("events/mod.rs"),
        include_str!("explain.rs"),
        include_str!("health.rs"),
        include_str!("items.rs"),
        include_str!("live.rs"),
        include_str!("keys.rs"),
        include_str!("log_level.rs"),
        include_str!("recounts.rs"),
        include_str!("reports.rs"),
        include_str!("routing.rs"),
        include_str!("top.rs"),
        include_str!("trending.rs"),
    ];
    let (routes, _) =
        ingest_routes(Arc::new(MemoryLog::default()), Arc::new(Admission::new(2, 1 << 30)));
    let mut routed: std::collections::BTreeSet<String> = routes
        .listed
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")))
        .collect();
    // The other paths need an engine to be built; their literals are read from the source.
    for text in source {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in code.split(".add(").skip(1) {
            let mut literals = call.split(']').next().unwrap().split('"').skip(1).step_by(2);
            let path = literals.next().unwrap();
            routed.extend(literals.map(|method| format!("{method} {path}")));
        }
    }
    assert_eq!(described, routed);
    let text = openapi::DOCUMENT;
    for reference in text.split(r##""$ref": "#/components/schemas/"##).skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not defined");
    }
    for code in ProblemCode::ALL {
        assert!(text.contains(&format!("\"{}\"", code.as_str())), "{code:?} is not described");
    }
}
