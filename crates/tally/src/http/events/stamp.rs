//! The headers `Tally-Source` and `Tally-Sequence`: who sends, and where the events of this request
//! stand among all that they send. What was sent so can be repeated at any time.

use axum::http::{HeaderMap, HeaderName};
use engine::gateway::{EventBatch, Gateway, SourceStamp};
use model::event::is_source;
use model::limits::{BATCH_EVENTS_MAX, SOURCE_BYTES_MAX};

use crate::http::problem::Failure;

const SOURCE: HeaderName = HeaderName::from_static("tally-source");
const SEQUENCE: HeaderName = HeaderName::from_static("tally-sequence");
/// What names of the server's own sources begin with.
pub(crate) const RESERVED_PREFIX: &str = "bulk:";
/// So that the last event of the largest request has a sequence too.
const SEQUENCE_MAX: i64 = i64::MAX - BATCH_EVENTS_MAX as i64;

/// The stamp of a request, if it has one.
///
/// # Errors
/// 400 where one header comes without the other, comes twice or has no valid value.
pub(super) fn stamp(headers: &HeaderMap) -> Result<Option<SourceStamp>, Failure> {
    let (source, sequence) = (one(headers, &SOURCE)?, one(headers, &SEQUENCE)?);
    let (Some(source), Some(sequence)) = (source, sequence) else {
        return match source.or(sequence) {
            None => Ok(None),
            Some(_) => {
                Err(wrong("the headers Tally-Source and Tally-Sequence come together".to_owned()))
            }
        };
    };
    if !is_source(source) || source.starts_with(RESERVED_PREFIX) {
        return Err(wrong(format!(
            "the header Tally-Source must have 1 to {SOURCE_BYTES_MAX} printable ASCII characters \
             and not begin with `{RESERVED_PREFIX}`"
        )));
    }
    let is_number = sequence.bytes().all(|byte| byte.is_ascii_digit());
    match sequence.parse().ok().filter(|first| is_number && *first <= SEQUENCE_MAX) {
        Some(first) => Ok(Some(SourceStamp { source: source.to_owned(), first })),
        None => Err(wrong(format!(
            "the header Tally-Sequence must be a whole number from 0 to {SEQUENCE_MAX}"
        ))),
    }
}

/// A batch of events with or without a stamp.
pub(super) fn begin(
    gateway: &Gateway,
    stamp: Option<SourceStamp>,
) -> Result<EventBatch<'_>, Failure> {
    Ok(match stamp {
        Some(stamp) => gateway.begin_stamped(stamp)?,
        None => gateway.begin()?,
    })
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => Ok(value.to_str().ok()),
        _ => Err(wrong(format!("the header {name} must come once, in ASCII"))),
    }
}

fn wrong(detail: String) -> Failure {
    Failure::parameter(detail).closing()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Option<SourceStamp>, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
        }
        stamp(&headers)
    }

    #[test]
    fn both_headers_or_none_with_valid_values() {
        assert_eq!(of(&[]).expect("none"), None);
        for first in ["0", "7", "9223372036854675807"] {
            let stamp = of(&[("tally-source", "spool 1"), ("tally-sequence", first)]);
            let expected = SourceStamp { source: "spool 1".into(), first: first.parse().unwrap() };
            assert_eq!(stamp.expect("a stamp"), Some(expected));
        }
        let long = "x".repeat(65);
        for pairs in [
            &[("tally-source", "s")][..],
            &[("tally-sequence", "1")],
            &[("tally-source", ""), ("tally-sequence", "1")],
            &[("tally-source", &long), ("tally-sequence", "1")],
            &[("tally-source", "ü"), ("tally-sequence", "1")],
            &[("tally-source", "bulk:x"), ("tally-sequence", "1")],
            &[("tally-source", "s"), ("tally-source", "s"), ("tally-sequence", "1")],
            &[("tally-source", "s"), ("tally-sequence", "-1")],
            &[("tally-source", "s"), ("tally-sequence", "+1")],
            &[("tally-source", "s"), ("tally-sequence", "")],
            &[("tally-source", "s"), ("tally-sequence", "9223372036854675808")],
            &[("tally-source", "s"), ("tally-sequence", "1e3")],
        ] {
            let code = of(pairs).expect_err("refused").code();
            assert_eq!(code, api::ProblemCode::InvalidParameter, "{pairs:?}");
        }
    }
}
