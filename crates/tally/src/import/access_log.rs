//! Web access logs of Apache and NGINX, in common and combined format.
//!
//! ```text
//! host ident user [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 5 "referer" "user agent"
//! └──────────────────────── common ───────────────────────────────────┘
//! ```
//!
//! The item is the path, the value the bytes (`-`: none), the attributes method and status; the
//! other fields can be mapped by name. A line that is not of the format is refused. A request that
//! is not `METHOD TARGET [HTTP/x.y]` is odd: it is kept when its second word can be an item,
//! counted as odd, or refused when the user says so.

use std::borrow::Cow;
use std::io::{self, BufRead};

use super::ids::IdDeriver;
use super::lines::{Line, Lines};
use super::plan::{self, Mapping, Plan, Target};
use super::reader::{Format, Record, Refusal};

/// The fields, by the names that `--map` takes.
const FIELDS: [&str; 13] = [
    "host",
    "ident",
    "user",
    "time",
    "method",
    "path",
    "target",
    "protocol",
    "status",
    "bytes",
    "referer",
    "user_agent",
    "event_type",
];

/// What is not in the file but the user's choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessLogRules {
    /// The item keeps its query string.
    pub(crate) keep_query: bool,
    /// An odd request is refused.
    pub(crate) refuse_odd: bool,
    /// The event type is the method in lower case.
    pub(crate) type_from_method: bool,
    /// Methods with an event type of their own.
    pub(crate) method_types: Vec<(String, String)>,
}

impl AccessLogRules {
    /// Reads `GET=view,HEAD=like`.
    pub(crate) fn parse_method_types(pairs: &[String]) -> Result<Vec<(String, String)>, String> {
        let parse = |pair: &String| match pair.split_once('=') {
            Some((method, event_type)) if !method.is_empty() && !event_type.is_empty() => {
                Ok((method.to_owned(), event_type.to_owned()))
            }
            _ => Err(format!("`{pair}` is not of the form METHOD=TYPE, such as GET=view")),
        };
        pairs.iter().map(parse).collect()
    }

    /// Empty: the server's default, `view`.
    fn event_type<'a>(&'a self, method: &str) -> Cow<'a, str> {
        match self.method_types.iter().find(|(other, _)| other == method) {
            Some((_, event_type)) => Cow::Borrowed(event_type),
            None if self.type_from_method => Cow::Owned(method.to_ascii_lowercase()),
            None => Cow::Borrowed(""),
        }
    }
}

pub(super) struct AccessLogReader {
    lines: Lines,
    ids: IdDeriver,
    plan: Plan,
    rules: AccessLogRules,
    is_combined: bool,
}

impl AccessLogReader {
    pub(super) fn new(
        reader: Box<dyn BufRead + Send>,
        ids: IdDeriver,
        mapping: &Mapping,
        rules: &AccessLogRules,
        is_combined: bool,
    ) -> Result<Self, String> {
        let mapping = mapping
            .clone()
            .with_default(Target::Item, if rules.keep_query { "target" } else { "path" })
            .with_default(Target::EventType, "event_type")
            .with_default(Target::Time, "time")
            .with_default(Target::Value, "bytes")
            .with_default(Target::Attribute("method".into()), "method")
            .with_default(Target::Attribute("status".into()), "status");
        let plan = Plan::new(&mapping, &FIELDS)?;
        Ok(Self { lines: Lines::new(reader), ids, plan, rules: rules.clone(), is_combined })
    }

    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Record>> {
        loop {
            let Some(line) = self.lines.next()? else { return Ok(None) };
            if line.bytes.trim_ascii().is_empty() {
                continue;
            }
            let length = out.len();
            let mut is_odd = false;
            let result = event(
                &line,
                &self.plan,
                &self.rules,
                self.is_combined,
                &self.ids,
                &mut is_odd,
                out,
            );
            if result.is_err() {
                out.truncate(length);
            }
            let is_odd = is_odd && result.is_ok();
            return Ok(Some(Record { line: line.number, result, is_odd }));
        }
    }
}

fn event(
    line: &Line<'_>,
    plan: &Plan,
    rules: &AccessLogRules,
    is_combined: bool,
    ids: &IdDeriver,
    is_odd: &mut bool,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    if line.too_long {
        return Err(Refusal::new("odd_line", "the line is over 1 MiB"));
    }
    let text = std::str::from_utf8(line.bytes)
        .map_err(|_| Refusal::new("odd_line", "the line is not UTF-8"))?;
    let entry =
        Entry::parse(text, is_combined).map_err(|reason| Refusal::new("odd_line", reason))?;
    let request = Request::parse(entry.request)
        .ok_or_else(|| Refusal::new("odd_line", "the request has no target"))?;
    *is_odd = request.is_odd;
    if request.is_odd && rules.refuse_odd {
        let detail = "the request is not METHOD TARGET [HTTP/x.y]";
        return Err(Refusal::new("odd_line", detail));
    }
    let millis = time_ms(entry.time)
        .ok_or_else(|| {
            let detail = format!("`{}` is no time", plan::short(entry.time));
            Refusal::new("invalid_time", detail)
        })?
        .to_string();
    let event_type = rules.event_type(request.method);
    let path = request.target.split_once('?').map_or(request.target, |(path, _)| path);
    let dash_is_empty = |text| if text == "-" { "" } else { text };
    let fields: [&str; FIELDS.len()] = [
        entry.host,
        dash_is_empty(entry.ident),
        dash_is_empty(entry.user),
        &millis,
        request.method,
        path,
        request.target,
        request.protocol,
        entry.status,
        dash_is_empty(entry.bytes),
        dash_is_empty(entry.referer),
        dash_is_empty(entry.user_agent),
        &event_type,
    ];
    plan.write_event(|index| fields[index], &[], || ids.derive(line.number, [line.bytes]), out)
}

