//! What a request holds beside its events: query parameters and compressed bodies.

use api::ProblemCode;
use model::limits::BODY_BYTES_MAX;
use model::{Granularity, TimeRange, TimestampMs};

use super::body::{self, Encoding};
use super::params::Params;
use super::ranges;

const NOW: TimestampMs = TimestampMs(1_795_255_200_123);

/// A query string, read as every path that has a time range does.
pub fn query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(params) = Params::read(Some(text), |_| true, || "all".to_owned()) else { return };
    assert!(
        params.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= text.len()
    );
    let _ = params.event_type();
    if let Ok(Some(number)) = params.number("limit", 1..=1_000) {
        assert!((1..=1_000).contains(&number));
    }
    let now = || NOW;
    let mut found = vec![
        (Granularity::Minute, ranges::top_range(&params, now)),
        (
            Granularity::Total,
            ranges::count_range(&params, now).map(|range| range.unwrap_or(TimeRange::ALL)),
        ),
    ];
    for step in [Granularity::Minute, Granularity::Hour, Granularity::Day, Granularity::Total] {
        found.push((step, ranges::series_range(&params, step, now)));
    }
    for (step, range) in found {
        let Ok(range) = range else { continue };
        assert!(range.start < range.end, "no range is empty");
        assert!(ranges::points(range, step) > 0);
        let (start, end) = ranges::bounds(range, NOW);
        assert!(start < end);
        assert!(!range.hours().is_empty());
    }
}

/// A compressed body: the first byte says how.
pub fn encoded(input: &[u8]) {
    // A few bytes make as many as a body may have; more would only take time.
    let Some((choice, bytes)) = input.split_first().filter(|_| input.len() <= 768) else { return };
    let encoding = if choice & 1 == 0 { Encoding::Gzip } else { Encoding::Zstd };
    match body::decode(bytes, encoding) {
        Ok(plain) => {
            assert!(plain.len() <= BODY_BYTES_MAX);
            if plain.len() <= 64 << 10 {
                let again = zstd::bulk::compress(&plain, 1).expect("memory");
                let read = body::decode(&again, Encoding::Zstd).map_err(|failure| failure.code());
                assert_eq!(read.as_deref(), Ok(&plain[..]));
            }
        }
        Err(failure) => assert!(matches!(
            failure.code(),
            ProblemCode::UnreadableBody | ProblemCode::BodyTooLarge
        )),
    }
}
