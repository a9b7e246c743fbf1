//! Bodies of requests: a thousand events each, with ids of their own.

use std::collections::BTreeMap;

use model::record::{EVENT_SCHEMA, split};
use model::{Event, RecordBuf, TimestampMs, Value};
use serde_avro_fast::object_container_file_encoding::{Compression, WriterBuilder};

/// When all of it happens.
pub(crate) const NOW: TimestampMs = TimestampMs(1_795_255_200_000);
/// Events of a body.
pub(crate) const EVENTS: usize = 1_000;

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

/// Lines of JSON.
pub(crate) fn ndjson(round: usize) -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "{{\"id\":\"{}\",\"item\":\"item-{:07}\",\"type\":\"view\",\"time\":\
             \"2026-11-21T09:59:59.{:03}Z\",\"value\":12.5,\"attributes\":{{\"country\":\"DE\",\
             \"device\":\"tv\"}}}}\n",
            id(round * EVENTS + n),
            (round * EVENTS + n) * 7_919 % 100_000,
            n % 1_000
        )
    };
    (0..EVENTS).map(line).collect::<String>().into_bytes()
}

/// An Avro container file of our schema.
pub(crate) fn avro(round: usize) -> Vec<u8> {
    let long = |out: &mut Vec<u8>, number: i64| {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    };
    let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        long(out, bytes.len() as i64);
        out.extend_from_slice(bytes);
    };
    let mut records = RecordBuf::new();
    for n in 0..EVENTS {
        records.push(&Event {
            id: id(round * EVENTS + n).into(),
            item: format!("item-{:07}", (round * EVENTS + n) * 7_919 % 100_000).into(),
            event_type: "view".into(),
            time: TimestampMs(NOW.0 - n as i64),
            value: Some(Value::from_f64(12.5).expect("a small value")),
            attributes: vec![("country".into(), "DE".into()), ("device".into(), "tv".into())],
        });
    }
    let block: Vec<u8> =
        split(records.payload()).flat_map(|record| record.expect("whole")).copied().collect();
    let sync = [7; 16];
    let mut file = b"Obj\x01".to_vec();
    long(&mut file, 1);
    bytes(&mut file, b"avro.schema");
    bytes(&mut file, EVENT_SCHEMA.as_bytes());
    file.push(0);
    file.extend_from_slice(&sync);
    long(&mut file, EVENTS as i64);
    bytes(&mut file, &block);
    file.extend_from_slice(&sync);
    file
}

/// An Avro container file of a schema that resolves to ours.
pub(crate) fn avro_other(round: usize) -> Vec<u8> {
    let schema: serde_avro_fast::Schema = SCHEMA.parse().expect("the schema is valid");
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    let mut writer = WriterBuilder::new(&mut config)
        .compression(Compression::Null)
        .build(Vec::new())
        .expect("a header");
    for n in 0..EVENTS {
        let event = AvroEvent {
            id: id(round * EVENTS + n),
            item: format!("item-{:07}", (round * EVENTS + n) * 7_919 % 100_000),
            event_type: "view",
            time: NOW.0 - n as i64,
            value: 12.5,
            attributes: [("country", "DE"), ("device", "tv")].into(),
        };
        writer.serialize(event).expect("an event");
    }
    writer.into_inner().expect("a file")
}

/// A JSON array.
pub(crate) fn json(round: usize) -> Vec<u8> {
    let lines = ndjson(round);
    let objects: Vec<&[u8]> = lines.trim_ascii_end().split(|&byte| byte == b'\n').collect();
    [b"[", objects.join(&b","[..]).as_slice(), b"]"].concat()
}
