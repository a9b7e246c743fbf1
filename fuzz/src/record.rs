//! Payloads of the log: records of events and control records.

use model::control::Control;
use model::record::{Glimpse, Record, split};
use model::{Event, RecordBuf};

/// Any payload: what can be read of it is the same after it was written again.
pub(crate) fn record(payload: &[u8]) {
    let mut held = 0;
    for bytes in split(payload).filter_map(Result::ok) {
        held += 1 + bytes.len();
        let glimpse = Glimpse::of(bytes);
        if let Ok(record) = Record::read(bytes) {
            assert_eq!(glimpse.id, Some(record.id_text()));
            assert_eq!(glimpse.item, Some(record.item));
            assert_eq!(glimpse.event_type, Some(record.event_type));
            assert_eq!(glimpse.time, Some(record.time.0));
            assert_eq!(glimpse.value, record.value);
            let attributes: Vec<_> = record.attributes().collect();
            assert!(attributes.len() * 2 <= bytes.len(), "a pair takes two bytes");
            assert!(attributes.starts_with(&glimpse.attributes));
            write_again(&record.to_event());
        }
        passed_on(bytes);
    }
    assert!(held <= payload.len(), "records lie side by side");
    for control in Control::read_all(payload).filter_map(Result::ok) {
        assert!(Control::read_all(&control.payload()).eq([Ok(control)]));
    }
}

/// An event that keeps the rules comes out of a record as it went in.
fn write_again(event: &Event<'_>) {
    if event.check().is_err() {
        return;
    }
    let mut records = RecordBuf::new();
    records.push(event);
    records.push(event);
    let written: Vec<&[u8]> = split(records.payload()).map(|r| r.expect("whole")).collect();
    assert_eq!((written.len(), records.record_count()), (2, 2));
    for bytes in written {
        let read = Record::read(bytes).expect("what was written can be counted");
        assert_eq!(read.to_event(), *event);
    }
}

/// Bytes that nobody understands are passed on as they are.
fn passed_on(bytes: &[u8]) {
    let mut records = RecordBuf::new();
    records.push_encoded(bytes);
    assert!(split(records.payload()).eq([Ok(bytes)]));
}
