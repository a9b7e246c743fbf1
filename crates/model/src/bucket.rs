//! Time: instants, buckets of the four granularities, and half-open ranges.

use std::fmt;

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

/// Milliseconds in a minute.
pub const MINUTE_MS: i64 = 60_000;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Least and greatest instant that is understood: years 1970 to 9999, up to a day before their end
/// so that it can be written in every time zone. Before 1970 nothing was counted by machines that
/// would send it here, and unsigned buckets keep keys in time order.
pub const TIME_MIN: TimestampMs = TimestampMs(0);
/// See [`TIME_MIN`].
pub const TIME_MAX: TimestampMs = TimestampMs(253_402_207_200_000);

/// Minutes since 1970: the bucket of the finest granularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub u32);

/// Hours since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u32);

/// Days since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Minute {
    /// The hour this minute lies in.
    pub fn hour(self) -> Hour {
        Hour(self.0 / 60)
    }

    /// The minute within its hour, 0 to 59.
    pub fn of_hour(self) -> u8 {
        (self.0 % 60) as u8
    }

    /// Start of the minute.
    pub fn start(self) -> TimestampMs {
        TimestampMs(i64::from(self.0) * MINUTE_MS)
    }
}

impl Hour {
    /// A minute of this hour, 0 to 59.
    pub fn minute(self, of_hour: u8) -> Minute {
        Minute(self.0 * 60 + u32::from(of_hour))
    }

    /// All its minutes.
    pub fn range(self) -> TimeRange {
        TimeRange { start: self.minute(0), end: Minute(self.minute(0).0 + 60) }
    }

    /// Start of the hour.
    pub fn start(self) -> TimestampMs {
        TimestampMs(i64::from(self.0) * HOUR_MS)
    }

    /// The day this hour lies in.
    pub fn day(self) -> Day {
        Day(self.0 / 24)
    }
}

impl Day {
    /// The first minute of the day.
    pub fn minute(self) -> Minute {
        Minute(self.0 * 24 * 60)
    }

    /// Start of the day.
    pub fn start(self) -> TimestampMs {
        TimestampMs(i64::from(self.0) * DAY_MS)
    }
}

/// Why a text is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Neither RFC 3339 nor a whole number of milliseconds.
    #[error("not RFC 3339 (2026-11-21T10:00:00Z) and not epoch milliseconds")]
    NotATime,
    /// Before 1970 or after 9999.
    #[error("the year must be 1970 to 9999")]
    OutOfBounds,
}

impl TimestampMs {
    /// The instant, where it lies in 1970 to 9999.
    pub fn checked(self) -> Result<Self, TimeError> {
        if (TIME_MIN..=TIME_MAX).contains(&self) { Ok(self) } else { Err(TimeError::OutOfBounds) }
    }

    /// Reads RFC 3339 with any offset; digits beyond the millisecond are cut.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        if let Some(instant) = utc_millis(text.as_bytes()) {
            return instant.checked();
        }
        // jiff takes more than RFC 3339 (a space, no seconds, a zone in brackets): refuse those.
        let bytes = text.as_bytes();
        let shaped = bytes.len() >= 20
            && matches!(bytes[10], b'T' | b't')
            && bytes[16] == b':'
            && bytes[17..19].iter().all(u8::is_ascii_digit)
            && !text.contains(['[', ','])
            && match bytes[bytes.len() - 1] {
                b'Z' | b'z' => true,
                _ => bytes[bytes.len() - 3] == b':',
            };
        if !shaped {
            return Err(TimeError::NotATime);
        }
        // jiff reads nine digits of a fraction; RFC 3339 sets no bound.
        let is_digit = |byte: &&u8| byte.is_ascii_digit();
        let digits = match bytes[19] {
            b'.' => bytes[20..].iter().take_while(is_digit).count(),
            _ => 0,
        };
        let cut = (digits > 9).then(|| [&text[..29], &text[20 + digits..]].concat());
        let instant: jiff::Timestamp =
            cut.as_deref().unwrap_or(text).parse().map_err(|_| TimeError::NotATime)?;
        Self(instant.as_nanosecond().div_euclid(1_000_000) as i64).checked()
    }

    /// Reads RFC 3339 or, where the text is a whole number, epoch milliseconds.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Self(text.parse().map_err(|_| TimeError::OutOfBounds)?).checked();
        }
        Self::parse_rfc3339(text)
    }

    /// The minute this instant lies in.
    ///
    /// # Panics
    /// When the instant is outside 1970 to 9999: it was checked when it came in.
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0.div_euclid(MINUTE_MS)).expect("the instant was checked"))
    }

    /// Rounded down to the start of a bucket of so many milliseconds.
    pub fn floor(self, bucket_ms: i64) -> Self {
        Self(self.0.div_euclid(bucket_ms) * bucket_ms)
    }

    /// Rounded up to the start of a bucket of so many milliseconds.
    pub fn ceil(self, bucket_ms: i64) -> Self {
        Self(-(-self.0).div_euclid(bucket_ms) * bucket_ms)
    }
}

/// The numbers below 100 that begin at each place where the pattern has a `0` there and behind; none
/// where the text has no digit at a `0` or another byte than the pattern at another place. Looks at all
/// eight bytes at a time.
#[inline]
fn pairs(text: &[u8; 8], pattern: &[u8; 8]) -> Option<[u8; 8]> {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    // Digits become 0 to 9, and what is like the pattern 0.
    let digits = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*pattern);
    // With this much more, what is above its bound reaches the highest bit.
    let room = pattern.map(|byte| if byte == b'0' { 0x80 - 10 } else { 0x80 - 1 });
    let is_wrong = (digits | digits.wrapping_add(u64::from_le_bytes(room))) & HIGH != 0;
    (!is_wrong).then(|| (digits.wrapping_mul(10).wrapping_add(digits >> 8)).to_le_bytes())
}

