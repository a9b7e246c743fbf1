use std::collections::BTreeMap;

use engine::ports::{RawEvent, RawHead};
use model::record::RecordId;
use model::{Offset, PartitionId, TimestampMs, Value};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::*;

const HOUR: Hour = Hour(500_000);

fn file(from: u64, to: u64) -> RawFile {
    RawFile { partition: PartitionId(3), from: Offset(from), to: Offset(to), hour: HOUR }
}

fn archive() -> RawFiles {
    RawFiles::new(Objects::in_memory(), "me", 0)
}

fn event(offset: u64, id: &str) -> RawEvent<'_> {
    RawEvent {
        offset: Offset(offset),
        append_time: HOUR.start(),
        id: RecordId::Text(id),
        item: "a/ü",
        event_type: "view",
        time: TimestampMs(1_795_255_200_123),
        value: None,
        attributes: None,
        source: None,
    }
}

fn head() -> RawHead {
    RawHead { window_minutes: 10, next_window_minutes: 10, ..RawHead::default() }
}

type Row = Vec<(String, Field)>;

/// All events of a file, as Parquet's own reader sees them, and its metadata.
fn read(archive: &RawFiles, file: RawFile) -> (Vec<Row>, BTreeMap<String, String>) {
    let bytes = archive.objects.get(&name::object(file)).unwrap().unwrap();
    let reader = SerializedFileReader::new(bytes).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().iter();
    let pairs = pairs.filter(|pair| pair.key.starts_with("tally."));
    let pairs = pairs.map(|pair| (pair.key.clone(), pair.value.clone().unwrap())).collect();
    let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns());
    (rows.collect(), pairs)
}

