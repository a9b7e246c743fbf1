//! From JSON to item details: one object, or one a line. What is absent or `null` is not known,
//! unknown fields are ignored.

use std::collections::BTreeMap;

use api::ProblemCode;
use engine::ports::DetailsChange;
use model::limits::BATCH_EVENTS_MAX;
use model::{ItemDetails, TimestampMs};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::http::events::read::{BodyFault, Fault, Rejection, json, too_many_events};

/// What a body of many lines holds.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The good lines.
    pub(super) changes: Vec<DetailsChange>,
    /// The others, in their order.
    pub(super) rejections: Vec<Rejection>,
}

#[derive(Deserialize)]
struct Object<'a> {
    item: Option<String>,
    title: Option<String>,
    channel: Option<String>,
    channel_name: Option<String>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    attributes: Option<BTreeMap<String, String>>,
}

/// The details in a body; an `item` in it must be the one of the path.
pub(super) fn one(body: &[u8], item: &str) -> Result<ItemDetails, BodyFault> {
    let (named, details) = object(json::utf8(body)?)?;
    match named {
        Some(other) if other != item => {
            let detail = format!("the body is about the item `{other}`, the path about `{item}`");
            Err(Fault::new(ProblemCode::InvalidItem, detail))
        }
        _ => Ok(details),
    }
}

/// The items of a body, one a line. Lines of nothing but white space have no index.
///
/// # Errors
/// When there are more than a request may have.
pub(super) fn lines(body: &[u8]) -> Result<List, BodyFault> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut list = List::default();
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for (index, line) in (0..).zip(lines.filter(|line| !line.is_empty())) {
        if index as usize >= BATCH_EVENTS_MAX {
            return Err(too_many_events());
        }
        match change(line) {
            Ok(change) => list.changes.push(change),
            Err(fault) => list.rejections.push(Rejection { index, fault }),
        }
    }
    Ok(list)
}

fn change(line: &[u8]) -> Result<DetailsChange, Fault> {
    let line = std::str::from_utf8(line)
        .map_err(|_| Fault::new(ProblemCode::InvalidJson, "the line is not UTF-8"))?;
    let (item, details) = object(line)?;
    let item = item.ok_or_else(|| Fault::new(ProblemCode::InvalidItem, "the item is missing"))?;
    model::event::check_item(&item)?;
    Ok(DetailsChange { item, details: Some(details) })
}

fn object(text: &str) -> Result<(Option<String>, ItemDetails), Fault> {
    if text.trim_start().starts_with('[') {
        let detail =
            "item details are an object; a list of them goes to POST /v1/items, one a line";
        return Err(Fault::new(ProblemCode::InvalidJson, detail));
    }
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| {
        let code = match error.classify() {
            Category::Data => ProblemCode::InvalidDetails,
            Category::Io | Category::Syntax | Category::Eof => ProblemCode::InvalidJson,
        };
        Fault::new(code, error.to_string())
    })?;
    let Object { item, title, channel, channel_name, created, attributes } = object;
    let created = created.map(|raw| time(raw.get())).transpose()?.flatten();
    let attributes = attributes.unwrap_or_default().into_iter().collect();
    let details = ItemDetails { title, channel, channel_name, created, attributes };
    let invalid = |violation: model::DetailsViolation| {
        Fault::new(ProblemCode::InvalidDetails, violation.to_string())
    };
    details.check().map_err(invalid)?;
    Ok((item, details))
}

