//! Builds the paths and query strings of the contract, percent-encoded.

use std::fmt::Write;

use super::ClientError;

/// What `GET /v1/items/{item}/count` is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountQuery<'a> {
    /// The item.
    pub item: &'a str,
    /// The event type; the server's default is `view`.
    pub event_type: Option<&'a str>,
    /// Start of the range: RFC 3339 or epoch milliseconds.
    pub start: Option<&'a str>,
    /// End of the range, exclusive.
    pub end: Option<&'a str>,
}

impl CountQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let mut path = item_path(self.item, "count");
        let parameters = [("type", self.event_type), ("start", self.start), ("end", self.end)];
        push_parameters(&mut path, &parameters);
        path
    }
}

/// What `GET /v1/items/{item}/stats` is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatsQuery<'a> {
    /// The item.
    pub item: &'a str,
    /// The event type; the server's default is `view`.
    pub event_type: Option<&'a str>,
    /// `count,sum,average,min,max` or some of them.
    pub function: Option<&'a str>,
    /// `minute`, `hour`, `day` or `total`.
    pub step: Option<&'a str>,
    /// Start of the range: RFC 3339 or epoch milliseconds.
    pub start: Option<&'a str>,
    /// End of the range, exclusive.
    pub end: Option<&'a str>,
}

impl StatsQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let mut path = item_path(self.item, "stats");
        let parameters = [
            ("type", self.event_type),
            ("function", self.function),
            ("step", self.step),
            ("start", self.start),
            ("end", self.end),
        ];
        push_parameters(&mut path, &parameters);
        path
    }
}

/// What `GET /v1/top` is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopQuery<'a> {
    /// The event type; the server's default is `view`.
    pub event_type: Option<&'a str>,
    /// How far back from now, such as `1h`.
    pub window: Option<&'a str>,
    /// Start of the range, instead of a window.
    pub start: Option<&'a str>,
    /// End of the range, exclusive.
    pub end: Option<&'a str>,
    /// How many items.
    pub limit: Option<u32>,
}

impl TopQuery<'_> {
    /// The path and query.
    pub fn path(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let mut path = String::from("/v1/top");
        let parameters = [
            ("type", self.event_type),
            ("window", self.window),
            ("start", self.start),
            ("end", self.end),
            ("limit", limit.as_deref()),
        ];
        push_parameters(&mut path, &parameters);
        path
    }
}

pub(super) fn counts<'a>(event_type: &str, items: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = format!("/v1/counts?type={}", encode_segment(event_type));
    for item in items {
        path.push_str("&item=");
        push_encoded(&mut path, item);
    }
    path
}

/// Percent-encodes a text so that it is one segment of a path or one value of a query: every byte
/// other than `A-Z a-z 0-9 - . _ ~`, so also `/`, is written as `%XX`.
pub fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    push_encoded(&mut encoded, text);
    encoded
}

fn push_encoded(out: &mut String, text: &str) {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes any text");
        }
    }
}

/// A segment of a path. `.` and `..` are encoded whole: otherwise they would be resolved as steps of
/// the path.
pub(super) fn segment(text: &str) -> String {
    match text {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        text => encode_segment(text),
    }
}

fn item_path(item: &str, resource: &str) -> String {
    format!("/v1/items/{}/{resource}", segment(item))
}

pub(super) fn push_parameters(path: &mut String, parameters: &[(&str, Option<&str>)]) {
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            path.push(separator);
            path.push_str(name);
            path.push('=');
            push_encoded(path, value);
            separator = '&';
        }
    }
}

/// The URL of a server without the slash at its end.
pub(super) fn check_base(url: &str) -> Result<String, ClientError> {
    let invalid = |reason| ClientError::InvalidUrl { url: url.to_owned(), reason };
    let base = url.trim_end_matches('/');
    let uri: hyper::Uri =
        base.parse().map_err(|_| invalid("write it like http://127.0.0.1:8080"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(invalid("write it like http://127.0.0.1:8080")),
    }
    if uri.query().is_some() {
        return Err(invalid("it must not have a query"));
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(base.to_owned()),
        _ => Err(invalid("it has no host")),
    }
}
