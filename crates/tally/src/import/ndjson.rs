//! One JSON object a line. Lines that are events already go through byte for byte; an id is added
//! where there is none, and fields are renamed where the user maps them.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::ids::IdDeriver;
use super::lines::{Line, Lines};
use super::plan::{self, Mapping, Plan, Target};
use super::reader::{Record, Refusal};

pub(super) struct NdjsonReader {
    lines: Lines,
    ids: IdDeriver,
    /// Present where events are not as they are in the file.
    rewrite: Option<Rewrite>,
}

struct Rewrite {
    names: Vec<String>,
    plan: Plan,
}

/// The one part that decides whether a line goes through.
#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Tells `null` (present) from absent: a second `id` beside it would make the object ambiguous.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl NdjsonReader {
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        ids: IdDeriver,
        mapping: &Mapping,
    ) -> Result<Self, String> {
        let rewrite = if mapping.is_empty() { None } else { Some(Rewrite::new(mapping)?) };
        Ok(Self { lines: Lines::new(reader), ids, rewrite })
    }

    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Record>> {
        loop {
            let Some(line) = self.lines.next()? else { return Ok(None) };
            if line.bytes.trim_ascii().is_empty() {
                continue;
            }
            let length = out.len();
            let result = match &self.rewrite {
                Some(rewrite) => rewrite.event(&line, &self.ids, out),
                None => pass_through(&line, &self.ids, out),
            };
            if result.is_err() {
                out.truncate(length);
            }
            return Ok(Some(Record { line: line.number, result, is_odd: false }));
        }
    }
}

fn check(line: &Line<'_>) -> Result<(), Refusal> {
    if line.too_long {
        return Err(Refusal::new("odd_line", "the line is over 1 MiB"));
    }
    // The parser does not look into texts that it passes over.
    if std::str::from_utf8(line.bytes).is_err() {
        return Err(Refusal::new("invalid_json", "the line is not UTF-8"));
    }
    if line.bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::new("invalid_json", "the line is no JSON object"));
    }
    Ok(())
}

fn invalid(error: &serde_json::Error) -> Refusal {
    Refusal::new("invalid_json", error.to_string())
}

fn pass_through(line: &Line<'_>, ids: &IdDeriver, out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(line)?;
    let bytes = line.bytes.trim_ascii();
    let found: IdOnly<'_> = serde_json::from_slice(bytes).map_err(|error| invalid(&error))?;
    match found.id.map(RawValue::get) {
        Some("null") => {
            let mut fields: BTreeMap<String, &RawValue> =
                serde_json::from_slice(bytes).map_err(|error| invalid(&error))?;
            fields.remove("id");
            let without = serde_json::to_vec(&fields).map_err(|error| invalid(&error))?;
            insert_id(&without, &ids.derive(line.number, [line.bytes]), out);
        }
        Some(_) => out.extend_from_slice(bytes),
        None => insert_id(bytes, &ids.derive(line.number, [line.bytes]), out),
    }
    out.push(b'\n');
    Ok(())
}

