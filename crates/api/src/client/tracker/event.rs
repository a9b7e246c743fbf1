//! An event as a program reports it, and the line of JSON that is made of it when it is tracked.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::super::endpoints::hash_key;

/// Magnitudes of values lie below this.
const VALUE_MAX: f64 = 9.2e12;

/// Something that happened. What is not said is filled in when it is tracked: a new id (UUIDv7), and
/// the time.
///
/// ```
/// use api::client::tracker::Event;
///
/// let event = Event::new("dQw4w9WgXcQ").kind("watch").value(12.5).attribute("country", "DE");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    item: String,
    kind: Option<String>,
    id: Option<String>,
    time: Option<SystemTime>,
    value: Option<String>,
    attributes: BTreeMap<String, String>,
}

/// Why an event can never be accepted: it breaks a rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// The item.
    #[error("the item must have 1 to 256 bytes and no control characters")]
    Item,
    /// The type.
    #[error("the type must have 1 to 64 characters of a-z 0-9 _ . -")]
    Kind,
    /// The id.
    #[error("the id must have 1 to 64 printable ASCII characters")]
    Id,
    /// The time.
    #[error("the time must lie after 1970 and before the year 10000")]
    Time,
    /// The value.
    #[error("the value must be a decimal number with a magnitude below 9.2e12")]
    Value,
    /// The attributes.
    #[error("at most 16 attributes, with keys of 1 to 64 bytes and values of up to 256")]
    Attributes,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    item: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: &'a BTreeMap<String, String>,
}

impl Event {
    /// An event of this item: 1 to 256 bytes without control characters.
    pub fn new(item: impl Into<String>) -> Self {
        Self { item: item.into(), ..Self::default() }
    }

    /// The event type, 1 to 64 of `a-z 0-9 _ . -`; `view` where none is given.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// The id, 1 to 64 printable ASCII characters. The same (item, type, id) is counted once within
    /// the server's dedup window; where none is given, each call of `track` is another event.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// When it happened, to the millisecond.
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// A value to sum, with the digits that Rust prints for it.
    #[must_use]
    pub fn value(mut self, value: f64) -> Self {
        self.value = Some(value.to_string());
        self
    }

    /// A value in its exact digits, such as `-12.345678`.
    #[must_use]
    pub fn decimal(mut self, digits: impl Into<String>) -> Self {
        self.value = Some(digits.into());
        self
    }

    /// One attribute more, such as `country`.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// For balancing by item.
    pub(super) fn hash(&self) -> u64 {
        hash_key(&self.item)
    }

    /// One line of JSON with a newline, id and time included.
    pub(super) fn encode(&self) -> Result<Vec<u8>, InvalidEvent> {
        self.check()?;
        let made;
        let id = match &self.id {
            Some(id) => id,
            None => {
                made = Uuid::now_v7().to_string();
                &made
            }
        };
        let since_1970 = self.time.unwrap_or_else(now).duration_since(UNIX_EPOCH);
        let time = since_1970.map_err(|_| InvalidEvent::Time)?;
        // The year 10000.
        let time = Some(time).filter(|time| *time < Duration::from_secs(253_402_300_800));
        let value = self.value.as_deref().map(serde_json::from_str::<&RawValue>).transpose();
        let line = Line {
            id,
            item: &self.item,
            kind: self.kind.as_deref(),
            time: time.ok_or(InvalidEvent::Time)?.as_millis() as u64,
            value: value.map_err(|_| InvalidEvent::Value)?,
            attributes: &self.attributes,
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|_| InvalidEvent::Attributes)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The rules of the contract, so that who reports hears of a mistake at once.
    fn check(&self) -> Result<(), InvalidEvent> {
        let holds = |is_good: bool, fault| if is_good { Ok(()) } else { Err(fault) };
        let is_item =
            (1..=256).contains(&self.item.len()) && !self.item.chars().any(char::is_control);
        holds(is_item, InvalidEvent::Item)?;
        let of_kind = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        let is_kind = |kind: &String| (1..=64).contains(&kind.len()) && kind.bytes().all(of_kind);
        holds(self.kind.as_ref().is_none_or(is_kind), InvalidEvent::Kind)?;
        let is_id = |id: &String| {
            (1..=64).contains(&id.len()) && id.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        holds(self.id.as_ref().is_none_or(is_id), InvalidEvent::Id)?;
        let of_value = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let is_value = |value: &String| {
            let number: Option<f64> = value.parse().ok().filter(|_| value.bytes().all(of_value));
            number.is_some_and(|number| number.abs() < VALUE_MAX)
        };
        holds(self.value.as_ref().is_none_or(is_value), InvalidEvent::Value)?;
        let is_attribute =
            |(key, value): (&String, &String)| (1..=64).contains(&key.len()) && value.len() <= 256;
        let are_good = self.attributes.len() <= 16 && self.attributes.iter().all(is_attribute);
        holds(are_good, InvalidEvent::Attributes)
    }
}

/// The client's one reading of the wall clock.
#[expect(clippy::disallowed_methods, reason = "an event that says no time happened now")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_that_was_said_and_the_rest_is_filled_in() {
        let event = Event::new("a \"b\"")
            .kind("watch")
            .id("e 1")
            .time(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123))
            .decimal("-12.345678")
            .attribute("country", "DE");
        let line = String::from_utf8(event.encode().expect("good")).expect("text");
        let expected = r#"{"id":"e 1","item":"a \"b\"","type":"watch","time":1700000000123,"value":-12.345678,"attributes":{"country":"DE"}}"#;
        assert_eq!(line, format!("{expected}\n"));

        let line = Event::new("a").value(0.1).encode().expect("good");
        let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(line["value"], 0.1);
        assert!(line["time"].as_u64().is_some_and(|time| time > 1_700_000_000_000));
        let id: Uuid = line["id"].as_str().and_then(|id| id.parse().ok()).expect("a UUID");
        assert_eq!(id.get_version_num(), 7);
    }

    #[test]
    fn what_can_never_be_accepted_is_named_at_once() {
        let a = || Event::new("a");
        let many = (0..17).fold(a(), |event, n| event.attribute(n.to_string(), ""));
        for (event, fault) in [
            (Event::new(""), InvalidEvent::Item),
            (Event::new("a\n"), InvalidEvent::Item),
            (Event::new("x".repeat(257)), InvalidEvent::Item),
            (a().kind("View"), InvalidEvent::Kind),
            (a().id("ü"), InvalidEvent::Id),
            (a().id(""), InvalidEvent::Id),
            (a().value(f64::NAN), InvalidEvent::Value),
            (a().value(9.2e12), InvalidEvent::Value),
            (a().decimal("01"), InvalidEvent::Value),
            (a().decimal("1}"), InvalidEvent::Value),
            (a().decimal(""), InvalidEvent::Value),
            (a().time(UNIX_EPOCH - Duration::from_secs(1)), InvalidEvent::Time),
            (a().attribute("", ""), InvalidEvent::Attributes),
            (many, InvalidEvent::Attributes),
        ] {
            assert_eq!(event.encode(), Err(fault), "{event:?}");
        }
    }
}
