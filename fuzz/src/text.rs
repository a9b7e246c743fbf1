//! Numbers and times as people and programs write them.

use model::value::{MICROS, ValueError};
use model::{TimestampMs, Value};

/// A decimal, checked against floating point and against the grammar of JSON.
pub(crate) fn value(bytes: &[u8]) {
    scaled(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = Value::parse(text);
    let is_number = serde_json::from_str::<&serde_json::value::RawValue>(text)
        .is_ok_and(|raw| raw.get() == text && !text.starts_with(['"', '[', '{', 't', 'f', 'n']));
    assert_eq!(parsed != Err(ValueError::NotADecimal), is_number, "the grammar is that of JSON");
    let Ok(float) = text.parse::<f64>() else { return };
    match parsed {
        Ok(value) => {
            let difference = (value.micros() as f64 / MICROS as f64 - float).abs();
            assert!(difference <= 0.000_000_6 + float.abs() * 1e-12, "{value} is not {float}");
            prints_and_parses(value);
        }
        Err(ValueError::TooLarge) => assert!(float.abs() > 9.199_999e12),
        Err(ValueError::NotADecimal) => {}
    }
}

/// The bytes as an unscaled number and its scale.
fn scaled(bytes: &[u8]) {
    let Some((unscaled, scale)) = bytes.split_first_chunk::<16>() else { return };
    let scale = scale.first().map_or(0, |scale| u32::from(*scale));
    let unscaled = i128::from_le_bytes(*unscaled);
    let Ok(value) = Value::from_scaled(unscaled, scale) else { return };
    let text = format!("{unscaled}e-{scale}");
    assert_eq!(Value::parse(&text), Ok(value), "{text}");
    prints_and_parses(value);
}

fn prints_and_parses(value: Value) {
    assert_eq!(Value::parse(&value.to_string()), Ok(value));
    assert_eq!(Value::from_micros(value.micros()), Ok(value));
}

/// An instant, checked against a library's reader.
pub(crate) fn time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(instant) = TimestampMs::parse_rfc3339(text) {
        assert_eq!(TimestampMs::parse(text), Ok(instant));
        // It reads no more than nine digits of a fraction.
        if let Ok(other) = text.parse::<jiff::Timestamp>() {
            assert_eq!(other.as_nanosecond().div_euclid(1_000_000), i128::from(instant.0));
        }
        if let Some(local) = text.strip_suffix(['Z', 'z']) {
            for other in [format!("{local}+00:00"), format!("{local}z").replace('T', "t")] {
                assert_eq!(TimestampMs::parse_rfc3339(&other), Ok(instant), "{other}");
            }
        }
    }
    if let Ok(instant) = TimestampMs::parse(text) {
        assert_eq!(TimestampMs::parse(&instant.to_string()), Ok(instant), "{text}");
        assert_eq!(TimestampMs::parse(&instant.0.to_string()), Ok(instant), "{text}");
        assert_eq!(instant.checked(), Ok(instant));
        assert!(instant.minute().start() <= instant, "{text}");
    }
}
