use proptest::prelude::*;
use serde_avro_fast::object_container_file_encoding::{
    Compression, CompressionLevel, WriterBuilder,
};
use serde_avro_fast::ser::SerializerConfig;

use super::*;

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);
const WEEK_MS: i64 = 7 * 86_400_000;

/// What the parsers offered, as text.
#[derive(Default)]
struct Recorder(Vec<String>);

impl EventSink for Recorder {
    fn now(&self) -> TimestampMs {
        NOW
    }

    fn offer(&mut self, index: u32, event: &Event<'_>, _: Repeats) -> Result<(), Violation> {
        event.check()?;
        model::event::check_time(event.time, NOW, WEEK_MS)?;
        let value = event.value.map(|value| value.to_string()).unwrap_or_default();
        let late_ms = NOW.0 - event.time.0;
        let Event { item, event_type, attributes, id, .. } = event;
        let id = if id.len() == 36 { "uuid" } else { id };
        self.0.push(format!("{index} {id} {item} {event_type} {late_ms} {value} {attributes:?}"));
        Ok(())
    }
}

type Reader = fn(&[u8], &mut Intake<'_, Recorder>) -> Result<(), BodyFault>;

/// Events as text, and the index and code of those refused.
type Judged = (Vec<String>, Vec<(u32, &'static str)>);

/// The events taken, and of those refused the index and code; or the code of the whole body.
fn read(reader: Reader, body: &[u8]) -> Result<Judged, Fault> {
    let mut recorder = Recorder::default();
    let mut intake = Intake::new(&mut recorder, IdSource::random());
    reader(body, &mut intake)?;
    let verdicts = intake.finish();
    let refused = verdicts.rejections.iter().map(|r| (r.index, r.fault.code.as_str())).collect();
    Ok((recorder.0, refused))
}

fn code(reader: Reader, body: &[u8]) -> &'static str {
    read(reader, body).expect_err("the body is refused").code.as_str()
}

/// The verdict on one JSON object.
fn verdict(object: &str) -> &'static str {
    match read(json::read::<Recorder>, object.as_bytes()) {
        Ok((events, refused)) => match refused.as_slice() {
            [(0, code)] => code,
            _ => {
                assert_eq!(events.len(), 1, "{object}");
                "accepted"
            }
        },
        Err(fault) => fault.code.as_str(),
    }
}

#[test]
fn json_takes_every_field_and_its_defaults() {
    let body = r#" {"id":"a","item":"v\u00e9\"","type":"like","time":"2026-11-21T10:00:00.000Z",
        "value":-1.25e1,"attributes":{"country":"DE","k\n":""},"more":[{"x":null}]}"#;
    let (events, refused) = read(json::read::<Recorder>, body.as_bytes()).unwrap();
    assert_eq!(events, [r#"0 a vé" like 0 -12.5 [("country", "DE"), ("k\n", "")]"#]);
    assert_eq!(refused, []);
    let nulls = r#"[{"item":"v"},
        {"item":"w","id":null,"type":null,"time":null,"value":null,"attributes":null}]"#;
    let (events, _) = read(json::read::<Recorder>, nulls.as_bytes()).unwrap();
    assert_eq!(events, ["0 uuid v view 0  []", "1 uuid w view 0  []"]);
}

#[test]
fn json_gives_each_rule_its_code() {
    let long = |n: usize| "x".repeat(n);
    let event = |field: &str| format!(r#"{{"item":"v",{field}}}"#);
    let many: Vec<String> = (0..17).map(|n| format!(r#""k{n}":"v""#)).collect();
    let cases = [
        (r#"{"item":"v"}"#.to_owned(), "accepted"),
        ("{}".into(), "invalid_item"),
        (r#"{"item":null}"#.into(), "invalid_item"),
        (r#"{"item":""}"#.into(), "invalid_item"),
        (r#"{"item":5}"#.into(), "invalid_item"),
        (r#"{"item":["v"]}"#.into(), "invalid_item"),
        (r#"{"item":"a\u0000b"}"#.into(), "invalid_item"),
        (format!(r#"{{"item":"{}"}}"#, long(257)), "invalid_item"),
        ("{\"item\":\"a\u{1}b\"}".into(), "invalid_json"),
        (r#"{"item":"\ud800"}"#.into(), "invalid_json"),
        (event(r#""type":"View""#), "invalid_type"),
        (event(r#""type":7"#), "invalid_type"),
        (event(&format!(r#""type":"{}""#, long(65))), "invalid_type"),
        (event(r#""id":"""#), "invalid_id"),
        (event(r#""id":"ä""#), "invalid_id"),
        (event(r#""id":12"#), "invalid_id"),
        (event(&format!(r#""id":"{}""#, long(65))), "invalid_id"),
        (event(r#""time":"yesterday""#), "invalid_time"),
        (event(r#""time":1.5"#), "invalid_time"),
        (event(r#""time":1e300"#), "invalid_time"),
        (event(r#""time":1e400"#), "invalid_json"),
        (event(r#""time":true"#), "invalid_time"),
        (event(r#""time":99999999999999999999"#), "invalid_time"),
        (event(r#""time":0"#), "event_too_old"),
        (event(r#""time":"2027-01-01T00:00:00Z""#), "event_in_future"),
        (event(r#""time":1795255200000"#), "accepted"),
        (event(r#""time":1795255200000.0"#), "accepted"),
        (event(r#""value":"1""#), "invalid_value"),
        (event(r#""value":9.2e12"#), "invalid_value"),
        (event(r#""value":1e999999999"#), "invalid_value"),
        (event(r#""value":{}"#), "invalid_value"),
        (event(r#""value":NaN"#), "invalid_json"),
        (event(r#""value":Infinity"#), "invalid_json"),
        (event(r#""value":01"#), "invalid_json"),
        (event(r#""attributes":["DE"]"#), "invalid_attributes"),
        (event(r#""attributes":"DE""#), "invalid_attributes"),
        (event(r#""attributes":{"k":1}"#), "invalid_attributes"),
        (event(r#""attributes":{"k":null}"#), "invalid_attributes"),
        (event(r#""attributes":{"k":"a","k":"b"}"#), "invalid_attributes"),
        (event(&format!(r#""attributes":{{{}}}"#, many.join(","))), "invalid_attributes"),
        (event(&format!(r#""attributes":{{"k":"{}"}}"#, long(257))), "invalid_attributes"),
        (event(r#""item":"w""#), "invalid_json"),
        (event(r#""value":1,"value":2"#), "invalid_json"),
        (r#"{"item":"v"} x"#.into(), "invalid_json"),
        (r#"{"item":"v""#.into(), "invalid_json"),
        ("5".into(), "invalid_json"),
    ];
    for (object, expected) in cases {
        assert_eq!(verdict(&object), expected, "{object}");
    }
}

#[test]
fn json_arrays_are_judged_by_element_and_broken_ones_whole() {
    let body = br#"[{"item":"a"}, 5, {"item":""}, [], {"item":"b","item":"b"}, {"item":"c"}]"#;
    let (events, refused) = read(json::read::<Recorder>, body).unwrap();
    assert_eq!(events, ["0 uuid a view 0  []", "5 uuid c view 0  []"]);
    let json = "invalid_json";
    assert_eq!(refused, [(1, json), (2, "invalid_item"), (3, json), (4, json)]);
    for broken in [&br#"[{"item":"a"},"#[..], br#"[{"item":"a"}] ]"#, br#"[{"item":"a"},]"#] {
        assert_eq!(code(json::read::<Recorder>, broken), "invalid_json");
    }
    assert_eq!(code(json::read::<Recorder>, b"{\"item\":\"\xff\"}"), "unreadable_body");
    assert_eq!(read(json::read::<Recorder>, b" \n").unwrap().0.len(), 0);
    assert_eq!(read(json::read::<Recorder>, b"[]").unwrap().0.len(), 0);
}

#[test]
fn deep_nesting_overflows_nothing() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    for body in [
        deep("[", "]"),
        deep("[", ""),
        deep(r#"{"a":"#, "}"),
        format!(r#"{{"item":"v","x":{}}}"#, deep("[", "")),
        format!(r#"{{"item":"v","value":{}}}"#, deep("[", "")),
        format!(r#"{{"item":"v","attributes":{}}}"#, deep(r#"{"a":"#, "")),
    ] {
        assert_eq!(verdict(&body), "invalid_json", "{}", &body[..20]);
        let (_, refused) = read(ndjson::read::<Recorder>, body.as_bytes()).unwrap();
        assert_eq!(refused, [(0, "invalid_json")]);
    }
    let fine = format!(r#"{{"item":"v","x":{}}}"#, deep("[", "]"));
    assert_eq!(verdict(&fine), "accepted");
}

#[test]
fn ndjson_refuses_only_the_lines_that_are_wrong() {
    let body =
        b"\xef\xbb\xbf{\"item\":\"a\"}\r\n\n  \nnot json\n{\"item\":\"\xff\"}\n{\"item\":\"b\"}";
    let (events, refused) = read(ndjson::read::<Recorder>, body).unwrap();
    assert_eq!(events, ["0 uuid a view 0  []", "3 uuid b view 0  []"]);
    assert_eq!(refused, [(1, "invalid_json"), (2, "invalid_json")]);
    let many = "{\"item\":\"a\"}\n".repeat(BATCH_EVENTS_MAX + 1);
    assert_eq!(code(ndjson::read::<Recorder>, many.as_bytes()), "too_many_events");
}

#[test]
fn cloud_events_become_events() {
    let event = r#"{"specversion":"1.0","id":"1","source":"/player","type":"view","subject":"v",
        "time":"2026-11-21T09:59:59Z","data":{"value":0.1,"x":[]},"ext":"y"}"#;
    let (events, _) = read(cloud_events::read_one::<Recorder>, event.as_bytes()).unwrap();
    assert_eq!(events, ["0 /player 1 v view 1000 0.1 []"]);
    let bad = |from: &str, to: &str| event.replace(from, to);
    let batch = [
        event.to_owned(),
        bad(r#""1.0""#, r#""2.0""#),
        bad(r#""id":"1""#, r#""id":1"#),
        bad("subject", "object"),
        bad(r#""view""#, r#""com.Example""#),
        bad("0.1", r#""0.1""#),
        bad("2026-11-21T09:59:59Z", "now"),
        bad(r#"{"value":0.1,"x":[]}"#, "5"),
    ];
    let body = format!("[{}]", batch.join(","));
    let (events, refused) = read(cloud_events::read_batch::<Recorder>, body.as_bytes()).unwrap();
    assert_eq!(events.len(), 2);
    let expected = ["json", "id", "item", "type", "value", "time"];
    let codes: Vec<_> = refused.iter().map(|(_, code)| &code["invalid_".len()..]).collect();
    assert_eq!(codes, expected);
}

#[derive(serde::Serialize)]
struct AvroEvent<'a> {
    item: &'a str,
    time: i64,
    value: f64,
    extra: Vec<&'a str>,
    attributes: std::collections::BTreeMap<&'a str, &'a str>,
}

const WRITER: &str = r#"{"type":"record","name":"E","fields":[
    {"name":"extra","type":{"type":"array","items":"string"}},
    {"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"value","type":"double"},
    {"name":"attributes","type":{"type":"map","values":"string"}},
    {"name":"item","type":"string"}]}"#;

fn avro_file(compression: Compression, items: &[&str]) -> Vec<u8> {
    let schema: serde_avro_fast::Schema = WRITER.parse().unwrap();
    let mut config = SerializerConfig::new(&schema);
    let mut writer =
        WriterBuilder::new(&mut config).compression(compression).build(Vec::new()).unwrap();
    for item in items {
        let extra = vec!["x"; 3];
        let attributes = [("country", "DE")].into();
        let event = AvroEvent { item, time: (NOW.0 - 5) * 1_000, value: 0.1, extra, attributes };
        writer.serialize(event).unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn avro_reads_every_codec_by_the_names_of_fields() {
    let level = CompressionLevel::default();
    for compression in [
        Compression::Null,
        Compression::Deflate { level },
        Compression::Snappy,
        Compression::Zstandard { level },
    ] {
        let file = avro_file(compression, &["a", "", "b"]);
        let (events, refused) = read(avro::read::<Recorder>, &file).unwrap();
        assert_eq!(
            events,
            [
                r#"0 uuid a view 5 0.1 [("country", "DE")]"#,
                r#"2 uuid b view 5 0.1 [("country", "DE")]"#
            ]
        );
        assert_eq!(refused, [(1, "invalid_item")]);
        assert_eq!(code(avro::read::<Recorder>, &file[..file.len() - 1]), "invalid_avro");
    }
}

/// A container file of one block, by hand.
fn container(schema: &str, count: i64, block: &[u8]) -> Vec<u8> {
    let mut file = b"Obj\x01\x02".to_vec();
    for text in ["avro.schema", schema] {
        zigzag(&mut file, text.len() as i64);
        file.extend_from_slice(text.as_bytes());
    }
    file.push(0);
    file.extend_from_slice(&[7; 16]);
    zigzag(&mut file, count);
    zigzag(&mut file, block.len() as i64);
    file.extend_from_slice(block);
    file.extend_from_slice(&[7; 16]);
    file
}

fn zigzag(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn record(fields: &str) -> String {
    format!(
        r#"{{"type":"record","name":"E","fields":[{{"name":"item","type":"string"}}{fields}]}}"#
    )
}

/// The verdict on one event of item `v` with one more field of this type and bytes.
fn field_verdict(name: &str, kind: &str, bytes: &[u8]) -> Result<String, String> {
    let schema = record(&format!(r#",{{"name":"{name}","type":{kind}}}"#));
    let file = container(&schema, 1, &[b"\x02v", bytes].concat());
    let (events, refused) =
        read(avro::read::<Recorder>, &file).map_err(|fault| fault.code.as_str().to_owned())?;
    match refused.first() {
        Some((_, code)) => Err((*code).to_owned()),
        None => Ok(events[0].trim_start_matches("0 uuid v view ").to_owned()),
    }
}

#[test]
fn avro_keeps_logical_types_exactly() {
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":30,"scale":3}"#;
    let fixed =
        r#"{"type":"fixed","name":"D","size":2,"logicalType":"decimal","precision":4,"scale":2}"#;
    let nanos = r#"{"type":"long","logicalType":"timestamp-nanos"}"#;
    let mut nano_bytes = Vec::new();
    zigzag(&mut nano_bytes, (NOW.0 - 1) * 1_000_000);
    let wide = [&[34][..], &[0xff; 15], &[0xfe, 0x0c]].concat();
    type Case<'a> = (&'a str, &'a str, &'a [u8], Result<&'a str, &'a str>);
    let cases: [Case<'_>; 16] = [
        ("value", decimal, b"\x04\x30\xd4", Ok("0 12.5 []")),
        ("value", decimal, b"\x02\xff", Ok("0 -0.001 []")),
        ("value", decimal, &wide, Ok("0 -0.5 []")),
        ("value", decimal, &[&[34][..], &[0x7f; 17]].concat(), Err("invalid_value")),
        ("value", fixed, b"\x04\xe2", Ok("0 12.5 []")),
        ("value", "\"long\"", b"\x03", Ok("0 -2 []")),
        ("value", "\"float\"", &0.1f32.to_le_bytes(), Ok("0 0.1 []")),
        ("value", "\"double\"", &f64::NAN.to_le_bytes(), Err("invalid_value")),
        ("value", "\"double\"", &1e300f64.to_le_bytes(), Err("invalid_value")),
        ("value", "\"string\"", b"\x061.5", Ok("0 1.5 []")),
        ("value", r#"["null","double"]"#, b"\x00", Ok("0  []")),
        ("value", r#"["null","double"]"#, b"\x08", Err("invalid_avro")),
        ("value", "\"boolean\"", b"\x01", Err("invalid_avro")),
        ("time", nanos, &nano_bytes, Ok("1  []")),
        ("time", "\"string\"", b"\x282026-11-21T10:00:00Z", Ok("0  []")),
        (
            "attributes",
            "{\"type\":\"map\",\"values\":\"string\"}",
            b"\x02\x02k\x02\xff\x00",
            Err("invalid_attributes"),
        ),
    ];
    for (name, kind, bytes, expected) in cases {
        let got = field_verdict(name, kind, bytes);
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{name} {kind} {bytes:?}");
    }
    let uuid = r#"{"type":"fixed","name":"U","size":16}"#;
    let schema = record(&format!(r#",{{"name":"id","type":{uuid}}}"#));
    let file = container(&schema, 1, &[b"\x02v".as_slice(), &[0xab; 16]].concat());
    assert_eq!(read(avro::read::<Recorder>, &file).unwrap().0, ["0 uuid v view 0  []"]);
}

#[test]
fn hostile_avro_costs_nothing() {
    let deep = "[".repeat(100_000);
    let nested =
        format!("{}\"null\"{}", r#"{"type":"array","items":"#.repeat(10_000), "}".repeat(10_000));
    let huge = [b"\x02v".as_slice(), &[0xfe; 9], &[1]].concat();
    let nulls = record(r#",{"name":"x","type":{"type":"array","items":"null"}}"#);
    // Two fields of the next record, forty levels down: 2^40 values without a byte.
    let mut double = String::from("\"null\"");
    for level in 0..40 {
        double = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{double}}},{{"name":"b","type":"{}"}}]}}"#,
            if level == 0 { "null".to_owned() } else { format!("R{}", level - 1) }
        );
    }
    let list = r#",{"name":"x","type":{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}}"#;
    let bodies = [
        b"Obj\x02".to_vec(),
        b"not avro at all".to_vec(),
        container(&deep, 1, b"\x02v"),
        container(&nested, 1, b"\x02v"),
        container("{}", 1, b"\x02v"),
        container("\"string\"", 1, b"\x02v"),
        container(&record(",{\"name\":\"x\",\"type\":\"Unknown\"}"), 1, b"\x02v"),
        container(
            r#"{"type":"record","name":"E","fields":[{"name":"x","type":"long"}]}"#,
            1,
            b"\x02",
        ),
        container(&record(""), 1, b"\x01v"),
        container(&record(""), -1, b"\x02v"),
        container(&record(""), 1, b"\x02vx"),
        container(&nulls, 1, &huge),
        container(&record(list), 1, &[&b"\x02v"[..], &[2; 100_000]].concat()),
        container(&record(&format!(r#",{{"name":"x","type":{double}}}"#)), 1, b"\x02v"),
    ];
    for (n, body) in bodies.iter().enumerate() {
        assert_eq!(code(avro::read::<Recorder>, body), "invalid_avro", "body {n}");
    }
    let many = container(&record(""), i64::MAX, b"\x02v");
    assert_eq!(code(avro::read::<Recorder>, &many), "too_many_events");
    let level = CompressionLevel::default();
    for compression in [Compression::Deflate { level }, Compression::Zstandard { level }] {
        let long = "x".repeat(9 << 20);
        let bomb = avro_file(compression, &[&long, &long]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(code(avro::read::<Recorder>, &bomb), "body_too_large");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for reader in [json::read::<Recorder> as Reader, ndjson::read, avro::read,
            cloud_events::read_one, cloud_events::read_batch] {
            let _ = read(reader, &bytes);
        }
        let _ = read(avro::read, &[b"Obj\x01".as_slice(), &bytes].concat());
        let block = [b"\x02v".as_slice(), &bytes].concat();
        let kind = r#",{"name":"attributes","type":{"type":"map","values":["null","string"]}},{"name":"y","type":{"type":"map","values":["null","bytes"]}}"#;
        let _ = read(avro::read, &container(&record(kind), 3, &block));
    }

    #[test]
    fn no_mutation_panics(
        at in 0usize..10_000, to in any::<u8>(), cut in 0usize..10_000, codec in 0usize..4,
    ) {
        let level = CompressionLevel::default();
        let codecs = [Compression::Null, Compression::Deflate { level }, Compression::Snappy,
            Compression::Zstandard { level }];
        let mut file = avro_file(codecs[codec], &["a", "bb", "ccc"]);
        let len = file.len();
        file[at % len] = to;
        let _ = read(avro::read, &file);
        file.truncate(cut % len);
        let _ = read(avro::read, &file);
    }

    #[test]
    fn our_schema_by_the_short_way_is_read_as_by_the_long_one(
        at in 0usize..10_000, to in any::<u8>(), more in proptest::collection::vec(any::<u8>(), 0..4),
        is_whole in any::<bool>(),
    ) {
        let mut records = model::RecordBuf::new();
        for (id, value) in [("0192f0c1-7e5a-7cc3-98c4-dc0c0c07398f", Some(5)), ("order-17", None)] {
            records.push(&Event {
                id: id.into(),
                item: "日本".into(),
                event_type: "view".into(),
                time: NOW,
                value: value.map(|micros| Value::from_micros(micros).expect("a small value")),
                attributes: vec![("country".into(), "DE".into()), ("a".into(), "".into())],
            });
        }
        let records = model::record::split(records.payload());
        let mut block: Vec<u8> = records.flat_map(|record| record.expect("whole")).copied().collect();
        if !is_whole {
            let at = at % block.len();
            block.splice(at..=at, [&[to], &more[..]].concat());
        }
        // Another logical type of the id's makes no difference but that the schema is not ours.
        let ours = model::record::EVENT_SCHEMA;
        let other = ours.replace(r#""logicalType": "uuid""#, r#""logicalType": "decimal""#);
        prop_assert_ne!(ours, &other);
        let short = read(avro::read, &container(ours, 2, &block));
        prop_assert_eq!(&short, &read(avro::read, &container(&other, 2, &block)));
        prop_assert!(!is_whole || short.is_ok_and(|(events, _)| events.len() == 2));
    }

    #[test]
    fn json_and_ndjson_agree(item in "\\PC{1,20}", value in -1_000_000i64..1_000_000) {
        let object = serde_json::json!({"item": item, "value": value}).to_string();
        let one = read(json::read, object.as_bytes()).unwrap();
        let line = read(ndjson::read, object.as_bytes()).unwrap();
        prop_assert_eq!(one, line);
    }
}