/// The format of a line, for detection.
pub(super) fn detect(line: &[u8]) -> Option<Format> {
    let text = std::str::from_utf8(line).ok()?;
    if Entry::parse(text, true).is_ok() {
        Some(Format::Combined)
    } else {
        Entry::parse(text, false).ok().map(|_| Format::Common)
    }
}

/// The parts of a line as they stand.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    host: &'a str,
    ident: &'a str,
    user: &'a str,
    time: &'a str,
    request: &'a str,
    status: &'a str,
    bytes: &'a str,
    referer: &'a str,
    user_agent: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str, is_combined: bool) -> Result<Self, &'static str> {
        // A user name can have spaces: it ends where the time begins.
        let (before, rest) = line.split_once(" [").ok_or("the line has no [time]")?;
        let (time, rest) = rest.split_once("] \"").ok_or("no quoted request follows the time")?;
        let mut names = before.splitn(3, ' ');
        let [Some(host), Some(ident), Some(user)] = [names.next(), names.next(), names.next()]
        else {
            return Err("the line does not begin with host, ident and user");
        };
        let (request, status, bytes, rest) =
            split_request(rest).ok_or("no closing quote, status and bytes follow the request")?;
        let (referer, user_agent) = match (is_combined, rest) {
            (false, "") => ("", ""),
            (false, _) => return Err("something follows the bytes: is it combined format?"),
            (true, rest) => {
                let (referer, rest) = quoted(rest).ok_or("the referer is not between quotes")?;
                // Servers may log more after the user agent; it is not looked at.
                let (agent, _) = quoted(rest).ok_or("the user agent is not between quotes")?;
                (referer, agent)
            }
        };
        Ok(Self { host, ident, user, time, request, status, bytes, referer, user_agent })
    }
}

/// Splits at the first quote that status and bytes follow: attacks put bare quotes in the request.
fn split_request(text: &str) -> Option<(&str, &str, &str, &str)> {
    for quote in memchr::memchr_iter(b'"', text.as_bytes()) {
        let Some(after) = text[quote + 1..].strip_prefix(' ') else { continue };
        let Some((status, rest)) = after.split_once(' ') else { continue };
        let end = rest.find(' ').unwrap_or(rest.len());
        let bytes = &rest[..end];
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if status.len() == 3 && is_number(status) && (bytes == "-" || is_number(bytes)) {
            return Some((&text[..quote], status, bytes, &rest[end..]));
        }
    }
    None
}

/// A text between quotes after a space, where `\"` is no end; and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix(" \"")?;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    protocol: &'a str,
    is_odd: bool,
}

impl<'a> Request<'a> {
    /// None where there is no second word.
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (method, target) = (words.next()?, words.next()?);
        let protocol = words.next().unwrap_or_default();
        let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
        let plain_length =
            [method, target, protocol].iter().map(|word| word.len() + 1).sum::<usize>() - 1;
        let is_plain = if protocol.is_empty() {
            text.len() + 1 == plain_length
        } else {
            text.len() == plain_length && is_http_version(protocol)
        };
        Some(Self { method, target, protocol, is_odd: !(is_method && is_plain) })
    }
}

/// `HTTP/1.1`, and `HTTP/2` as servers log it too.
fn is_http_version(text: &str) -> bool {
    let Some(version) = text.strip_prefix("HTTP/") else { return false };
    matches!(version.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'9', b'.', b'0'..=b'9'])
}

/// `17/May/2015:10:05:03 +0000` in epoch milliseconds.
fn time_ms(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    if !text.is_ascii() || text.len() != 26 {
        return None;
    }
    let bytes = text.as_bytes();
    let separators = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i16> {
        let digits = &text[range];
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let month = MONTHS.iter().position(|month| *month == &text[3..6])? as i8 + 1;
    let date = jiff::civil::Date::new(number(7..11)?, month, small(0..2)?).ok()?;
    // A leap second is counted in the second before it.
    let second = small(18..20)?;
    let second = if second == 60 { 59 } else { second };
    let time = jiff::civil::Time::new(small(12..14)?, small(15..17)?, second, 0).ok()?;
    let sign = match bytes[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let offset = i32::from(number(22..24)?) * 3600 + i32::from(number(24..26)?) * 60;
    let offset = jiff::tz::Offset::from_seconds(sign * offset).ok()?;
    Some(offset.to_timestamp(date.to_datetime(time)).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests;
