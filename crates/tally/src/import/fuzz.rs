//! Files to be sent, from any bytes. Whatever the reader takes for an event is one line, and a line
//! that the server can read.

use api::ProblemCode;
use serde::de::IgnoredAny;

use super::reader::{Format, ReadOptions, Reader, Record};
use super::report::Progress;
use super::{AccessLogRules, Mapping, resume, source};
use crate::http::events::read::json;

/// CSV.
pub fn csv(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else { return };
    let access_log = AccessLogRules::default();
    read(text, &ReadOptions { format: Some(Format::Csv), mapping: mapping(*choice), access_log });
}

/// NDJSON.
pub fn ndjson(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else { return };
    let (format, access_log) = (Some(Format::Ndjson), AccessLogRules::default());
    read(text, &ReadOptions { format, mapping: mapping(*choice), access_log });
}

/// Access logs, in both formats and by every rule.
pub fn access_log(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else { return };
    let format = match choice & 3 {
        0 => Some(Format::Common),
        1 => Some(Format::Combined),
        _ => None,
    };
    let access_log = AccessLogRules {
        keep_query: choice & 4 != 0,
        refuse_odd: choice & 8 != 0,
        type_from_method: choice & 16 != 0,
        method_types: vec![("HEAD".into(), "look".into())],
    };
    read(text, &ReadOptions { format, mapping: Mapping::default(), access_log });
}

/// How the user maps fields, by the bits of a byte.
fn mapping(choice: u8) -> Mapping {
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let map: &[&str] = if choice & 1 != 0 { &["item=path", "value=n", "attr.ok=ok"] } else { &[] };
    let set: &[&str] = if choice & 2 != 0 { &["type=hit", "attr.site=a\"b"] } else { &[] };
    let shift_days = if choice & 4 != 0 { i64::from(choice) << 20 } else { 0 };
    Mapping::parse(&words(map), &words(set), shift_days).expect("a good mapping")
}

/// Longest compressed input: a few bytes make some ten thousand times as many.
const COMPRESSED_BYTES_MAX: usize = 64;

fn read(text: &[u8], options: &ReadOptions) {
    let is_text = std::str::from_utf8(text.get(..4).unwrap_or(text)).is_ok();
    if !is_text && text.len() > COMPRESSED_BYTES_MAX {
        return;
    }
    let Some((out, records)) = read_once(text, options) else { return };
    assert_eq!(read_once(text, options), Some((out.clone(), records.clone())), "ids stay the same");
    let events = records.iter().filter(|record| record.result.is_ok()).count();
    assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), events, "an event is a line");
    assert!(records.is_sorted_by_key(|record| record.line));
    // What goes through as it is, is judged by the server alone.
    let is_passed_on = matches!(options.format, None | Some(Format::Ndjson));
    let is_made = !is_passed_on || !options.mapping.is_empty();
    for line in out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<IgnoredAny>(line).expect("a line is JSON");
        let line = std::str::from_utf8(line).expect("JSON is UTF-8");
        match json::event(line) {
            Ok(draft) => {
                assert!(draft.id.is_some(), "every event has an id");
                if is_made {
                    let item = draft.item.expect("every event has an item");
                    model::event::check_item(&item).expect("the item was judged");
                }
            }
            Err(fault) if is_made => assert!(
                matches!(fault.code, ProblemCode::InvalidTime | ProblemCode::InvalidValue),
                "{line}: {fault:?}"
            ),
            Err(_) => {}
        }
    }
}

/// The lines and the records; none where the file as a whole is refused.
fn read_once(text: &[u8], options: &ReadOptions) -> Option<(Vec<u8>, Vec<Record>)> {
    let source = source::try_from_bytes(text.to_vec()).ok()?;
    let mut reader = Reader::new(source, options).ok()?;
    let (mut out, mut records) = (Vec::new(), Vec::new());
    loop {
        let before = out.len();
        let Some(record) = reader.next(&mut out).ok()? else { return Some((out, records)) };
        assert_eq!(out.len() > before, record.result.is_ok(), "a refused record leaves nothing");
        records.push(record);
    }
}

/// What an earlier run has left about a file.
pub fn resume(bytes: &[u8]) {
    let Some(progress) = resume::read(bytes) else { return };
    let written = resume::write("a", &progress).expect("progress is JSON");
    assert_eq!(resume::read(&written).as_ref(), Some(&progress));
    // As the sender does once the gap is closed.
    let Progress { mut done, ahead } = progress;
    let mut place = done.records;
    for piece in ahead {
        assert!(piece.first_record >= place, "pieces are in order");
        place = piece.first_record + piece.report.records;
        done.merge(piece.report);
    }
    assert!(done.records <= place);
    let _ = done.refused.total();
}
