//! JSON: an event object, or an array of them.
//!
//! Strings without escapes are borrowed from the body and numbers keep their digits. A field of
//! the wrong JSON type gets the code of that field. `null` is the same as an absent field, unknown
//! fields are ignored, a field that comes twice makes the event invalid.

use std::borrow::Cow;
use std::fmt;

use api::ProblemCode;
use model::bucket::TimeError;
use model::{TimestampMs, Value};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{BodyFault, Draft, EventSink, Fault, Intake, plain};

/// Offers the event, or every element of the array.
///
/// # Errors
/// `invalid_json` when the body as a whole is not JSON, or neither an object nor an array: then
/// nothing of it may be accepted, whatever was offered before.
pub(crate) fn read<S: EventSink>(body: &[u8], intake: &mut Intake<'_, S>) -> Result<(), BodyFault> {
    let body = utf8(body)?;
    match body.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let draft = event(body);
            // Broken JSON is the body's fault, a broken rule the event's.
            if draft.is_err() {
                serde_json::from_str::<IgnoredAny>(body).map_err(not_json)?;
            }
            intake.take(draft)
        }
        Some(b'[') => each_element(body, |element| intake.take(event(element))),
        Some(_) => Err(Fault::new(
            ProblemCode::InvalidJson,
            "the body must be an event object or an array of them",
        )),
        None => Ok(()),
    }
}

/// The body as text, without a byte order mark.
pub(crate) fn utf8(body: &[u8]) -> Result<&str, BodyFault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::new(
            ProblemCode::UnreadableBody,
            format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Calls `each` with the text of every element of a JSON array.
pub(crate) fn each_element<'a>(
    body: &'a str,
    mut each: impl FnMut(&'a str) -> Result<(), BodyFault>,
) -> Result<(), BodyFault> {
    let mut stopped = None;
    let mut json = serde_json::Deserializer::from_str(body);
    let elements = Elements { each: &mut each, stopped: &mut stopped };
    let read = elements.deserialize(&mut json).and_then(|()| json.end());
    match (stopped, read) {
        (Some(fault), _) => Err(fault),
        (None, read) => read.map_err(not_json),
    }
}

/// The refusal of a body that is not JSON.
pub(crate) fn not_json(error: serde_json::Error) -> BodyFault {
    Fault::new(ProblemCode::InvalidJson, error.to_string())
}

/// Visits the elements of an array one after the other.
struct Elements<'e, F> {
    each: &'e mut F,
    stopped: &'e mut Option<BodyFault>,
}

impl<'de, F: FnMut(&'de str) -> Result<(), BodyFault>> DeserializeSeed<'de> for Elements<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&'de str) -> Result<(), BodyFault>> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            if let Err(fault) = (self.each)(element.get()) {
                *self.stopped = Some(fault);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Reads one event object.
pub(crate) fn event(text: &str) -> Result<Draft<'_>, Fault> {
    plain::event(text).map_or_else(|| any_event(text), Ok)
}

/// Reads one event object, however it is written, or says what is wrong with it.
pub(crate) fn any_event(text: &str) -> Result<Draft<'_>, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(FieldsVisitor).and_then(|fields| {
        json.end()?;
        Ok(fields)
    });
    match fields {
        Ok(fields) => fields.draft(),
        Err(error) => Err(Fault::new(ProblemCode::InvalidJson, error.to_string())),
    }
}

/// A value that was read as text, or why it was not.
type Read<T> = Option<Result<T, Fault>>;

/// What the fields of an object held.
#[derive(Default)]
struct Fields<'a> {
    seen: u8,
    id: Read<Cow<'a, str>>,
    item: Read<Cow<'a, str>>,
    event_type: Read<Cow<'a, str>>,
    time: Read<TimestampMs>,
    value: Read<Value>,
    attributes: Read<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

impl<'a> Fields<'a> {
    fn draft(self) -> Result<Draft<'a>, Fault> {
        Ok(Draft {
            item: self.item.transpose()?,
            event_type: self.event_type.transpose()?,
            id: self.id.transpose()?,
            time: self.time.transpose()?,
            value: self.value.transpose()?,
            attributes: self.attributes.transpose()?.unwrap_or_default(),
        })
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = object.next_key_seed(NameSeed)? {
            if let Some(name) = name {
                let bit = 1 << name as u8;
                if fields.seen & bit != 0 {
                    return Err(A::Error::custom(format_args!("the field {name:?} comes twice")));
                }
                fields.seen |= bit;
            }
            match name {
                Some(Name::Item) => {
                    let fault = (ProblemCode::InvalidItem, "the item must be a string");
                    fields.item = object.next_value_seed(TextSeed(fault))?;
                }
                Some(Name::Type) => {
                    let fault = (ProblemCode::InvalidType, "the type must be a string");
                    fields.event_type = object.next_value_seed(TextSeed(fault))?;
                }
                Some(Name::Id) => {
                    let fault = (ProblemCode::InvalidId, "the id must be a string");
                    fields.id = object.next_value_seed(TextSeed(fault))?;
                }
                Some(Name::Time) => fields.time = object.next_value_seed(TimeSeed)?,
                Some(Name::Value) => fields.value = value(object.next_value()?),
                Some(Name::Attributes) => {
                    fields.attributes = object.next_value_seed(AttributesSeed)?;
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// The fields of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Id,
    Item,
    Type,
    Time,
    Value,
    Attributes,
}

/// Reads a field's name; none where it is unknown.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<Name>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<Name>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(match name {
            "id" => Some(Name::Id),
            "item" => Some(Name::Item),
            "type" => Some(Name::Type),
            "time" => Some(Name::Time),
            "value" => Some(Name::Value),
            "attributes" => Some(Name::Attributes),
            _ => None,
        })
    }
}

