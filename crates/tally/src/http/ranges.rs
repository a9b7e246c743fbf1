//! The time range of a question, from its parameters and sensible defaults.
//!
//! | question | neither `start` nor `end` | only one of them |
//! |---|---|---|
//! | `count` | the total of all time | `start`: 1970, `end`: a minute from now |
//! | `stats` | the newest 60 minutes, 24 hours or 30 days, the current one included; all time for `total` | `start` so many steps before `end`; `end` after the current step |
//! | `top` | the newest hour, or `window` | as `stats` in hours |

use api::ProblemCode;
use model::bucket::{DAY_MS, HOUR_MS, MINUTE_MS, TIME_MAX, TIME_MIN};
use model::limits::FUTURE_SKEW_MS;
use model::{Granularity, TimeRange, TimestampMs};

use super::params::Params;
use super::problem::Failure;
use crate::config::units::parse_duration_ms;

/// How far a `top` looks back by default.
const TOP_WINDOW_MS: i64 = HOUR_MS;

/// The range of a count; none for the total.
pub(super) fn count_range(
    params: &Params,
    now: impl FnOnce() -> TimestampMs,
) -> Result<Option<TimeRange>, Failure> {
    match (params.time("start")?, params.time("end")?) {
        (None, None) => Ok(None),
        (start, Some(end)) => checked(start.unwrap_or(TIME_MIN), end).map(Some),
        // Events may lie a little ahead of the clock.
        (Some(start), None) => checked(start, TimestampMs(now().0 + FUTURE_SKEW_MS)).map(Some),
    }
}

/// The range of a series.
pub(super) fn series_range(
    params: &Params,
    step: Granularity,
    now: impl FnOnce() -> TimestampMs,
) -> Result<TimeRange, Failure> {
    let (step_ms, back_ms) = match step {
        Granularity::Minute => (MINUTE_MS, 60 * MINUTE_MS),
        Granularity::Hour => (HOUR_MS, 24 * HOUR_MS),
        Granularity::Day => (DAY_MS, 30 * DAY_MS),
        Granularity::Total => {
            return Ok(count_range(params, now)?.unwrap_or(TimeRange::ALL));
        }
    };
    let (start, end) = (params.time("start")?, params.time("end")?);
    let end = end.unwrap_or_else(|| TimestampMs(now().0 + 1).ceil(step_ms));
    let start = start.unwrap_or_else(|| TimestampMs(end.ceil(step_ms).0 - back_ms).max(TIME_MIN));
    checked(start, end)
}

/// The range of a `top`: a window that ends now, or a start and end.
pub(super) fn top_range(
    params: &Params,
    now: impl FnOnce() -> TimestampMs,
) -> Result<TimeRange, Failure> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    let Some(window) = params.one("window")? else {
        let end = end.unwrap_or_else(|| TimestampMs(now().0 + 1).ceil(MINUTE_MS));
        let start = start.unwrap_or_else(|| TimestampMs(end.0 - TOP_WINDOW_MS).max(TIME_MIN));
        return checked(start, end);
    };
    if start.is_some() || end.is_some() {
        return Err(Failure::parameter("give either `window` or `start` and `end`, not both"));
    }
    let window_ms = parse_duration_ms(window).map_err(|expected| {
        Failure::parameter(format!("the parameter `window` is `{window}`; {expected}"))
    })?;
    let end = TimestampMs(now().0 + 1).ceil(MINUTE_MS);
    let start = end.0.saturating_sub(i64::try_from(window_ms).unwrap_or(i64::MAX));
    checked(TimestampMs(start).max(TIME_MIN), end)
}

fn checked(start: TimestampMs, end: TimestampMs) -> Result<TimeRange, Failure> {
    if start >= end {
        let detail = format!("the range [{start}, {end}) is empty: `start` must be before `end`");
        return Err(Failure::new(ProblemCode::InvalidRange, detail));
    }
    Ok(TimeRange::covering(start, end))
}

/// Number of buckets that a range touches.
pub(super) fn points(range: TimeRange, step: Granularity) -> u64 {
    let minutes = match step {
        Granularity::Minute => 1,
        Granularity::Hour => 60,
        Granularity::Day => 24 * 60,
        Granularity::Total => return 1,
    };
    u64::from(range.end.0.div_ceil(minutes) - range.start.0 / minutes)
}

/// A range as instants. All time ends where no event can lie yet.
pub(super) fn bounds(range: TimeRange, as_of: TimestampMs) -> (TimestampMs, TimestampMs) {
    let end = match range {
        TimeRange::ALL => TimestampMs(as_of.0 + FUTURE_SKEW_MS + 1).ceil(MINUTE_MS),
        range => range.end.start(),
    };
    (range.start.start(), end.min(TIME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_time_ends_behind_every_event() {
        let (start, end) = bounds(TimeRange::ALL, NOW);
        assert_eq!(start.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(end.to_string(), "2026-11-21T10:02:00Z");
        let last = TimestampMs(TIME_MAX.0 - 1);
        let (_, end) = bounds(TimeRange::covering(last, TIME_MAX), NOW);
        assert_eq!(end.to_string(), "9999-12-30T22:00:00Z");
    }

    const NOW: TimestampMs = TimestampMs(1_795_255_200_123); // 2026-11-21T10:00:00.123Z

    fn params(query: &str) -> Params {
        Params::of(Some(query), &["start", "end", "window"]).unwrap()
    }

    fn text(range: TimeRange) -> String {
        let (start, end) = bounds(range, NOW);
        format!("{start} {end}")
    }

    #[test]
    fn defaults_cover_the_current_bucket() {
        let series = |query, step| series_range(&params(query), step, || NOW).map(text).unwrap();
        let cases = [
            ("", Granularity::Minute, "2026-11-21T09:01:00Z 2026-11-21T10:01:00Z"),
            ("", Granularity::Hour, "2026-11-20T11:00:00Z 2026-11-21T11:00:00Z"),
            ("", Granularity::Day, "2026-10-23T00:00:00Z 2026-11-22T00:00:00Z"),
            ("end=3600000", Granularity::Hour, "1970-01-01T00:00:00Z 1970-01-01T01:00:00Z"),
        ];
        for (query, step, expected) in cases {
            assert_eq!(series(query, step), expected, "{query} {step:?}");
        }
        assert_eq!(series_range(&params(""), Granularity::Total, || NOW).unwrap(), TimeRange::ALL);
        assert_eq!(count_range(&params(""), || NOW).unwrap(), None);
        let top = top_range(&params("window=15m"), || NOW).map(text).unwrap();
        assert_eq!(top, "2026-11-21T09:46:00Z 2026-11-21T10:01:00Z");
    }

    #[test]
    fn empty_ranges_and_mixtures_are_refused() {
        let code = |range: Result<TimeRange, Failure>| range.unwrap_err().code();
        let backwards = params("start=2000&end=1000");
        assert_eq!(code(top_range(&backwards, || NOW)), ProblemCode::InvalidRange);
        let mixed = params("window=1h&start=0");
        assert_eq!(code(top_range(&mixed, || NOW)), ProblemCode::InvalidParameter);
        let wild = params("window=1y2");
        assert_eq!(code(top_range(&wild, || NOW)), ProblemCode::InvalidParameter);
    }

    #[test]
    fn points_are_the_buckets_touched() {
        let range = TimeRange::covering(TimestampMs(59 * MINUTE_MS), TimestampMs(61 * MINUTE_MS));
        assert_eq!(points(range, Granularity::Minute), 2);
        assert_eq!(points(range, Granularity::Hour), 2);
        assert_eq!(points(range, Granularity::Day), 1);
    }
}
