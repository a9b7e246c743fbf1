//! `X-Request-Id` and `traceparent`: the names under which a request is found again in logs and traces.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::request::{RequestIds, TraceContext};

/// The header of the id, in requests and in every answer.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A longer id is replaced by one of ours.
const ID_BYTES_MAX: usize = 128;
/// Longest `traceparent` that is looked at: later versions may say more.
const TRACEPARENT_BYTES_MAX: usize = 512;

/// The ids of a request: those that it says, where they are as they should be.
pub(super) fn of(headers: &HeaderMap) -> RequestIds {
    let id = one(headers, &HEADER, ID_BYTES_MAX).filter(|id| is_id(id));
    let trace = one(headers, &TRACEPARENT, TRACEPARENT_BYTES_MAX).and_then(TraceContext::read);
    RequestIds { id: id.map_or_else(next_id, str::to_owned), trace }
}

/// The header of an answer.
pub(super) fn header(ids: &RequestIds) -> Option<HeaderValue> {
    HeaderValue::from_str(&ids.id).ok()
}

/// The text of a header that comes once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName, bytes_max: usize) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().filter(|text| text.len() <= bytes_max)
}

/// What stands in log lines as it is: nothing that would end a line, a field or a text of JSON.
fn is_id(text: &str) -> bool {
    let is_plain = |byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.bytes().all(is_plain)
}

/// 24 hexadecimal digits: the process by chance, then a number that rises.
fn next_id() -> String {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = String::with_capacity(24);
    let process = PROCESS.get_or_init(rand::random);
    // Writing to a string does not fail.
    let _ = write!(id, "{process:08x}{:016x}", NEXT.fetch_add(1, Ordering::Relaxed));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(pairs: &[(&'static str, &str)]) -> RequestIds {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        of(&headers)
    }

    #[test]
    fn a_clients_id_is_kept_where_it_can_stand_in_a_log_line() {
        assert_eq!(ids(&[("x-request-id", "shop/7f#3")]).id, "shop/7f#3");
        let made = ids(&[]).id;
        assert_eq!(made.len(), 24);
        assert_ne!(made, ids(&[]).id);
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for bad in ["", "a b", "a\"b", "a\\b", "ä", &long] {
            assert_eq!(ids(&[("x-request-id", bad)]).id.len(), 24, "{bad}");
        }
        assert_eq!(ids(&[("x-request-id", "a"), ("x-request-id", "b")]).id.len(), 24);
        assert_eq!(header(&ids(&[("x-request-id", "a")])), Some(HeaderValue::from_static("a")));
    }

    #[test]
    fn a_trace_is_taken_over() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = ids(&[("traceparent", parent)]).trace.expect("it is good");
        assert_eq!(trace.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(ids(&[("traceparent", parent), ("traceparent", parent)]).trace, None);
    }
}
