//! Log lines with the request that they are about, where there is one.

use std::fmt::{self, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request::{self, RequestIds};

/// Lines of another format, to which the ids of the request are added.
pub(super) struct WithRequest<F> {
    inner: F,
    is_json: bool,
}

impl<F> WithRequest<F> {
    /// Around lines of text: `… request_id=…`.
    pub(super) fn text(inner: F) -> Self {
        Self { inner, is_json: false }
    }

    /// Around JSON objects: `…,"request_id":"…"}`.
    pub(super) fn json(inner: F) -> Self {
        Self { inner, is_json: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(request) = request::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        add(&mut line, &request, self.is_json)?;
        writer.write_str(&line)
    }
}

/// Adds the ids at the end of a line. They are ASCII without quotes or backslashes: whoever takes them
/// from a request sees to that.
fn add(line: &mut String, request: &RequestIds, is_json: bool) -> fmt::Result {
    line.truncate(line.trim_end_matches('\n').len());
    let trace = request.trace.iter();
    let trace = trace.flat_map(|t| [("trace_id", &t.trace_id), ("parent_id", &t.parent_id)]);
    let ids = std::iter::once(("request_id", &request.id)).chain(trace);
    if !is_json {
        ids.into_iter().try_for_each(|(name, id)| write!(line, " {name}={id}"))?;
    } else if let Some(open) = line.strip_suffix('}').map(str::len) {
        line.truncate(open);
        ids.into_iter().try_for_each(|(name, id)| write!(line, ",\"{name}\":\"{id}\""))?;
        line.push('}');
    }
    line.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::request::TraceContext;

    #[test]
    fn ids_stand_at_the_end_of_a_line() {
        let trace =
            TraceContext { trace_id: "ab".into(), parent_id: "cd".into(), is_sampled: true };
        let mut request = RequestIds { id: "r1".into(), trace: None };
        let mut text = "INFO done partition=3\n".to_owned();
        add(&mut text, &request, false).unwrap();
        assert_eq!(text, "INFO done partition=3 request_id=r1\n");
        request.trace = Some(trace);
        let mut json = "{\"level\":\"INFO\",\"message\":\"a \\\" }\"}\n".to_owned();
        add(&mut json, &request, true).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["request_id"], &read["trace_id"]), (&"r1".into(), &"ab".into()));
        assert_eq!((&read["parent_id"], &read["message"]), (&"cd".into(), &"a \" }".into()));
    }
}
