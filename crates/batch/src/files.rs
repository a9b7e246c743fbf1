//! Which raw files there are, and whether they are all of a stretch of log.

use std::sync::Arc;

use futures::TryStreamExt;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

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
    /// Where it lies.
    pub path: Path,
}

/// The raw events of an archive, to be read only.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Archive {
    /// Over a store and the place in it where the archive begins. It blocks: call it off the
    /// threads of another runtime.
    ///
    /// # Errors
    /// Where the system gives no runtime.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { store, prefix, runtime: Arc::new(runtime) })
    }

    /// All raw files, by partition and offset.
    ///
    /// # Errors
    /// `Archive` where it cannot be listed.
    pub fn raw_files(&self) -> Result<Vec<RawFile>, Error> {
        let folder = self.prefix.clone().join("raw");
        let listed = self.store.list(Some(&folder)).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed)?;
        let mut files: Vec<_> =
            listed.into_iter().filter_map(|object| RawFile::parse(object.location)).collect();
        files.sort_unstable();
        Ok(files)
    }

    pub(crate) fn bytes(&self, path: &Path) -> Result<bytes::Bytes, Error> {
        let read = async { self.store.get(path).await?.bytes().await };
        Ok(self.runtime.block_on(read)?)
    }
}

impl RawFile {
    /// None where a path is none of ours: others may put files beside.
    fn parse(path: Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let [.., date, hour, name] = parts.as_slice() else { return None };
        let date: jiff::civil::Date = date.as_ref().strip_prefix("date=")?.parse().ok()?;
        let hour: i8 = hour.as_ref().strip_prefix("hour=")?.parse().ok()?;
        let start: DateTime = date.to_datetime(jiff::civil::Time::new(hour, 0, 0, 0).ok()?);
        let hour_ms = start.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let mut numbers = name.as_ref().strip_prefix('p')?.strip_suffix(".parquet")?.split('-');
        let file = Self {
            partition: numbers.next()?.parse().ok()?,
            from: numbers.next()?.parse().ok()?,
            to: numbers.next()?.parse().ok()?,
            hour_ms,
            path: path.clone(),
        };
        (numbers.next().is_none() && file.from < file.to).then_some(file)
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

    fn path(hour: &str, partition: u16, from: u64, to: u64) -> Path {
        let name = format!("p{partition:05}-{from:020}-{to:020}.parquet");
        Path::from(format!("some/where/raw/date=2026-11-22/{hour}/{name}"))
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
        assert_eq!(RawFile::parse(Path::from("raw/notes.txt")), None);
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