/// A JSON number, by its digits.
pub(crate) fn value(raw: &RawValue) -> Read<Value> {
    let text = raw.get();
    match text.as_bytes()[0] {
        b'n' => None,
        b'-' | b'0'..=b'9' => Some(
            Value::parse(text)
                .map_err(|error| Fault::new(ProblemCode::InvalidValue, error.to_string())),
        ),
        _ => Some(Err(Fault::new(ProblemCode::InvalidValue, "the value must be a JSON number"))),
    }
}

/// Milliseconds of a number that is written with a point or an exponent: to JSON `7.0` is as whole as `7`.
///
/// # Errors
/// When it is not whole, or outside 1970 to 9999.
pub(crate) fn whole_millis(number: f64) -> Result<TimestampMs, TimeError> {
    if number.fract() != 0.0 {
        return Err(TimeError::NotATime);
    }
    // Beyond all times the cast ends at the bounds of its type, which are too.
    TimestampMs(number as i64).checked()
}

/// An RFC 3339 text or epoch milliseconds as an instant.
pub(crate) fn time_fault(error: TimeError) -> Fault {
    Fault::new(ProblemCode::InvalidTime, error.to_string())
}

/// Implements a visitor's answers to JSON types that the field does not take, each read to its end
/// so that the event after it can still be told apart.
macro_rules! refuse {
    ($($kind:ident)*) => { $(refuse!(@$kind);)* };
    (@unit) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    };
    (@scalar) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Some(Err(self.fault())))
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Some(Err(self.fault())))
        }
    };
    (@integer) => {
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Some(Err(self.fault())))
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Some(Err(self.fault())))
        }
    };
    (@string) => {
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Some(Err(self.fault())))
        }
    };
    (@array) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Some(Err(self.fault())))
        }
    };
    (@object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Some(Err(self.fault())))
        }
    };
}

/// A string, borrowed where it has no escapes.
#[derive(Clone, Copy)]
struct TextSeed((ProblemCode, &'static str));

impl TextSeed {
    fn fault(self) -> Fault {
        Fault::new(self.0.0, self.0.1)
    }
}

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Read<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Read<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Ok(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Ok(Cow::Owned(text.to_owned()))))
    }

    refuse!(unit scalar integer array object);
}

/// RFC 3339 as a string, or epoch milliseconds as an integer.
struct TimeSeed;

impl TimeSeed {
    fn fault(&self) -> Fault {
        time_fault(TimeError::NotATime)
    }
}

impl<'de> DeserializeSeed<'de> for TimeSeed {
    type Value = Read<TimestampMs>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TimeSeed {
    type Value = Read<TimestampMs>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(TimestampMs::parse_rfc3339(text).map_err(time_fault)))
    }

    fn visit_i64<E: Error>(self, millis: i64) -> Result<Self::Value, E> {
        Ok(Some(TimestampMs(millis).checked().map_err(time_fault)))
    }

    fn visit_u64<E: Error>(self, millis: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, millis: f64) -> Result<Self::Value, E> {
        Ok(Some(whole_millis(millis).map_err(time_fault)))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Some(Err(self.fault())))
    }

    refuse!(unit array object);
}

/// An object of strings.
struct AttributesSeed;

impl AttributesSeed {
    fn fault(&self) -> Fault {
        Fault::new(ProblemCode::InvalidAttributes, "the attributes must be an object of strings")
    }
}

impl<'de> DeserializeSeed<'de> for AttributesSeed {
    type Value = Read<Vec<(Cow<'de, str>, Cow<'de, str>)>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AttributesSeed {
    type Value = Read<Vec<(Cow<'de, str>, Cow<'de, str>)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let text = TextSeed((
            ProblemCode::InvalidAttributes,
            "the attributes must be an object of strings",
        ));
        let mut pairs: Vec<(Cow<'de, str>, Cow<'de, str>)> = Vec::new();
        let mut fault = None;
        while let Some(key) = object.next_key_seed(text)? {
            let value = object.next_value_seed(text)?;
            match (key, value) {
                (Some(Ok(key)), Some(Ok(value))) => {
                    if pairs.iter().any(|(other, _)| *other == key) {
                        let detail = "an attribute comes twice";
                        fault = Some(Fault::new(ProblemCode::InvalidAttributes, detail));
                    } else if pairs.len() <= model::limits::ATTRIBUTES_MAX {
                        // One too many is kept for the rule to see; more would only cost.
                        pairs.push((key, value));
                    }
                }
                _ => fault = Some(self.fault()),
            }
        }
        Ok(Some(fault.map_or(Ok(pairs), Err)))
    }

    refuse!(unit scalar integer string array);
}
