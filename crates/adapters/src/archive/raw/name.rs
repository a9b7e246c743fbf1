//! Names of raw files: a table of Hive, partitioned by the hour of append time.
//!
//! ```text
//! raw/date=2026-11-22/hour=05/p3-00000000000001048576-00000000000002097152.parquet
//!                               partition, first offset, first offset that is not in it
//! ```

use engine::ports::RawFile;
use model::{Hour, Offset, PartitionId, TimestampMs};

/// The folder of all raw files.
pub(super) const FOLDER: &str = "raw";

/// The name of a file's object.
pub(super) fn object(file: RawFile) -> String {
    let RawFile { partition, from, to, hour } = file;
    let (date, hour) = folders(hour);
    format!("{FOLDER}/{date}/{hour}/p{partition}-{:020}-{:020}.parquet", from.0, to.0)
}

/// The folder of an hour's date, and that of the hour in it.
pub(super) fn folders(hour: Hour) -> (String, String) {
    let start = hour.start().to_string();
    (format!("date={}", &start[..10]), format!("hour={}", &start[11..13]))
}

/// The hour that a date's folder and an hour's folder in it stand for; none for other folders.
pub(super) fn hour(date: &str, hour: &str) -> Option<Hour> {
    let day = date.strip_prefix("date=")?;
    let of_day = hour.strip_prefix("hour=")?;
    let start = TimestampMs::parse_rfc3339(&format!("{day}T{of_day}:00:00Z")).ok()?;
    let found = start.minute().hour();
    // Only what this would be written as.
    (folders(found) == (date.to_owned(), hour.to_owned())).then_some(found)
}

/// The file that an object in an hour's folder is; none for what is no raw file.
pub(super) fn file(name: &str, hour: Hour) -> Option<RawFile> {
    let stem = name.rsplit('/').next()?.strip_prefix('p')?.strip_suffix(".parquet")?;
    let (partition, offsets) = stem.split_once('-')?;
    let (from, to) = offsets.split_once('-')?;
    let file = RawFile {
        partition: PartitionId(partition.parse().ok()?),
        from: Offset(from.parse().ok()?),
        to: Offset(to.parse().ok()?),
        hour,
    };
    (file.from < file.to && object(file) == name).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_and_read() {
        let hour_of = |text: &str| TimestampMs::parse(text).unwrap().minute().hour();
        let hour_start = hour_of("2026-11-22T05:59:59Z");
        let known = RawFile {
            partition: PartitionId(3),
            from: Offset(1 << 20),
            to: Offset(2 << 20),
            hour: hour_start,
        };
        let name =
            "raw/date=2026-11-22/hour=05/p3-00000000000001048576-00000000000002097152.parquet";
        assert_eq!(object(known), name);
        assert_eq!(hour("date=2026-11-22", "hour=05"), Some(hour_start));
        assert_eq!(file(name, hour_start), Some(known));
        assert_eq!(file(name, hour_of("2026-11-22T06:00:00Z")), None);
    }

    #[test]
    fn what_is_no_raw_file_is_none() {
        for (date, of_day) in [
            ("date=2026-11-22", "hour=5"),
            ("date=2026-11-22", "hour=24"),
            ("date=2026-11-22", "05"),
            ("date=2026-13-01", "hour=05"),
            ("date=26-11-22", "hour=05"),
            ("_temporary", "hour=05"),
        ] {
            assert_eq!(hour(date, of_day), None, "{date}/{of_day}");
        }
        let any = Hour(0);
        for name in [
            "p3-1-2.parquet",
            "p3-00000000000000000001-00000000000000000002.parquet.tmp",
            "p3-00000000000000000002-00000000000000000002.parquet",
            "p70000-00000000000000000001-00000000000000000002.parquet",
            "p03-00000000000000000001-00000000000000000002.parquet",
            "_SUCCESS",
        ] {
            assert_eq!(file(&format!("raw/date=1970-01-01/hour=00/{name}"), any), None, "{name}");
        }
    }
}