/// RFC 3339 text or epoch milliseconds.
fn time(raw: &str) -> Result<Option<TimestampMs>, Fault> {
    let time = match raw.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => {
            let text: String = serde_json::from_str(raw)
                .map_err(|error| Fault::new(ProblemCode::InvalidDetails, error.to_string()))?;
            TimestampMs::parse_rfc3339(&text)
        }
        _ => TimestampMs::parse(raw).or_else(|error| match raw.parse() {
            Ok(number) => json::whole_millis(number),
            Err(_) => Err(error),
        }),
    };
    time.map(Some).map_err(|error| {
        Fault::new(ProblemCode::InvalidDetails, format!("the field `created`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_optional_and_checked() {
        let text = r#"{"title":"<b>A</b>","channel":"c","channel_name":"C","created":
            "2026-11-21T10:00:00Z","attributes":{"b":"2","a":"1"},"other":[1]}"#;
        let details = one(text.as_bytes(), "v").unwrap();
        assert_eq!(details.title.as_deref(), Some("<b>A</b>"));
        assert_eq!(details.created, Some(TimestampMs(1_795_255_200_000)));
        assert_eq!(details.attributes[0], ("a".into(), "1".into()));
        assert_eq!(one(b"{}", "v").unwrap(), ItemDetails::default());
        let nulls = br#"{"item":"v","title":null,"created":null,"attributes":null}"#;
        assert_eq!(one(nulls, "v").unwrap(), ItemDetails::default());
        let millis = one(br#"{"created":7}"#, "v").unwrap();
        assert_eq!(millis.created, Some(TimestampMs(7)));
        let whole = one(br#"{"created":7.0}"#, "v").unwrap();
        assert_eq!(whole.created, Some(TimestampMs(7)));
        let cases = [
            ("", ProblemCode::InvalidJson),
            ("{", ProblemCode::InvalidJson),
            ("{} x", ProblemCode::InvalidJson),
            ("[]", ProblemCode::InvalidJson),
            ("7", ProblemCode::InvalidDetails),
            (r#"{"item":"w"}"#, ProblemCode::InvalidItem),
            (r#"{"title":7}"#, ProblemCode::InvalidDetails),
            (r#"{"title":"a","title":"b"}"#, ProblemCode::InvalidDetails),
            (r#"{"title":""}"#, ProblemCode::InvalidDetails),
            (r#"{"channel":"a\u0000"}"#, ProblemCode::InvalidDetails),
            (r#"{"created":"now"}"#, ProblemCode::InvalidDetails),
            (r#"{"created":"7"}"#, ProblemCode::InvalidDetails),
            (r#"{"created":-1}"#, ProblemCode::InvalidDetails),
            (r#"{"created":7.5}"#, ProblemCode::InvalidDetails),
            (r#"{"created":[]}"#, ProblemCode::InvalidDetails),
            (r#"{"attributes":{"a":1}}"#, ProblemCode::InvalidDetails),
            (r#"{"attributes":[]}"#, ProblemCode::InvalidDetails),
        ];
        for (text, code) in cases {
            assert_eq!(one(text.as_bytes(), "v").unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn each_line_has_its_verdict() {
        let body = b"\xef\xbb\xbf{\"item\":\"a\"}\r\n\n{}\n{\"item\":\"b\",\"title\":\"B\"}\nno\n\
                     {\"item\":\"\\u0001\"}\n\xff\n";
        let list = lines(body).unwrap();
        let items: Vec<&str> = list.changes.iter().map(|change| change.item.as_str()).collect();
        assert_eq!(items, ["a", "b"]);
        let codes: Vec<_> = list.rejections.iter().map(|r| (r.index, r.fault.code)).collect();
        let expected = [
            (1, ProblemCode::InvalidItem),
            (3, ProblemCode::InvalidJson),
            (4, ProblemCode::InvalidItem),
            (5, ProblemCode::InvalidJson),
        ];
        assert_eq!(codes, expected);
        let many = "{\"item\":\"a\"}\n".repeat(BATCH_EVENTS_MAX + 1);
        assert_eq!(lines(many.as_bytes()).unwrap_err().code, ProblemCode::TooManyEvents);
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(list) = lines(&body) {
                for change in list.changes {
                    prop_assert_eq!(change.details.map(|details| details.check()), Some(Ok(())));
                }
            }
        }
    }
}
