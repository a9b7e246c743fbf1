//! Rows as they lie in tables. The bytes are those of the embedded store.
//!
//! An hour row lies twice: by item for questions about it, by time for rankings and scans. Where it has
//! several cells, `counts` has their sum in one and `minutes` all of them, for as long as minutes are kept:
//! the cluster forgets that column by itself, and nothing needs folding. Both are written in one batch of
//! one partition, which takes effect as one; should `minutes` be of another flush after all, its stamp
//! says so and it is left aside.

use model::bucket::{DAY_MS, HOUR_MS};
use model::{Checkpoint, Hour, StoredRow};

use super::schema::{PERIOD_HOURS, TOTAL_BUCKETS};
use crate::embedded::store::row::{self, Damage};

/// Beyond what is kept by the log's time, which may stand still for a while.
const SLACK_MS: i64 = DAY_MS;
/// The longest life that a cluster allows, in seconds: 20 years.
const LIFE_MAX_SECS: i64 = 20 * 365 * 86_400;

/// What is written of an hour row.
pub(super) struct HourColumns {
    pub(super) counts: Vec<u8>,
    /// The cells, and for how many seconds.
    pub(super) minutes: Option<(Vec<u8>, i32)>,
}

impl HourColumns {
    /// Of a row as a flush up to a checkpoint writes it.
    pub(super) fn of(hour: Hour, stored: &StoredRow, checkpoint: &Checkpoint) -> Self {
        let all = bytes(stored);
        if stored.cells.len() <= 1 {
            return Self { counts: all, minutes: None };
        }
        let ends_at = (i64::from(hour.0) + 1).saturating_mul(HOUR_MS);
        let kept_until =
            ends_at.saturating_add(checkpoint.retention.minute_ms()).saturating_add(SLACK_MS);
        let life_secs = kept_until.saturating_sub(checkpoint.append_time.0) / 1_000;
        if life_secs > LIFE_MAX_SECS {
            return Self { counts: all, minutes: None };
        }
        let mut folded = stored.clone();
        folded.fold();
        let minutes = i32::try_from(life_secs).ok().filter(|secs| *secs > 0);
        Self { counts: bytes(&folded), minutes: minutes.map(|secs| (all, secs)) }
    }
}

/// Reads an hour row; none where it was removed.
pub(super) fn read_hour(
    counts: Option<Vec<u8>>,
    minutes: Option<Vec<u8>>,
) -> Result<Option<StoredRow>, Damage> {
    let Some(counts) = counts else { return Ok(None) };
    let whole = row::read_row(&counts)?;
    let Some(minutes) = minutes else { return Ok(Some(whole)) };
    let cells = row::read_row(&minutes)?;
    Ok(Some(if cells.stamp == whole.stamp { cells } else { whole }))
}

/// The bytes of a row.
pub(super) fn bytes(stored: &StoredRow) -> Vec<u8> {
    let mut out = Vec::new();
    row::write_row(&mut out, stored);
    out
}

/// Where the totals of an item lie.
pub(super) fn bucket(item: &str) -> i32 {
    // The low bits choose the partition of the log, and would leave buckets empty.
    (model::route::murmur3_x86_32(item.as_bytes()) / 1_031 % TOTAL_BUCKETS) as i32
}

/// In which Cassandra partition of an item and type an hour lies.
pub(super) fn period(hour: u32) -> i64 {
    i64::from(hour / PERIOD_HOURS)
}

#[cfg(test)]
mod tests {
    use model::{Cell, Offset, Retention, Stamp, Summary, TimestampMs};

    use super::*;

    fn stored(next: u64, slots: &[u8]) -> StoredRow {
        let cell =
            |slot: &u8| Cell { slot: *slot, summary: Summary { count: 2, ..Summary::EMPTY } };
        let (base_offset, next_offset) = (Offset(0), Offset(next));
        let stamp = Stamp { log_epoch: 1, base_offset, next_offset };
        StoredRow { stamp, cells: slots.iter().map(cell).collect(), newest_hour: None }
    }

    fn columns(row: &StoredRow, kept_ms: i64, passed_ms: i64) -> HourColumns {
        let append_time = TimestampMs(11 * HOUR_MS + passed_ms);
        let retention = Retention::new(kept_ms, i64::MAX).unwrap();
        let checkpoint = Checkpoint { append_time, retention, ..Checkpoint::default() };
        HourColumns::of(Hour(10), row, &checkpoint)
    }

    #[test]
    fn minutes_live_as_long_as_they_are_kept() {
        let row = stored(9, &[3, 7]);
        let lives = |kept, passed| columns(&row, kept, passed).minutes.map(|minutes| minutes.1);
        assert_eq!(lives(7 * DAY_MS, 0), Some(8 * 86_400));
        assert_eq!(lives(7 * DAY_MS, 2 * DAY_MS), Some(6 * 86_400));
        assert_eq!(lives(7 * DAY_MS, 8 * DAY_MS), None);
        assert_eq!(lives(7 * DAY_MS, 80 * DAY_MS), None);
        let forever = columns(&row, i64::MAX, 0);
        assert!(forever.minutes.is_none());
        assert_eq!(read_hour(Some(forever.counts), None), Ok(Some(row)));
        let short = columns(&stored(9, &[3]), DAY_MS, 0);
        assert!(short.minutes.is_none(), "one cell takes no less folded");
        assert_eq!(read_hour(Some(short.counts), None), Ok(Some(stored(9, &[3]))));
    }

    #[test]
    fn minutes_of_another_flush_are_left_aside() {
        let HourColumns { counts, minutes } = columns(&stored(9, &[3, 7]), DAY_MS, 0);
        let folded = read_hour(Some(counts.clone()), None).unwrap().unwrap();
        assert_eq!((folded.cells.len(), folded.summary().count), (1, 4));
        let with = |minutes| read_hour(Some(counts.clone()), Some(minutes)).unwrap().unwrap();
        assert_eq!(with(minutes.unwrap().0), stored(9, &[3, 7]));
        assert_eq!(with(bytes(&stored(8, &[3, 7]))), folded);
        assert_eq!(read_hour(None, Some(vec![1])), Ok(None));
        assert!(read_hour(Some(vec![0xff]), None).is_err());
    }
}
