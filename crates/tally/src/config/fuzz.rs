//! Settings, durations and sizes, from any text.

use std::path::Path;

use super::units::{format_duration_ms, format_size, parse_duration_ms, parse_size};
use super::{Layer, Machine, Origin, Raw, Resolved, raw};

/// A settings file, or a duration or a size by itself.
pub fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(millis) = parse_duration_ms(text) {
        assert_eq!(parse_duration_ms(&format_duration_ms(millis)), Ok(millis));
    }
    if let Ok(bytes) = parse_size(text) {
        assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
    }
    let Ok(raw) = raw::parse(Path::new("tally.toml"), text) else { return };
    let resolve = |raw: &Raw| {
        let layers = [Layer { origin: Origin::Environment, raw: raw.clone() }];
        Resolved::resolve(&layers, Machine { cores: 2, memory_bytes: 4 << 30 })
    };
    let Ok(resolved) = resolve(&raw) else { return };
    // What is shown says the same when it is set again.
    let again = super::environment(|variable| {
        let is_it =
            |name: &str| variable.strip_prefix("TALLY_") == Some(&name.to_ascii_uppercase());
        let shown = resolved.shown.iter().find(|(name, ..)| is_it(name));
        shown.map(|(_, value, _)| value.clone())
    });
    let again = resolve(&again).expect("what is shown can be set");
    let values = |resolved: &Resolved| {
        let pairs = resolved.shown.iter().map(|(name, value, _)| (*name, value.clone()));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&resolved));
}
