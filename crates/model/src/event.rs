//! What happened, and the rules it must keep before it may enter the log.

use std::borrow::Cow;

use crate::bucket::TimestampMs;
use crate::limits::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, FUTURE_SKEW_MS,
    ID_BYTES_MAX, ITEM_BYTES_MAX, SOURCE_BYTES_MAX, TYPE_BYTES_MAX,
};
use crate::value::Value;

/// Something that happened to an item. Fields borrow from the body they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The idempotency key, with item and type: 1 to 64 printable ASCII.
    pub id: Cow<'a, str>,
    /// What is counted: 1 to 256 bytes of UTF-8 without control characters.
    pub item: Cow<'a, str>,
    /// What happened: 1 to 64 of `a-z 0-9 _ . -`.
    pub event_type: Cow<'a, str>,
    /// When it happened.
    pub time: TimestampMs,
    /// How much.
    pub value: Option<Value>,
    /// At most 16 pairs.
    pub attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Which rule an event breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The item is empty, too long or has control characters.
    #[error("the item must be 1 to 256 bytes of UTF-8 without control characters")]
    Item,
    /// The type is empty, too long or has other characters.
    #[error("the type must be 1 to 64 of a-z 0-9 _ . -")]
    Type,
    /// The id is empty, too long or not printable ASCII.
    #[error("the id must be 1 to 64 printable ASCII characters")]
    Id,
    /// Too many attributes, or one too long.
    #[error("at most 16 attributes, keys of 1 to 64 bytes and values of at most 256 bytes")]
    Attributes,
    /// Older than the setting allows.
    #[error("the event is older than max_event_age")]
    TooOld,
    /// Too far ahead of the clock.
    #[error("the event lies more than 60 s in the future")]
    InFuture,
}

impl Event<'_> {
    /// Checks every rule but that of time.
    pub fn check(&self) -> Result<(), Violation> {
        check_item(&self.item)?;
        check_type(&self.event_type)?;
        check_id(&self.id)?;
        let mut attributes = self.attributes.iter();
        let are_fine =
            attributes.all(|(name, value)| check_attribute(name.as_bytes(), value.as_bytes()));
        if self.attributes.len() > ATTRIBUTES_MAX || !are_fine {
            return Err(Violation::Attributes);
        }
        Ok(())
    }
}

/// Checks an event's time against the clock of the gateway, in milliseconds.
pub fn check_time(
    time: TimestampMs,
    now: TimestampMs,
    max_event_age_ms: i64,
) -> Result<(), Violation> {
    if time.0 > now.0 + FUTURE_SKEW_MS {
        return Err(Violation::InFuture);
    }
    if time.0 < now.0.saturating_sub(max_event_age_ms) {
        return Err(Violation::TooOld);
    }
    Ok(())
}

/// Whether two texts may be an attribute's name and value.
pub(crate) fn check_attribute(name: &[u8], value: &[u8]) -> bool {
    (1..=ATTRIBUTE_KEY_BYTES_MAX).contains(&name.len()) && value.len() <= ATTRIBUTE_VALUE_BYTES_MAX
}

/// Whether a text may be an item.
pub fn check_item(item: &str) -> Result<(), Violation> {
    let is_fine = |item| is_printable(item) || !item.chars().any(char::is_control);
    if (1..=ITEM_BYTES_MAX).contains(&item.len()) && is_fine(item) {
        Ok(())
    } else {
        Err(Violation::Item)
    }
}

/// Whether a text may be an event type.
pub fn check_type(event_type: &str) -> Result<(), Violation> {
    let fine = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    if !event_type.is_empty() && event_type.len() <= TYPE_BYTES_MAX && event_type.bytes().all(fine)
    {
        Ok(())
    } else {
        Err(Violation::Type)
    }
}

/// Whether a text may be an event id.
pub fn check_id(id: &str) -> Result<(), Violation> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) && is_printable(id) {
        Ok(())
    } else {
        Err(Violation::Id)
    }
}

/// Whether a text may name a source: 1 to 64 printable ASCII.
pub fn is_source(source: &str) -> bool {
    (1..=SOURCE_BYTES_MAX).contains(&source.len()) && is_printable(source)
}

/// Whether all of a text is printable ASCII.
fn is_printable(text: &str) -> bool {
    // To the end, whatever it finds: so many bytes are looked at at a time.
    text.bytes().fold(true, |is_fine, byte| is_fine & (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event {
            id: "a".into(),
            item: "v".into(),
            event_type: "view".into(),
            time: TimestampMs(1_000_000),
            value: None,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn every_rule_is_checked() {
        let long = |n: usize| Cow::Owned("x".repeat(n));
        let cases: Vec<(Event<'_>, Result<(), Violation>)> = vec![
            (event(), Ok(())),
            (Event { item: long(256), ..event() }, Ok(())),
            (Event { item: "日本/ü?#%".into(), ..event() }, Ok(())),
            (Event { item: "".into(), ..event() }, Err(Violation::Item)),
            (Event { item: long(257), ..event() }, Err(Violation::Item)),
            (Event { item: "a\nb".into(), ..event() }, Err(Violation::Item)),
            (Event { item: "a\u{7f}".into(), ..event() }, Err(Violation::Item)),
            (Event { item: "a\u{85}".into(), ..event() }, Err(Violation::Item)),
            (Event { event_type: "".into(), ..event() }, Err(Violation::Type)),
            (Event { event_type: "View".into(), ..event() }, Err(Violation::Type)),
            (Event { event_type: long(65), ..event() }, Err(Violation::Type)),
            (Event { id: "".into(), ..event() }, Err(Violation::Id)),
            (Event { id: "ä".into(), ..event() }, Err(Violation::Id)),
            (Event { id: long(65), ..event() }, Err(Violation::Id)),
            (Event { attributes: vec![("k".into(), long(256)); 16], ..event() }, Ok(())),
            (
                Event { attributes: vec![("k".into(), "v".into()); 17], ..event() },
                Err(Violation::Attributes),
            ),
            (
                Event { attributes: vec![(long(65), "v".into())], ..event() },
                Err(Violation::Attributes),
            ),
            (
                Event { attributes: vec![("k".into(), long(257))], ..event() },
                Err(Violation::Attributes),
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(event.check(), expected, "{event:?}");
        }
    }

    #[test]
    fn time_bounds_are_inclusive() {
        let at = |ms| check_time(TimestampMs(ms), TimestampMs(1_000_000), 10_000);
        assert_eq!(at(1_060_000), Ok(()));
        assert_eq!(at(1_060_001), Err(Violation::InFuture));
        assert_eq!(at(990_000), Ok(()));
        assert_eq!(at(989_999), Err(Violation::TooOld));
    }
}