#[test]
fn every_field_is_there_as_it_was() {
    let archive = archive();
    let events = [
        event(7, "one"),
        RawEvent {
            value: Some(Value::from_micros(-12_500_001).unwrap()),
            attributes: Some(r#"{"country":"DE"}"#),
            source: Some(("sensor", i64::MIN)),
            ..event(9, "two")
        },
        RawEvent { value: Some(Value::parse("9199999999999.999999").unwrap()), ..event(10, "3") },
    ];
    let head = RawHead {
        window_minutes: 10,
        next_window_minutes: 20,
        controls: vec![
            (Offset(8), TimestampMs(5), vec![1, 20, 0, 0, 0]),
            (Offset(12), TimestampMs(6), vec![0xff]),
        ],
        dead_letters: vec![Offset(11), Offset(13)],
    };
    let file = file(7, 14);
    archive
        .write_raw(file, &|| (), &mut |sink| {
            events.iter().try_for_each(|event| sink(*event))?;
            Ok(head.clone())
        })
        .unwrap();

    let (rows, pairs) = read(&archive, file);
    let names: Vec<_> = rows[0].iter().map(|(name, _)| name.as_str()).collect();
    let columns = "partition offset append_time id item type time value attributes source sequence";
    assert_eq!(names.join(" "), columns);
    let text =
        |row: &Row| row.iter().map(|(_, field)| field.to_string()).collect::<Vec<_>>().join(" ");
    let time = "2026-11-21 10:00:00.123 +00:00";
    let hour = "2027-01-15 08:00:00.000 +00:00";
    assert_eq!(
        text(&rows[0]),
        format!("3 7 {hour} \"one\" \"a/ü\" \"view\" {time} null null null null")
    );
    let second = format!("3 9 {hour} \"two\" \"a/ü\" \"view\" {time} -12.500001");
    let second = format!("{second} \"{{\"country\":\"DE\"}}\" \"sensor\" {}", i64::MIN);
    assert_eq!(text(&rows[1]), second);
    assert_eq!(rows[2][7].1.to_string(), "9199999999999.999999");
    assert_eq!(rows.len(), 3);

    let pair = |key: &str| pairs[key].as_str();
    assert_eq!(pair("tally.format"), "1");
    assert_eq!(pair("tally.partition"), "3");
    assert_eq!((pair("tally.from"), pair("tally.to")), ("7", "14"));
    assert_eq!(pair("tally.window_minutes"), "10");
    let controls = r#"[{"offset":8,"append_time":5,"hex":"0114000000"},{"offset":12,"append_time":6,"hex":"ff"}]"#;
    assert_eq!(pair("tally.controls"), controls);
    assert_eq!(pair("tally.dead_letters"), "[11,13]");
    assert_eq!(archive.next_window_minutes(file).unwrap(), 20);
}

#[test]
fn the_same_events_give_the_same_bytes_in_several_row_groups() {
    let archive = archive();
    let count = 300_000;
    let file = file(0, count);
    let pauses = std::cell::Cell::new(0);
    let write = || {
        let pause = || pauses.set(pauses.get() + 1);
        archive.write_raw(file, &pause, &mut |sink| {
            for offset in 0..count {
                let id = format!("id-{offset}");
                let attributes = format!(r#"{{"n":"{offset}"}}"#);
                let value =
                    Value::from_micros(offset as i64).ok().filter(|_| offset.is_multiple_of(3));
                let attributes = offset.is_multiple_of(2).then_some(attributes.as_str());
                sink(RawEvent { value, attributes, ..event(offset, &id) })?;
            }
            Ok(head())
        })
    };
    write().unwrap();
    // Eleven columns, about a thousand rows at a time.
    assert!(pauses.get() >= 11 * count / 1_024, "{}", pauses.get());
    let first = archive.objects.get(&name::object(file)).unwrap().unwrap();
    write().unwrap();
    assert!(archive.objects.get(&name::object(file)).unwrap().unwrap() == first);

    let reader = SerializedFileReader::new(first).unwrap();
    assert_eq!(reader.num_row_groups(), 3);
    let (rows, _) = read(&archive, file);
    assert_eq!(rows.len() as u64, count);
    for (offset, row) in rows.iter().enumerate() {
        assert_eq!(row[1].1, Field::Long(offset as i64));
        assert_eq!(row[3].1, Field::Str(format!("id-{offset}")));
        assert_eq!(row[7].1 == Field::Null, offset % 3 != 0);
        let attributes = match offset % 2 {
            0 => Field::Str(format!(r#"{{"n":"{offset}"}}"#)),
            _ => Field::Null,
        };
        assert_eq!(row[8].1, attributes);
    }
}

#[test]
fn nothing_is_there_unless_all_is() {
    let archive = archive();
    let failing: [&mut RawFill<'_>; 3] = [
        &mut |sink| {
            sink(event(0, "id"))?;
            Err(PortError::new(ErrorKind::Unavailable, "the log has gone"))
        },
        &mut |_| Ok(head()),
        &mut |sink| {
            (0..3).try_for_each(|offset| sink(event(offset, "id")))?;
            Ok(head())
        },
    ];
    for fill in failing {
        assert!(archive.write_raw(file(0, 2), &|| (), fill).is_err());
        assert_eq!(archive.objects.list("raw").unwrap(), []);
    }
}

#[test]
fn files_are_listed_by_hour_and_removed() {
    let archive = archive();
    let day = HOUR.0 / 24 * 24;
    let files: Vec<_> = [day, day + 1, day + 23, day + 24, day + 48]
        .into_iter()
        .zip(1..)
        .map(|(hour, at)| RawFile { hour: Hour(hour), ..file(at, at + 1) })
        .collect();
    for file in &files {
        let mut fill = |sink: &mut engine::ports::RawSink<'_>| {
            sink(event(file.from.0, "id"))?;
            Ok(head())
        };
        archive.write_raw(*file, &|| (), &mut fill).unwrap();
    }
    for other in ["raw/readme", "raw/date=x/hour=00/p0", "raw/date=2026-01-01/x/p"] {
        archive.objects.put(other, "not ours").unwrap();
    }
    let list = |hours: Range<u32>| {
        let mut found = Vec::new();
        let mut visit = |file| {
            found.push(file);
            Ok(())
        };
        archive.list_raw(Hour(hours.start)..Hour(hours.end), &mut visit).unwrap();
        found
    };
    assert_eq!(list(0..u32::MAX), files);
    assert_eq!(list(day..day + 23), files[..2]);
    assert_eq!(list(day + 1..day + 24), files[1..3]);
    assert_eq!(list(day + 24..u32::MAX), files[3..]);
    archive.remove_raw(files[1]).unwrap();
    archive.remove_raw(files[1]).unwrap();
    assert_eq!(list(day..day + 24), [files[0], files[2]]);
}

#[test]
fn an_archive_has_one_owner() {
    let objects = Objects::in_memory();
    let one = RawFiles::new(objects.clone(), "one", 0);
    one.claim().unwrap();
    one.claim().unwrap();
    RawFiles::new(objects.clone(), "one", 0).claim().unwrap();
    let other = RawFiles::new(objects.clone(), "other", 0);
    for error in [
        other.claim().unwrap_err(),
        other.write_raw(file(0, 1), &|| (), &mut |_| Ok(head())).unwrap_err(),
        other.remove_raw(file(0, 1)).unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Conflict);
        let said = error.to_string();
        assert!(said.contains("`one`") && said.contains("`other`"), "{said}");
    }
}

#[test]
fn a_full_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::open(&dir.path().into()).unwrap();
    let archive = RawFiles::new(objects, "me", u64::MAX);
    let error = archive.write_raw(file(0, 1), &|| (), &mut |_| unreachable!()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.to_string().contains("make room"), "{error}");
}

#[test]
fn damaged_files_are_corrupt_and_nothing_worse() {
    let archive = archive();
    let file = file(0, 1);
    let fill = |sink: &mut engine::ports::RawSink<'_>| {
        sink(event(0, "id"))?;
        Ok(head())
    };
    archive.write_raw(file, &|| (), &mut { fill }).unwrap();
    let name = name::object(file);
    let whole = archive.objects.get(&name).unwrap().unwrap();
    for kept in [0, 4, 8, 100] {
        archive.objects.put(&name, whole.slice(..kept)).unwrap();
        assert_eq!(archive.next_window_minutes(file).unwrap_err().kind, ErrorKind::Corrupt);
    }
    let mut wild = whole.to_vec();
    let at = wild.len() - 8;
    wild[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    archive.objects.put(&name, wild).unwrap();
    assert_eq!(archive.next_window_minutes(file).unwrap_err().kind, ErrorKind::Corrupt);
    // Any byte of the metadata may be wrong: an answer or an error, but no panic.
    for at in whole.len() - 600..whole.len() {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x41;
        archive.objects.put(&name, flipped).unwrap();
        let _ = archive.next_window_minutes(file);
    }
}