/// `YYYY-MM-DDTHH:MM:SS[.mmm…]Z`, what nearly every event carries, without a general parser.
fn utc_millis(text: &[u8]) -> Option<TimestampMs> {
    let [century, _, year, _, _, month, ..] = pairs(text.first_chunk()?, b"0000-00-")?;
    let [day, _, _, hour, _, _, minute, _] = pairs(text.get(8..16)?.try_into().ok()?, b"00T00:00")?;
    let (clock, fraction) = text.get(11..)?.split_first_chunk()?;
    let second = pairs(clock, b"00:00:00")?[6];
    let millis = match fraction {
        b"Z" => 0,
        [b'.', digits @ .., b'Z']
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) =>
        {
            let weighed = digits.iter().zip([100, 10, 1]);
            weighed.map(|(digit, weight)| i64::from(digit - b'0') * weight).sum()
        }
        _ => return None,
    };
    let year = i64::from(century) * 100 + i64::from(year);
    let (month, day) = (i64::from(month), i64::from(day));
    let (hour, minute, second) = (i64::from(hour), i64::from(minute), i64::from(second));
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    let in_bounds = (1..=month_days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !in_bounds {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let (march_year, march_month) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let days = 365 * march_year + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + day_of_year
        - 719_468;
    Some(TimestampMs((days * 24 + hour) * HOUR_MS + minute * MINUTE_MS + second * 1_000 + millis))
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => instant.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// 60 s.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours, UTC.
    Day,
    /// All time.
    Total,
}

impl Granularity {
    /// Length of a bucket in milliseconds; none for the total.
    pub fn millis(self) -> Option<i64> {
        match self {
            Self::Minute => Some(MINUTE_MS),
            Self::Hour => Some(HOUR_MS),
            Self::Day => Some(DAY_MS),
            Self::Total => None,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Total => "total",
        }
    }

    /// The granularity of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Minute, Self::Hour, Self::Day, Self::Total].into_iter().find(|g| g.as_str() == name)
    }
}

/// A half-open range of whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first minute in it.
    pub start: Minute,
    /// The first minute after it.
    pub end: Minute,
}

impl TimeRange {
    /// All minutes that can be stored.
    pub const ALL: Self = Self { start: Minute(0), end: Minute(u32::MAX) };

    /// The range that covers `[start, end)`: rounded outwards to whole minutes.
    pub fn covering(start: TimestampMs, end: TimestampMs) -> Self {
        Self {
            start: start.floor(MINUTE_MS).minute(),
            end: Minute((end.ceil(MINUTE_MS).0 / MINUTE_MS) as u32),
        }
    }

    /// Whether the minute lies in it.
    pub fn contains(self, minute: Minute) -> bool {
        self.start <= minute && minute < self.end
    }

    /// The hours that have a minute in it, half-open.
    pub fn hours(self) -> std::ops::Range<u32> {
        self.start.0 / 60..self.end.0.div_ceil(60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T10:00:00.123Z", 1_795_255_200_123),
            ("2026-11-21T11:00:00.123+01:00", 1_795_255_200_123),
            ("2026-11-21T10:00:00.1239999Z", 1_795_255_200_123),
            ("2026-11-21T10:00:00.12399999999999999Z", 1_795_255_200_123),
            ("2026-11-21T11:00:00.12399999999999999+01:00", 1_795_255_200_123),
            ("2000-02-29T23:59:59Z", 951_868_799_000),
            ("1795255200123", 1_795_255_200_123),
        ] {
            assert_eq!(TimestampMs::parse(text), Ok(TimestampMs(expected)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00Z",
            "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T10:00Z",
            "2026-11-21T10:00:00Z[UTC]",
            "1.5",
            "２０２６-11-21T10:00:00Z",
        ] {
            assert_eq!(TimestampMs::parse(text), Err(TimeError::NotATime), "{text}");
        }
        for text in ["-1", "1969-12-31T23:59:59Z", "99999999999999999999", "253402300800000"] {
            assert_eq!(TimestampMs::parse(text), Err(TimeError::OutOfBounds), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(millis in 0i64..=253_402_207_200_000) {
            let instant = TimestampMs(millis);
            prop_assert_eq!(utc_millis(instant.to_string().as_bytes()), Some(instant));
        }

        #[test]
        fn rounding_surrounds(millis in 0i64..=253_402_207_200_000) {
            let at = TimestampMs(millis);
            prop_assert!(at.floor(HOUR_MS) <= at && at <= at.ceil(HOUR_MS));
            prop_assert!(at.ceil(HOUR_MS).0 - at.floor(HOUR_MS).0 <= HOUR_MS);
        }

        #[test]
        fn the_short_way_reads_what_the_long_one_does(
            millis in 0i64..=253_402_207_200_000,
            digits in 0usize..5,
            at in 0usize..30,
            to in proptest::option::of("[0-9:.TZz+ -]"),
        ) {
            let instant = jiff::Timestamp::from_millisecond(millis).unwrap();
            let mut text = format!("{instant:.digits$}");
            if let Some(to) = to.filter(|_| at < text.len()) {
                text.replace_range(at..=at, &to);
            }
            if let Some(instant) = utc_millis(text.as_bytes()) {
                let long: jiff::Timestamp = text.parse().unwrap();
                prop_assert_eq!(instant.0, long.as_nanosecond().div_euclid(1_000_000) as i64);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = TimestampMs::parse(&text);
        }
    }
}
