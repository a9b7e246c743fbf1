//! Which field of a record becomes which part of an event, and the event as a line of NDJSON.

use std::borrow::Cow;
use std::io::Write;

use super::reader::Refusal;

/// The contract's bound on an item.
const MAX_ITEM_BYTES: usize = 256;
const MS_PER_DAY: i64 = 86_400_000;

/// A part of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Id,
    Item,
    EventType,
    Time,
    Value,
    Attribute(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let attribute = text.strip_prefix("attr.").or_else(|| text.strip_prefix("attributes."));
        match (text, attribute) {
            ("id", _) => Ok(Self::Id),
            ("item", _) => Ok(Self::Item),
            ("type", _) => Ok(Self::EventType),
            ("time", _) => Ok(Self::Time),
            ("value", _) => Ok(Self::Value),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Attribute(name.to_owned())),
            _ => Err(format!(
                "`{text}` is no part of an event: use id, item, type, time, value or attr.NAME"
            )),
        }
    }
}

/// What the user said with `--map`, `--set` and `--shift-days`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    fields: Vec<(Target, String)>,
    constants: Vec<(Target, String)>,
    shift_ms: i64,
}

impl Mapping {
    /// Reads `item=path,time=ts` and `type=view,attr.site=blog`.
    pub(crate) fn parse(map: &[String], set: &[String], shift_days: i64) -> Result<Self, String> {
        let pairs = |list: &[String]| -> Result<Vec<(Target, String)>, String> {
            list.iter().map(|pair| parse_pair(pair)).collect()
        };
        let shift_ms = shift_days
            .checked_mul(MS_PER_DAY)
            .ok_or_else(|| format!("--shift-days {shift_days} is beyond all times"))?;
        Ok(Self { fields: pairs(map)?, constants: pairs(set)?, shift_ms })
    }

    /// Whether events are as they are in the file.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.constants.is_empty() && self.shift_ms == 0
    }

    /// The names of the fields that are mapped.
    pub(super) fn source_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(_, name)| name.as_str())
    }

    /// Adds a field for what the user did not map.
    pub(super) fn with_default(mut self, target: Target, name: &str) -> Self {
        if !self.fields.iter().chain(&self.constants).any(|(other, _)| *other == target) {
            self.fields.push((target, name.to_owned()));
        }
        self
    }
}

fn parse_pair(pair: &str) -> Result<(Target, String), String> {
    match pair.split_once('=') {
        Some((target, source)) if !source.is_empty() => {
            Ok((Target::parse(target.trim())?, source.to_owned()))
        }
        _ => Err(format!("`{pair}` is not of the form PART=NAME, such as item=path")),
    }
}

/// Where a part comes from.
#[derive(Clone, Debug, Default)]
enum Origin {
    #[default]
    Absent,
    Field(usize),
    Constant(String),
}

/// A mapping applied to the fields that the records of one file have.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    id: Origin,
    item: Origin,
    event_type: Origin,
    time: Origin,
    value: Origin,
    attributes: Vec<(String, Origin)>,
    shift_ms: i64,
}

impl Plan {
    /// Applies the mapping to a record whose fields have these names.
    pub(super) fn new(mapping: &Mapping, names: &[&str]) -> Result<Self, String> {
        let mut plan = Self { shift_ms: mapping.shift_ms, ..Self::default() };
        for (target, name) in &mapping.fields {
            let index = names.iter().position(|other| other == name).ok_or_else(|| {
                format!("there is no field `{name}`; there are: {}", names.join(", "))
            })?;
            plan.put(target, Origin::Field(index));
        }
        for (target, text) in &mapping.constants {
            plan.put(target, Origin::Constant(text.clone()));
        }
        if matches!(plan.item, Origin::Absent) {
            return Err(format!(
                "no field is the item; say which with --map item=NAME, one of: {}",
                names.join(", ")
            ));
        }
        Ok(plan)
    }

    fn put(&mut self, target: &Target, origin: Origin) {
        match target {
            Target::Id => self.id = origin,
            Target::Item => self.item = origin,
            Target::EventType => self.event_type = origin,
            Target::Time => self.time = origin,
            Target::Value => self.value = origin,
            Target::Attribute(key) => {
                self.attributes.retain(|(other, _)| other != key);
                self.attributes.push((key.clone(), origin));
            }
        }
    }

