//! CloudEvents in binary mode: the attributes are headers, `ce-id` and so on, and the body is the data.

use api::ProblemCode;
use axum::http::{HeaderMap, header};

use super::read::cloud_events::Attributes;
use crate::http::problem::Failure;

/// The header that no other kind of request has.
const VERSION: &str = "ce-specversion";

/// The attributes of the event that the headers speak of; none where they speak of none.
///
/// # Errors
/// 400 for a header that comes twice or is not percent-encoded UTF-8.
pub(super) fn attributes(headers: &HeaderMap) -> Result<Option<Attributes>, Failure> {
    let Some(version) = header_text(headers, VERSION)? else { return Ok(None) };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let is_json = |essence: &str| {
        let essence = essence.to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    };
    Ok(Some(Attributes {
        version,
        id: header_text(headers, "ce-id")?,
        source: header_text(headers, "ce-source")?,
        subject: header_text(headers, "ce-subject")?,
        event_type: header_text(headers, "ce-type")?,
        time: header_text(headers, "ce-time")?,
        has_json_data: essence.is_some_and(is_json),
    }))
}

fn header_text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(name).iter();
    let wrong = || {
        let detail = format!("the header {name} must come once, as percent-encoded UTF-8");
        Failure::new(ProblemCode::InvalidParameter, detail).closing()
    };
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => decode(value.as_bytes()).map(Some).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Undoes percent-encoding; none where it is broken, or is of no text.
fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        let mut digit = || rest.next().and_then(|&digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? << 4 | digit()?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_percent_encoded() {
        assert_eq!(decode(b"a%20b%C3%BC+").as_deref(), Some("a b\u{fc}+"));
        for broken in [&b"%"[..], b"%4", b"%zz", b"%ff", b"\xff"] {
            assert_eq!(decode(broken), None);
        }
    }
}
