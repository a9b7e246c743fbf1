//! How long one event takes from the bytes of a body to the buffers of the log, on one thread:
//! `cargo bench -p tally --bench parse`.

#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

#[path = "../src/http/events/read/mod.rs"]
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine::admission::Admission;
use engine::gateway::{EventBatch, Gateway};
use engine::ports::{AppendPart, Clock, EventLog, LogBounds, PartResult, PortError};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::{Batch, Offset, PartitionId, TimestampMs};
use read::{IdSource, Intake};
use serde_avro_fast::object_container_file_encoding::{Compression, WriterBuilder};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);
const EVENTS: usize = 1_000;
const ROUNDS: u32 = 1_000;

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> ClockReading {
        ClockReading { wall: NOW, monotonic_ms: 0 }
    }
}

struct NoLog;

impl EventLog for NoLog {
    fn partitions(&self) -> u16 {
        2
    }

    fn append(&self, _: Vec<AppendPart>) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        Ok(futures::future::ready(Vec::new()).boxed())
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

#[derive(serde::Serialize)]
struct AvroEvent {
    id: String,
    item: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    time: i64,
    value: f64,
    attributes: BTreeMap<&'static str, &'static str>,
}

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[
    {"name":"id","type":"string"},{"name":"item","type":"string"},{"name":"type","type":"string"},
    {"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"value","type":"double"},
    {"name":"attributes","type":{"type":"map","values":"string"}}]}"#;

fn id(n: usize) -> String {
    format!("0192f0c1-7e5a-7cc3-98c4-{n:012x}")
}

fn ndjson() -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "{{\"id\":\"{}\",\"item\":\"item-{:07}\",\"type\":\"view\",\"time\":\
             \"2026-11-21T09:59:59.{:03}Z\",\"value\":12.5,\"attributes\":{{\"country\":\"DE\",\
             \"device\":\"tv\"}}}}\n",
            id(n),
            n * 7_919 % 100_000,
            n % 1_000
        )
    };
    (0..EVENTS).map(line).collect::<String>().into_bytes()
}

fn avro() -> Vec<u8> {
    let schema: serde_avro_fast::Schema = SCHEMA.parse().expect("the schema is valid");
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let mut writer = WriterBuilder::new(&mut config)
        .compression(Compression::Null)
        .build(Vec::new())
        .expect("a header");
    for n in 0..EVENTS {
        let event = AvroEvent {
            id: id(n),
            item: format!("item-{:07}", n * 7_919 % 100_000),
            event_type: "view",
            time: NOW.0 - n as i64,
            value: 12.5,
            attributes: [("country", "DE"), ("device", "tv")].into(),
        };
        writer.serialize(event).expect("an event");
    }
    writer.into_inner().expect("a file")
}

type Reader = for<'b, 'i, 's> fn(
    &'b [u8],
    &'i mut Intake<'s, EventBatch<'static>>,
) -> Result<(), read::BodyFault>;

fn measure(name: &str, gateway: &'static Gateway, body: &[u8], reader: Reader) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..ROUNDS / 5 {
            let mut batch = gateway.begin().expect("events are accepted");
            let mut intake = Intake::new(&mut batch, IdSource::random());
            reader(body, &mut intake).expect("the body is fine");
            let verdicts = intake.finish();
            assert!(verdicts.rejections.is_empty() && verdicts.events as usize == EVENTS);
            std::hint::black_box(&batch);
        }
        let events = f64::from(ROUNDS / 5) * EVENTS as f64;
        best = best.min(started.elapsed().as_nanos() as f64 / events);
    }
    println!("{name:<8} {best:>6.0} ns/event  {:>4} bytes/event", body.len() / EVENTS);
}

fn main() {
    let admission = Arc::new(Admission::new(2, 1 << 30));
    let gateway = Gateway::new(Arc::new(NoLog), Arc::new(StillClock), admission, 7 * 86_400_000);
    let gateway: &'static Gateway = Box::leak(Box::new(gateway));
    let lines = ndjson();
    let objects: Vec<&[u8]> = lines.trim_ascii_end().split(|&b| b == b'\n').collect();
    let array = [b"[", objects.join(&b","[..]).as_slice(), b"]"].concat();
    measure("ndjson", gateway, &lines, read::ndjson::read);
    measure("json", gateway, &array, read::json::read);
    measure("avro", gateway, &avro(), read::avro::read);
}