/// Writes an object with an id as its first field.
fn insert_id(object: &[u8], id: &str, out: &mut Vec<u8>) {
    let rest = object[1..].trim_ascii_start();
    out.extend_from_slice(b"{\"id\":");
    plan::push_json(out, id);
    if rest != b"}" {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

impl Rewrite {
    fn new(mapping: &Mapping) -> Result<Self, String> {
        let mapping = mapping
            .clone()
            .with_default(Target::Id, "id")
            .with_default(Target::Item, "item")
            .with_default(Target::EventType, "type")
            .with_default(Target::Time, "time")
            .with_default(Target::Value, "value");
        let names: Vec<String> = mapping.source_names().map(ToOwned::to_owned).collect();
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = Plan::new(&mapping, &borrowed)?;
        Ok(Self { names, plan })
    }

    fn event(&self, line: &Line<'_>, ids: &IdDeriver, out: &mut Vec<u8>) -> Result<(), Refusal> {
        check(line)?;
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_slice(line.bytes).map_err(|error| invalid(&error))?;
        let text = |name: &String| fields.get(name).map_or(Ok(String::new()), |raw| text_of(raw));
        let texts: Vec<String> = self.names.iter().map(text).collect::<Result<_, _>>()?;
        let mut attributes = Vec::new();
        if let Some(raw) = fields.get("attributes").filter(|raw| raw.get() != "null") {
            let object: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())
                .map_err(|error| Refusal::new("invalid_attributes", error.to_string()))?;
            for (key, raw) in object {
                attributes.push((key, text_of(raw)?));
            }
        }
        let derive = || ids.derive(line.number, [line.bytes]);
        self.plan.write_event(|index| texts[index].as_str(), &attributes, derive, out)
    }
}

/// A JSON string, number or boolean as text; `null` is the empty text.
fn text_of(raw: &RawValue) -> Result<String, Refusal> {
    match raw.get().as_bytes()[0] {
        // The digits as they stand: reading a number would round it.
        b'-' | b'0'..=b'9' => Ok(raw.get().to_owned()),
        b'{' | b'[' => Err(Refusal::new("invalid_json", "a mapped field is an object or a list")),
        _ => match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => Ok(text),
            Ok(Value::Bool(flag)) => Ok(flag.to_string()),
            Ok(_) => Ok(String::new()),
            Err(error) => Err(invalid(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Format, ReadOptions, read_all};
    use super::*;

    fn options(map: &[&str], set: &[&str]) -> ReadOptions {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mapping = Mapping::parse(&owned(map), &owned(set), 0).expect("a good mapping");
        ReadOptions { format: Some(Format::Ndjson), mapping, ..Default::default() }
    }

    #[test]
    fn an_event_goes_through_byte_for_byte_and_a_missing_id_is_added() {
        let text = "{\"item\":\"a\",\"value\":9007199254740993.1,\"id\":\"x\"} \r\n\n{}\n{\"item\":\"b\"}\n\
                    {\"item\":\"c\",\"id\":null}\n";
        let mut lines = Lines::new(Box::new(text.as_bytes()));
        let ids = IdDeriver::new(b"");
        let mut out = Vec::new();
        pass_through(&lines.next().expect("memory").expect("a line"), &ids, &mut out)
            .expect("fine");
        assert_eq!(out, b"{\"item\":\"a\",\"value\":9007199254740993.1,\"id\":\"x\"}\n");

        let (events, records) = read_all(text.as_bytes(), &options(&[], &[]));
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        let ids: Vec<&str> = events.iter().map(|e| e["id"].as_str().expect("an id")).collect();
        assert_eq!(ids[0], "x");
        assert!(ids[1..].iter().all(|id| id.len() == 32), "{ids:?}");
        assert_eq!(events[3]["item"], "c");
    }

    #[test]
    fn equal_lines_have_different_ids_and_the_same_file_the_same() {
        let text = b"{\"item\":\"a\"}\n{\"item\":\"a\"}\n";
        let (once, _) = read_all(text, &options(&[], &[]));
        let (again, _) = read_all(text, &options(&[], &[]));
        assert_eq!(once, again);
        assert_ne!(once[0]["id"], once[1]["id"]);
    }

    #[test]
    fn broken_lines_are_refused_and_reading_goes_on() {
        let nested = "[".repeat(100_000);
        let text =
            format!("{{\"item\":\n[1]\nhello\n{{\"a\":{nested}\n\u{0}\n{{\"item\":\"ok\"}}\n");
        let text = [text.as_bytes(), b"{\"item\":\"\xff\"}\n"].concat();
        let (events, records) = read_all(&text, &options(&[], &[]));
        assert_eq!(events.len(), 1);
        let codes: Vec<_> = records.iter().filter_map(|r| r.result.as_ref().err()).collect();
        assert_eq!(codes.len(), 6);
        assert!(codes.iter().all(|refusal| refusal.code == "invalid_json"), "{codes:?}");
    }

    #[test]
    fn fields_are_renamed_with_their_digits() {
        let text =
            br#"{"path":"/a","n":12345678901234.123456,"ok":true,"attributes":{"k":"v","z":null}}
{"path":7,"attributes":{"ok":"mine"}}
{"path":{"no":1}}
{"n":1}
"#;
        let options = options(&["item=path", "value=n", "attr.ok=ok"], &["type=hit"]);
        let (events, records) = read_all(text, &options);
        assert_eq!(events[0]["attributes"], serde_json::json!({"ok": "true", "k": "v"}));
        assert_eq!((&events[0]["item"], &events[0]["type"]), (&"/a".into(), &"hit".into()));
        assert_eq!(events[1]["item"], "7");
        let codes = records.iter().filter_map(|r| r.result.as_ref().err()).map(|e| e.code);
        assert_eq!(codes.collect::<Vec<_>>(), ["invalid_json", "invalid_item"]);
    }
}
