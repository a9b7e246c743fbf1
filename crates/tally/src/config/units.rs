//! Durations and sizes as people write them: `90s`, `15m`, `24h`, `7d`, `40y`; `64MiB`, `2GiB`.

/// What a duration looks like, to go on from a value: "`5 minutes`; …".
pub(crate) const DURATION_SHAPE: &str =
    "it must be a whole number with a unit: 500ms, 90s, 15m, 24h, 7d or 40y";
/// What a size looks like.
pub(crate) const SIZE_SHAPE: &str =
    "it must be a whole number of bytes or of KiB, MiB, GiB or TiB: 64MiB, 2GiB";

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("y", 365 * 86_400_000),
];
const SIZE_UNITS: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1), ("", 1)];

/// Longest duration: what can be written as a time at all.
const DURATION_MAX_MS: u64 = 10_000 * 365 * 86_400_000;

/// Reads a duration above 0 in milliseconds.
///
/// # Errors
/// What a duration looks like.
pub(crate) fn parse_duration_ms(text: &str) -> Result<u64, &'static str> {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| DURATION_SHAPE)?;
    let (_, factor) =
        DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or(DURATION_SHAPE)?;
    match number.checked_mul(*factor) {
        Some(millis @ 1..=DURATION_MAX_MS) => Ok(millis),
        _ => Err("it must be above 0 and at most 10000y"),
    }
}

/// Writes a duration in its largest whole unit.
pub(crate) fn format_duration_ms(millis: u64) -> String {
    let units = DURATION_UNITS.iter().rev();
    let (name, factor) = units
        .filter(|(name, _)| *name != "y")
        .find(|(_, f)| millis.is_multiple_of(*f))
        .unwrap_or(&("ms", 1));
    format!("{}{name}", millis / factor)
}

/// Reads a size in bytes.
///
/// # Errors
/// What a size looks like.
pub(crate) fn parse_size(text: &str) -> Result<u64, &'static str> {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| SIZE_SHAPE)?;
    let unit = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()));
    number.checked_mul(unit.ok_or(SIZE_SHAPE)?.1).ok_or(SIZE_SHAPE)
}

/// Writes a size in its largest whole unit.
pub(crate) fn format_size(bytes: u64) -> String {
    let whole =
        SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (name, factor) = whole.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration_ms(text), Ok(millis), "{text}");
            assert_eq!(format_duration_ms(millis), text);
        }
        assert_eq!(parse_duration_ms("40y"), Ok(40 * 365 * 86_400_000));
        for text in ["", "5", "m", "-1s", "1.5h", "0s", "1 h", "99999999999999999y", "1week"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64MiB", 64 << 20), ("2GiB", 2 << 30), ("17B", 17)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(parse_size("1024"), Ok(1024));
        assert_eq!(parse_size("5 gib"), Ok(5 << 30));
        for text in ["", "GiB", "-1", "1.5GiB", "9999999999999TiB", "2GB2"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
