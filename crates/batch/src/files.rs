//! Which raw files there are, and whether they are all of a stretch of log.

use bytes::Bytes;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::error::Error;

const HOUR_MS: i64 = 3_600_000;

/// A raw file, by its name: what was appended to a partition in `[from, to)`, within one hour of
/// append time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawFile {
    /// Which partition.
    pub partition: u16,
    /// The first offset.
    pub from: u64,
    /// The first offset that is not in it.
    pub to: u64,
    /// Start of the hour of append time, in milliseconds since 1970.
    pub hour_ms: i64,
    /// The object's name.
    pub name: String,
}

/// An archive, to be read only.
pub trait Archive: Send + Sync {
    /// The names of all objects below `raw/`, in any order.
    ///
    /// # Errors
    /// `Archive` where it cannot be listed.
    fn raw_names(&self) -> Result<Vec<String>, Error>;

    /// An object's bytes.
    ///
    /// # Errors
    /// `Archive` where it cannot be read.
    fn bytes(&self, name: &str) -> Result<Bytes, Error>;
}

/// All raw files of an archive, by partition and offset.
///
/// # Errors
/// `Archive` where it cannot be listed.
pub fn raw_files(archive: &dyn Archive) -> Result<Vec<RawFile>, Error> {
    let mut files: Vec<_> = archive.raw_names()?.into_iter().filter_map(RawFile::parse).collect();
    files.sort_unstable();
    Ok(files)
}

impl RawFile {
    /// None where a path is none of ours: others may put files beside.
    fn parse(path: String) -> Option<Self> {
        let mut parts = path.rsplit('/');
        let (name, hour, date) = (parts.next()?, parts.next()?, parts.next()?);
        let date: jiff::civil::Date = date.strip_prefix("date=")?.parse().ok()?;
        let hour: i8 = hour.strip_prefix("hour=")?.parse().ok()?;
        let start: DateTime = date.to_datetime(jiff::civil::Time::new(hour, 0, 0, 0).ok()?);
        let hour_ms = start.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let mut numbers = name.strip_prefix('p')?.strip_suffix(".parquet")?.split('-');
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let (partition, from, to) = (u16::try_from(number()?).ok()?, number()?, number()?);
        if numbers.next().is_some() || from >= to {
            return None;
        }
        Some(Self { partition, from, to, hour_ms, name: path })
    }
}

/// The files of a partition that hold everything appended from `needed_ms` on: gapless, up to the
/// end of what is archived. Its end is where the log has to go on.
///
/// # Errors
/// `Gap` where offsets are missing, `TooOld` where the oldest files do not reach back so far.
pub(crate) fn plan(
    files: &[RawFile],
    partition: u16,
    needed_ms: i64,
) -> Result<Vec<RawFile>, Error> {
    let mine: Vec<_> = files.iter().filter(|file| file.partition == partition).collect();
    let Some(oldest) = mine.first() else { return Ok(Vec::new()) };
    // A file of a later hour says that all before it was appended earlier, or that it is not kept.
    if oldest.from > 0 && oldest.hour_ms + HOUR_MS > needed_ms {
        return Err(Error::TooOld { partition, kept_ms: oldest.hour_ms, needed_ms });
    }
    let chosen: Vec<RawFile> =
        mine.into_iter().filter(|file| file.hour_ms + HOUR_MS > needed_ms).cloned().collect();
    for pair in chosen.windows(2) {
        if pair[0].to != pair[1].from {
            return Err(Error::Gap { partition, from: pair[0].to, to: pair[1].from });
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(hour: &str, partition: u16, from: u64, to: u64) -> String {
        let name = format!("p{partition:05}-{from:020}-{to:020}.parquet");
        format!("some/where/raw/date=2026-11-22/{hour}/{name}")
    }

    fn file(hour: u8, partition: u16, from: u64, to: u64) -> RawFile {
        RawFile::parse(path(&format!("hour={hour:02}"), partition, from, to)).unwrap()
    }

    #[test]
    fn names_are_read() {
        let read = file(5, 3, 1_234, 5_678);
        assert_eq!((read.partition, read.from, read.to), (3, 1_234, 5_678));
        assert_eq!(read.hour_ms, 1_795_323_600_000);
        for wrong in [path("hour=24", 0, 0, 1), path("5", 0, 0, 1), path("hour=05", 0, 1, 1)] {
            assert_eq!(RawFile::parse(wrong), None);
        }
        assert_eq!(RawFile::parse("raw/notes.txt".into()), None);
    }

    #[test]
    fn a_plan_is_gapless_and_reaches_back_far_enough() {
        let hour = |n: u8| file(n, 0, 0, 1).hour_ms;
        let files = [file(1, 0, 0, 10), file(1, 1, 0, 7), file(2, 0, 10, 20), file(4, 0, 20, 30)];
        let offsets = |needed| {
            let plan = plan(&files, 0, needed)?;
            Ok::<_, Error>(plan.iter().map(|file| file.from).collect::<Vec<_>>())
        };
        assert_eq!(offsets(0).unwrap(), [0, 10, 20]);
        assert_eq!(offsets(hour(2)).unwrap(), [10, 20]);
        assert_eq!(offsets(hour(3)).unwrap(), [20]);
        // Whatever was appended later is still in the log.
        assert_eq!(offsets(hour(9)).unwrap(), [0; 0]);
        let gap = [file(1, 0, 0, 10), file(2, 0, 11, 20)];
        assert!(matches!(plan(&gap, 0, 0), Err(Error::Gap { from: 10, to: 11, .. })));
        let purged = [file(2, 0, 10, 20), file(3, 0, 20, 30)];
        assert!(matches!(plan(&purged, 0, hour(2)), Err(Error::TooOld { .. })));
        assert_eq!(plan(&purged, 0, hour(3)).unwrap().len(), 1);
        assert_eq!(plan(&purged, 1, 0).unwrap(), []);
    }
}
