//! Bodies of events, from any bytes. What is taken from one format is taken from another, and can
//! be counted once it is in the log.

use std::borrow::Cow;
use std::io::Write;

use api::ProblemCode;
use engine::gateway::Repeats;
use model::record::{Record, split};
use model::{Event, RecordBuf, TimestampMs, Violation};
use serde::de::IgnoredAny;

use super::Format;
use super::read::json::{any_event, each_element, utf8};
use super::read::{EventSink, IdSource, Intake, plain};

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);
const AGE_MS: i64 = 100 * 365 * 86_400_000;

/// The events taken and the refused ones, each with its index; or why the body is refused.
type Judged = Result<(Vec<(u32, Event<'static>)>, Vec<(u32, ProblemCode)>), ProblemCode>;

/// Takes what the gateway takes.
#[derive(Default)]
struct Recorder(Vec<(u32, Event<'static>)>);

impl EventSink for Recorder {
    fn now(&self) -> TimestampMs {
        NOW
    }

    fn offer(&mut self, index: u32, event: &Event<'_>, _: Repeats) -> Result<(), Violation> {
        event.check()?;
        model::event::check_time(event.time, NOW, AGE_MS)?;
        let owned = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        self.0.push((
            index,
            Event {
                id: owned(&event.id),
                item: owned(&event.item),
                event_type: owned(&event.event_type),
                time: event.time,
                value: event.value,
                attributes: event.attributes.iter().map(|(k, v)| (owned(k), owned(v))).collect(),
            },
        ));
        Ok(())
    }
}

fn judge(format: Format, body: &[u8]) -> Judged {
    let mut recorder = Recorder::default();
    let mut intake = Intake::new(&mut recorder, IdSource::from_key(b"fuzz"));
    format.read(body, &mut intake).map_err(|fault| fault.code)?;
    let verdicts = intake.finish();
    let refused: Vec<_> = verdicts.rejections.iter().map(|r| (r.index, r.fault.code)).collect();
    let mut indices: Vec<u32> = refused.iter().map(|(index, _)| *index).collect();
    indices.extend(recorder.0.iter().map(|(index, _)| *index));
    indices.sort_unstable();
    assert!(indices.into_iter().eq(0..verdicts.events), "one verdict for each event");
    for (_, event) in &recorder.0 {
        is_counted(event);
    }
    Ok((recorder.0, refused))
}

/// Whatever is accepted can be counted: the log gives it back as it was.
fn is_counted(event: &Event<'_>) {
    let mut records = RecordBuf::new();
    records.push(event);
    let bytes = split(records.payload()).next().expect("a record").expect("whole");
    let record = Record::read(bytes).expect("what is accepted can be counted");
    assert_eq!(record.to_event(), *event);
}

/// Writes events as JSON and reads them again.
fn come_back(judged: &Judged) {
    let Ok((events, _)) = judged else { return };
    let lines: Vec<String> = events.iter().map(|(_, event)| json_of(event)).collect();
    let (read, refused) = judge(Format::Ndjson, lines.join("\n").as_bytes()).expect("lines");
    assert_eq!(refused, []);
    assert!(read.iter().map(|(_, event)| event).eq(events.iter().map(|(_, event)| event)));
    same(&judge(Format::Json, array(&lines).as_bytes()), &Ok((read, refused)));
}

fn json_of(event: &Event<'_>) -> String {
    let text = |text: &str| serde_json::to_string(text).expect("a text is JSON");
    let pairs =
        event.attributes.iter().map(|(key, value)| format!("{}:{}", text(key), text(value)));
    let attributes = pairs.collect::<Vec<_>>().join(",");
    let value = event.value.map_or("null".to_owned(), |value| value.to_string());
    let (id, item, event_type) = (text(&event.id), text(&event.item), text(&event.event_type));
    let time = event.time.0;
    format!(
        r#"{{"id":{id},"item":{item},"type":{event_type},"time":{time},"value":{value},"attributes":{{{attributes}}}}}"#
    )
}

fn array(elements: &[impl AsRef<str>]) -> String {
    let elements: Vec<&str> = elements.iter().map(AsRef::as_ref).collect();
    format!("[{}]", elements.join(","))
}

fn same(one: &Judged, other: &Judged) {
    assert_eq!(one, other, "formats agree");
}

/// A JSON body; an array says the same as its elements line by line.
pub fn json(body: &[u8]) {
    let judged = judge(Format::Json, body);
    come_back(&judged);
    let Ok(text) = utf8(body) else { return };
    if let Some(draft) = plain::event(text) {
        assert_eq!(Ok(draft), any_event(text), "what is plain is read as anything else");
    }
    let mut lines = String::new();
    let is_array = text.trim_ascii_start().starts_with('[')
        && each_element(text, |element| {
            // Line ends are white space here: within strings they are escaped.
            lines.push_str(&element.replace(['\n', '\r'], " "));
            lines.push('\n');
            Ok(())
        })
        .is_ok();
    if is_array {
        same(&judge(Format::Ndjson, lines.as_bytes()), &judged);
    }
}

/// Lines of JSON; those that are JSON at all say the same in an array.
pub fn ndjson(body: &[u8]) {
    come_back(&judge(Format::Ndjson, body));
    let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&str> = lines
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| serde_json::from_str::<IgnoredAny>(line).is_ok())
        .collect();
    same(
        &judge(Format::Ndjson, lines.join("\n").as_bytes()),
        &judge(Format::Json, array(&lines).as_bytes()),
    );
}

/// A CloudEvent, by itself and as a batch of one; and a batch.
pub fn cloud_events(body: &[u8]) {
    come_back(&judge(Format::CloudEvents, body));
    let one = judge(Format::CloudEvent, body);
    come_back(&one);
    if let (Ok(text), Ok((events, refused))) = (utf8(body), &one)
        && events.len() + refused.len() == 1
    {
        same(&judge(Format::CloudEvents, array(&[text]).as_bytes()), &one);
    }
}

/// A container file.
pub fn avro(body: &[u8]) {
    come_back(&judge(Format::Avro, body));
}

/// Schemas of writers: ours, its types in other forms, and one that knows more than we do.
const SCHEMAS: [&str; 4] = [
    model::record::EVENT_SCHEMA,
    r#"{"type":"record","name":"e","fields":[
        {"name":"item","type":{"type":"enum","name":"i","symbols":["a","b",""]}},
        {"name":"id","type":["null",{"type":"fixed","name":"u","size":16},"string"]},
        {"name":"time","type":["null","string",{"type":"long","logicalType":"timestamp-micros"}]},
        {"name":"value","type":["double","float","string","int","null",
            {"type":"fixed","name":"d","size":20,"logicalType":"decimal","precision":40,"scale":9}]},
        {"name":"attributes","type":{"type":"map","values":["null","string","bytes"]}}]}"#,
    r#"{"type":"record","name":"e","fields":[
        {"name":"more","type":{"type":"array","items":["null","boolean","double","e",
            {"type":"map","values":"e"},{"type":"record","name":"n","fields":[]}]}},
        {"name":"item","type":["null","bytes","long","string"]},
        {"name":"value","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#,
    r#"{"type":"record","name":"e","fields":[{"name":"item","type":["null","string"]}]}"#,
];

/// Blocks in a container whose frame is right: every codec gives the same events. The first bytes
/// choose the schema, the codec and the number of events.
pub fn avro_block(input: &[u8]) {
    let [choice, count, block @ ..] = input else { return };
    let schema = SCHEMAS[usize::from(choice & 3)];
    let plain = judge(Format::Avro, &container(schema, "null", *count, block));
    come_back(&plain);
    let (codec, stored) = match choice >> 2 & 3 {
        0 => return,
        1 => ("deflate", deflate(block)),
        2 => ("snappy", snappy(block)),
        _ => ("zstandard", zstd::bulk::compress(block, 1).expect("memory")),
    };
    same(&judge(Format::Avro, &container(schema, codec, *count, &stored)), &plain);
    if *count > 0 {
        let cut = &stored[..stored.len() - 1];
        let judged = judge(Format::Avro, &container(schema, codec, *count, cut));
        assert_eq!(judged, Err(ProblemCode::InvalidAvro), "a cut block is never taken");
    }
}

fn container(schema: &str, codec: &str, count: u8, block: &[u8]) -> Vec<u8> {
    let mut file = b"Obj\x01\x04".to_vec();
    for text in ["avro.schema", schema, "avro.codec", codec] {
        zigzag(&mut file, text.len());
        file.extend_from_slice(text.as_bytes());
    }
    file.extend_from_slice(b"\x00sync marker: 16.");
    zigzag(&mut file, count.into());
    zigzag(&mut file, block.len());
    file.extend_from_slice(block);
    file.extend_from_slice(b"sync marker: 16.");
    file
}

fn zigzag(out: &mut Vec<u8>, number: usize) {
    let mut rest = number << 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn deflate(block: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(block).expect("memory");
    encoder.finish().expect("memory")
}

fn snappy(block: &[u8]) -> Vec<u8> {
    let mut stored = snap::raw::Encoder::new().compress_vec(block).expect("memory");
    let mut crc = flate2::Crc::new();
    crc.update(block);
    stored.extend_from_slice(&crc.sum().to_be_bytes());
    stored
}
