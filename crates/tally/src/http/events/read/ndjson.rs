//! NDJSON: one event a line. Lines of nothing but white space are skipped and get no index: the
//! index of an event is its place among the others.

use api::ProblemCode;

use super::{BodyFault, EventSink, Fault, Intake, json};

/// Offers every line. A line that is no event is refused by itself.
pub(crate) fn read<S: EventSink>(body: &[u8], intake: &mut Intake<'_, S>) -> Result<(), BodyFault> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        let line = body[start..end].trim_ascii();
        start = end + 1;
        if line.is_empty() {
            continue;
        }
        let draft = match std::str::from_utf8(line) {
            Ok(line) => json::event(line),
            Err(_) => Err(Fault::new(ProblemCode::InvalidJson, "the line is not UTF-8")),
        };
        intake.take(draft)?;
    }
    Ok(())
}