    /// Appends the event of a record as one line. A field that is absent is the empty text; an
    /// empty text leaves the part out. `derive_id` is asked where the record has no id.
    pub(super) fn write_event<'a>(
        &'a self,
        field: impl Fn(usize) -> &'a str,
        extra_attributes: &[(String, String)],
        derive_id: impl FnOnce() -> String,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let text = |origin: &'a Origin| match origin {
            Origin::Absent => "",
            Origin::Field(index) => field(*index),
            Origin::Constant(text) => text.as_str(),
        };
        let item = text(&self.item);
        check_item(item)?;
        let time = self.time(text(&self.time))?;
        let value = value(text(&self.value))?;
        let id = match text(&self.id) {
            "" => Cow::Owned(derive_id()),
            id => Cow::Borrowed(id),
        };
        out.extend_from_slice(b"{\"id\":");
        push_json(out, &id);
        out.extend_from_slice(b",\"item\":");
        push_json(out, item);
        if let event_type @ [_, ..] = text(&self.event_type).as_bytes() {
            out.extend_from_slice(b",\"type\":");
            push_json(out, &String::from_utf8_lossy(event_type));
        }
        if let Some(time) = time {
            out.extend_from_slice(b",\"time\":");
            out.extend_from_slice(time.as_bytes());
        }
        if let Some(value) = value {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(value.as_bytes());
        }
        let mine = self.attributes.iter().map(|(key, origin)| (key.as_str(), text(origin)));
        let extra = extra_attributes
            .iter()
            .filter(|(key, _)| !self.attributes.iter().any(|(other, _)| other == key))
            .map(|(key, value)| (key.as_str(), value.as_str()));
        push_attributes(out, mine.chain(extra));
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// The JSON of a time: a number where it is epoch milliseconds, the text as it is otherwise.
    fn time(&self, text: &str) -> Result<Option<String>, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        let millis: Option<i64> = text.parse().ok();
        if self.shift_ms == 0 {
            let json = millis.map_or_else(|| json_text(text), |millis| millis.to_string());
            return Ok(Some(json));
        }
        let parsed = millis
            .or_else(|| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()));
        parsed
            .and_then(|millis| millis.checked_add(self.shift_ms))
            .map(|millis| Some(millis.to_string()))
            .ok_or_else(|| Refusal::new("invalid_time", format!("`{}` is no time", short(text))))
    }
}

fn push_attributes<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut opened = false;
    for (key, value) in pairs.filter(|(_, value)| !value.is_empty()) {
        out.extend_from_slice(if opened { b"," } else { b",\"attributes\":{" });
        opened = true;
        push_json(out, key);
        out.push(b':');
        push_json(out, value);
    }
    if opened {
        out.push(b'}');
    }
}

/// Judged here and not only by the server, so that a dry look at a file says the same.
pub(super) fn check_item(item: &str) -> Result<(), Refusal> {
    let detail = if item.is_empty() {
        "the item is empty".to_owned()
    } else if item.len() > MAX_ITEM_BYTES {
        format!("the item has {} bytes; at most {MAX_ITEM_BYTES} are allowed", item.len())
    } else if item.chars().any(char::is_control) {
        "the item has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::new("invalid_item", detail))
}

/// The text of a decimal as a JSON number: files also write `+5`, `.5`, `5.` and `007`.
fn value(text: &str) -> Result<Option<String>, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (sign, rest) = match text.as_bytes()[0] {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_digits = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    let is_number = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_digits.is_none_or(|digits| !digits.is_empty() && all_digits(digits));
    if !is_number {
        let detail = format!("`{}` is no decimal number", short(text));
        return Err(Refusal::new("invalid_value", detail));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let mut json = format!("{sign}{whole}");
    if !fraction.is_empty() {
        json.push('.');
        json.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        json.push('e');
        json.push_str(exponent);
    }
    Ok(Some(json))
}

fn json_text(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_json(&mut out, text);
    String::from_utf8(out).expect("JSON of a text is UTF-8")
}

/// Appends a JSON string. Texts without anything to escape, nearly all, are copied.
pub(super) fn push_json(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out.by_ref(), text).expect("a Vec takes any text");
    }
}

/// Enough of a text to recognise it in a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
