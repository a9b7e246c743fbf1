//! What the store reads back, from any bytes.

use engine::ports::LetterState;
use model::Cell;

use super::{keys, letters, row};

/// A row: what is read is written in one way only, and read the same again.
pub fn row(bytes: &[u8]) {
    let Ok(stored) = row::read_row(bytes) else { return };
    assert!(stored.cells.len() <= bytes.len(), "a cell takes a byte");
    assert!(stored.cells.is_sorted_by(|a, b| a.slot < b.slot), "one cell a slot");
    assert!(stored.cells.iter().all(|cell| cell.slot <= Cell::WHOLE));
    let mut written = Vec::new();
    row::write_row(&mut written, &stored);
    assert!(written.len() <= bytes.len(), "no other form is shorter");
    assert_eq!(row::read_row(&written), Ok(stored.clone()));
    let mut again = Vec::new();
    row::write_row(&mut again, &stored);
    assert_eq!(again, written);
}

/// Everything else the store keeps: the first byte says what the others are.
pub fn letter(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => checkpoint(bytes),
        1 => dead_letter(bytes),
        2 => letter_state(bytes),
        3 => key(bytes),
        4 => source(bytes),
        _ => bulk(bytes),
    }
}

fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = row::read_checkpoint(bytes) {
        // One of before ends early.
        assert!(row::write_checkpoint(&checkpoint).starts_with(bytes));
    }
}

fn dead_letter(bytes: &[u8]) {
    let Ok((append_time, reason, record)) = row::read_dead_letter(bytes) else { return };
    assert_eq!(append_time.0.to_be_bytes(), bytes[..8]);
    assert!(bytes.ends_with(&[reason.as_bytes(), record].concat()));
}

fn letter_state(bytes: &[u8]) {
    let Ok(state) = letters::read_state(bytes) else { return };
    assert_ne!(state, LetterState::Open, "an open letter has no bytes");
    assert_eq!(letters::write_state(&state).as_deref(), Some(bytes));
}

fn bulk(bytes: &[u8]) {
    if let Ok(entry) = row::read_bulk(bytes) {
        assert_eq!(row::write_bulk(&entry), bytes);
    }
}

fn source(bytes: &[u8]) {
    if let Ok(state) = row::read_source(bytes) {
        // A number can be written longer than it is.
        let written = row::write_source(&state);
        assert!(written.len() <= bytes.len());
        assert_eq!(row::read_source(&written), Ok(state));
    }
    if let Ok(name) = keys::source_name(bytes) {
        assert_eq!(name.as_bytes(), &bytes[3..]);
    }
}

fn key(key: &[u8]) {
    if let Ok((partition, hour)) = keys::partition_and_hour(key) {
        let head = keys::hour_head(partition, hour);
        assert!(key.starts_with(&head));
        let next = keys::after_hour(partition, hour);
        assert!(key < &next[..], "the next hour comes behind all rows of this one");
        assert!(next[..] <= keys::hours_end(partition)[..]);
        // Its last minute can be told.
        assert_eq!(hour.minute(59).hour(), hour);
    }
    if let Ok((partition, day)) = keys::partition_and_day(key) {
        assert!(key.starts_with(&keys::day_head(partition, day)));
        let next = keys::after_day(partition, day);
        assert!(key < &next[..], "the next day comes behind all rows of this one");
        assert!(next[..] <= keys::days_end(partition)[..]);
        // Its first minute can be told.
        assert_eq!(day.minute().hour().day(), day);
    }
    if let Some(offset) = keys::dead_letter_offset(key) {
        assert_eq!(offset.0.to_be_bytes(), key[3..]);
    }
}
