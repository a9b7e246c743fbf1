//! What the generator makes is what the contract takes, in every format, and the same for a seed.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::*;

const NOW_MS: u64 = 1_795_255_200_123;

fn options(format: BodyFormat) -> GeneratorOptions {
    GeneratorOptions {
        seed: 1,
        items: 1000,
        skew: 1.05,
        hot: 0.0,
        duplicates: 0.05,
        attributes: true,
        format,
        track: true,
        started_ms: NOW_MS,
    }
}

fn made(format: BodyFormat, events: u32) -> (Vec<u8>, Vec<Tracked>) {
    let mut tracked = Vec::new();
    let body = Generator::new(&options(format)).body(events, NOW_MS, &mut tracked);
    (body, tracked)
}

fn lines(body: &[u8]) -> Vec<Value> {
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[test]
fn ndjson_events_are_of_the_contract_and_of_its_size() {
    let (body, tracked) = made(BodyFormat::Ndjson, 10_000);
    let events = lines(&body);
    assert_eq!((events.len(), tracked.len()), (10_000, 10_000));
    let bytes = body.len() / events.len();
    assert!((150..=180).contains(&bytes), "{bytes} bytes an event");
    let (mut ids, mut numbers) = (HashSet::new(), HashSet::new());
    for (event, tracked) in events.iter().zip(&tracked) {
        let id = event["id"].as_str().expect("an id");
        let uuid = uuid::Uuid::parse_str(id).expect("a UUID");
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(event["item"], item_text(tracked.rank));
        assert_eq!(event["type"], EVENT_TYPES[usize::from(tracked.event_type)]);
        assert_eq!(event["time"], "2026-11-21T10:00:00.123Z");
        let milli = event["value"].as_f64().map_or(0, |value| (value * 1e3).round() as u32);
        assert_eq!(milli, tracked.value_milli);
        assert_eq!(ids.insert(id.to_owned()), !tracked.is_duplicate, "{id}");
        assert_eq!(numbers.insert(tracked.number), !tracked.is_duplicate, "{id}");
    }
    let duplicates = tracked.iter().filter(|event| event.is_duplicate).count();
    assert!((380..=620).contains(&duplicates), "5 % within five deviations: {duplicates}");
}

#[test]
fn a_seed_makes_the_same_bytes_and_another_start_other_ids() {
    assert_eq!(made(BodyFormat::Ndjson, 500), made(BodyFormat::Ndjson, 500));
    let later = GeneratorOptions { started_ms: NOW_MS + 1, ..options(BodyFormat::Ndjson) };
    let body = Generator::new(&later).body(500, NOW_MS, &mut Vec::new());
    let (first, _) = made(BodyFormat::Ndjson, 500);
    for (a, b) in lines(&first).iter().zip(lines(&body)) {
        assert_ne!(a["id"], b["id"]);
        assert_eq!((&a["item"], &a["type"]), (&b["item"], &b["type"]));
    }
}

#[test]
fn json_is_an_object_for_one_and_an_array_for_more() {
    let one: Value = serde_json::from_slice(&made(BodyFormat::Json, 1).0).expect("JSON");
    assert!(one["item"].is_string());
    let many: Value = serde_json::from_slice(&made(BodyFormat::Json, 3).0).expect("JSON");
    assert_eq!(many.as_array().map(Vec::len), Some(3));
}

#[derive(Deserialize)]
struct AvroEvent {
    id: Option<serde_bytes_16::Uuid>,
    item: String,
    #[serde(rename = "type")]
    event_type: String,
    time: Option<i64>,
    value: Option<f64>,
    attributes: std::collections::HashMap<String, String>,
}

/// A fixed of 16 bytes, however the reader hands it over.
mod serde_bytes_16 {
    use serde::de::{Deserializer, Error, Visitor};

    #[derive(Debug, PartialEq)]
    pub(super) struct Uuid(pub(super) [u8; 16]);

    impl<'de> serde::Deserialize<'de> for Uuid {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Uuid;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("16 bytes")
                }
                fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Uuid, E> {
                    bytes.try_into().map(Uuid).map_err(E::custom)
                }
            }
            from.deserialize_bytes(Bytes)
        }
    }
}

#[test]
fn an_avro_body_reads_as_the_same_events() {
    let (json, _) = made(BodyFormat::Ndjson, 2000);
    let (avro, _) = made(BodyFormat::Avro, 2000);
    let mut reader = serde_avro_fast::object_container_file_encoding::Reader::from_slice(&avro)
        .expect("a container file");
    let events: Vec<AvroEvent> =
        reader.deserialize().collect::<Result<_, _>>().expect("events of the schema");
    assert_eq!(events.len(), 2000);
    for (event, line) in events.iter().zip(lines(&json)) {
        let id = uuid::Uuid::from_bytes(event.id.as_ref().expect("an id").0);
        assert_eq!(line["id"], id.to_string());
        assert_eq!(
            (&line["item"], &line["type"]),
            (&event.item.as_str().into(), &event.event_type.as_str().into())
        );
        assert_eq!(event.time, i64::try_from(NOW_MS).ok());
        assert_eq!(line.get("value").and_then(Value::as_f64), event.value);
        assert_eq!(line["attributes"]["country"], event.attributes["country"].as_str());
    }
}

#[test]
fn every_rank_has_a_name_of_its_own() {
    let names: HashSet<[u8; ITEM_BYTES]> = (0..200_000).map(item_name).collect();
    assert_eq!(names.len(), 200_000);
    assert_eq!(item_text(0).len(), ITEM_BYTES);
}

#[test]
fn one_item_has_the_share_that_is_asked_for() {
    let mut generator =
        Generator::new(&GeneratorOptions { hot: 0.9, ..options(BodyFormat::Ndjson) });
    let draws = 20_000;
    let hot = (0..draws).filter(|_| generator.next(1).0.rank == 0).count();
    let share = hot as f64 / f64::from(draws);
    assert!((0.89..0.93).contains(&share), "{share}");
}
