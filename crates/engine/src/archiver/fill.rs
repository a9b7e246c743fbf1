//! The log's records as events of a raw file.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::executor::block_on;
use model::control::Control;
use model::record::{Record, split};
use model::{Batch, Offset};

use super::run::stopping;
use crate::ports::{ErrorKind, EventLog, PortError, RawEvent, RawFile, RawHead, RawSink};

/// Attributes in other words than the record's. Those of most events are few, again and again.
#[derive(Default)]
struct Objects {
    /// Which of those that are kept, by what the log holds of them.
    known: HashMap<Vec<u8>, usize, foldhash::fast::RandomState>,
    kept: Vec<String>,
    /// One that is not kept.
    other: String,
}

impl Objects {
    /// A JSON object of a record's attributes; empty where it has none.
    fn of(&mut self, record: &Record<'_>) -> &str {
        let encoded = record.encoded_attributes();
        if let Some(at) = self.known.get(encoded) {
            return &self.kept[*at];
        }
        self.other.clear();
        write_object(&mut self.other, record.attributes());
        if encoded.len() <= KEPT_BYTES_MAX && self.kept.len() < KEPT_MAX {
            self.known.insert(encoded.to_vec(), self.kept.len());
            self.kept.push(self.other.clone());
        }
        &self.other
    }
}

/// Objects that are kept at most, and bytes of the attributes of one.
const KEPT_MAX: usize = 1_024;
const KEPT_BYTES_MAX: usize = 128;

/// Payload read from the log at a time.
const READ_BYTES: usize = 1 << 20;
/// Events between two pauses.
const STRETCH_EVENTS: u64 = 256;

/// Gives all events of a file into the sink.
pub(super) fn fill(
    log: &dyn EventLog,
    file: RawFile,
    window_minutes: u32,
    is_stopping: &AtomicBool,
    pause: &dyn Fn(),
    sink: &mut RawSink<'_>,
) -> Result<RawHead, PortError> {
    let mut head =
        RawHead { window_minutes, next_window_minutes: window_minutes, ..RawHead::default() };
    let mut at = file.from;
    let mut objects = Objects::default();
    while at < file.to {
        if is_stopping.load(Ordering::Relaxed) {
            return Err(stopping());
        }
        let before = at;
        for batch in block_on(log.read(file.partition, at, READ_BYTES))? {
            if at >= file.to {
                break;
            }
            let comes_next = batch.base_offset <= at && batch.next_offset() > at;
            if !comes_next {
                break;
            }
            let until = batch.next_offset().min(file.to);
            if batch.is_control {
                take_controls(&batch, at, until, &mut head);
            } else {
                take_events(&batch, at, until, &mut head, &mut objects, pause, sink)?;
            }
            at = until;
        }
        if at == before {
            let context = format!("partition {} gave nothing for offset {at}", file.partition);
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
    }
    Ok(head)
}

/// Records of a batch with their offsets; the last offsets have none where the payload is cut
/// short.
fn records(batch: &Batch<Bytes>, until: Offset) -> impl Iterator<Item = (Offset, Option<&[u8]>)> {
    let records = split(&batch.payload).map(Result::ok).chain(std::iter::repeat(None));
    (batch.base_offset.0..until.0).map(Offset).zip(records)
}

fn take_controls(batch: &Batch<Bytes>, from: Offset, until: Offset, head: &mut RawHead) {
    let read = Control::read_all(&batch.payload).map(Result::ok).chain(std::iter::repeat(None));
    for ((offset, record), control) in records(batch, until).zip(read) {
        if offset < from {
            continue;
        }
        // One that cannot be read stops counting, but not the archive: it is kept as it is.
        if let Some(Control::Settings { dedup_minutes }) = control {
            head.next_window_minutes = dedup_minutes;
        }
        let record = record.unwrap_or_default().to_vec();
        head.controls.push((offset, batch.append_time, record));
    }
}

fn take_events(
    batch: &Batch<Bytes>,
    from: Offset,
    until: Offset,
    head: &mut RawHead,
    objects: &mut Objects,
    pause: &dyn Fn(),
    sink: &mut RawSink<'_>,
) -> Result<(), PortError> {
    for (offset, bytes) in records(batch, until) {
        if offset < from {
            continue;
        }
        if offset.0.is_multiple_of(STRETCH_EVENTS) {
            pause();
        }
        // What counting refuses, and nothing else, is a dead letter here too.
        let Some(record) = bytes.and_then(|bytes| Record::read(bytes).ok()) else {
            head.dead_letters.push(offset);
            continue;
        };
        sink(RawEvent {
            offset,
            append_time: batch.append_time,
            id: record.id,
            item: record.item,
            event_type: record.event_type,
            time: record.time,
            value: record.value,
            attributes: Some(objects.of(&record)).filter(|object| !object.is_empty()),
            source: record.source,
        })?;
    }
    Ok(())
}

/// A JSON object of texts, in the order they were sent; nothing where there are none.
fn write_object<'a>(out: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut before = '{';
    for (key, value) in pairs {
        out.push(before);
        write_string(out, key);
        out.push(':');
        write_string(out, value);
        before = ',';
    }
    if before == ',' {
        out.push('}');
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let is_plain = |byte| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let code = c as usize;
                out.push_str("\\u00");
                out.push(char::from(HEX[code >> 4]));
                out.push(char::from(HEX[code & 0xf]));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_json() {
        let mut json = String::new();
        write_object(&mut json, std::iter::empty());
        assert_eq!(json, "");
        write_object(&mut json, [("a", "1"), ("b\"\\", "\n\r\t\u{1}\u{1f}ü€")].into_iter());
        assert_eq!(json, r#"{"a":"1","b\"\\":"\n\r\t\u0001\u001fü€"}"#);
    }
}
