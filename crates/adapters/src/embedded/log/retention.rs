//! Which segments may go: the oldest, whole, below what is still needed, and past an age or a size.

use model::{Offset, TimestampMs};

/// What retention asks of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The first offset after it.
    pub(super) next_offset: Offset,
    /// The newest append time in it.
    pub(super) append_time: TimestampMs,
    /// Size of its file.
    pub(super) bytes: u64,
}

/// How much of a partition is kept; a segment goes when either bound is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    /// Age of a segment's newest record, in milliseconds.
    pub(super) age_ms: Option<i64>,
    /// Size of what stays, the active segment included.
    pub(super) bytes: Option<u64>,
}

impl Retention {
    /// How many of the sealed segments, from the oldest on, may go. `now` is none while the clock
    /// cannot be believed: nothing is too old then.
    pub(super) fn removable(
        &self,
        sealed: &[Sealed],
        active_bytes: u64,
        before: Offset,
        now: Option<TimestampMs>,
    ) -> usize {
        let mut kept = active_bytes + sealed.iter().map(|segment| segment.bytes).sum::<u64>();
        let goes = |segment: &&Sealed| {
            let too_old = match (now, self.age_ms) {
                (Some(now), Some(age_ms)) => now.0 - segment.append_time.0 > age_ms,
                _ => false,
            };
            let too_much = self.bytes.is_some_and(|bytes| kept - segment.bytes >= bytes);
            kept -= segment.bytes;
            segment.next_offset <= before && (too_old || too_much)
        };
        sealed.iter().take_while(goes).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_past_age_or_size_but_never_what_is_needed() {
        let sealed: Vec<Sealed> = (1..=4u64)
            .map(|n| Sealed {
                next_offset: Offset(n * 10),
                append_time: TimestampMs(n as i64 * 1_000),
                bytes: 100,
            })
            .collect();
        // Age, bytes, before, now, and how many go of four and an active one.
        let cases = [
            (None, None, 99, Some(9_000), 0),
            (Some(5_000), None, 99, Some(7_500), 2),
            (Some(5_000), None, 15, Some(7_500), 1),
            (Some(5_000), None, 99, None, 0),
            (Some(5_000), None, 10, Some(99_000), 1),
            (Some(5_000), None, 9, Some(99_000), 0),
            (None, Some(500), 99, None, 0),
            (None, Some(400), 99, None, 1),
            (None, Some(350), 99, None, 1),
            (None, Some(1), 99, None, 4),
            (None, Some(1), 29, None, 2),
            (Some(5_000), Some(300), 99, Some(6_500), 2),
        ];
        for (age_ms, bytes, before, now, expected) in cases {
            let retention = Retention { age_ms, bytes };
            let now = now.map(TimestampMs);
            let removable = retention.removable(&sealed, 100, Offset(before), now);
            assert_eq!(removable, expected, "{retention:?} before {before} at {now:?}");
        }
    }
}
