use engine::ports::ColdRow;
use proptest::prelude::*;

use super::*;

type Key = (String, String, u32);
type Model = std::collections::BTreeMap<Key, Summary>;

fn summary(count: u64, values: &[i64]) -> Summary {
    let mut summary = Summary { count, ..Summary::EMPTY };
    for value in values {
        let value = model::Value::from_micros(*value).expect("a value");
        summary.add(&Summary { count: 0, ..Summary::of(Some(value)) });
    }
    summary
}

fn write(cold: &ColdFiles, day: u32, model: &Model) {
    let of_day = model.iter().filter(|((_, _, d), _)| *d == day);
    let mut rows = of_day.map(|((event_type, item, _), summary)| {
        Ok(ColdRow { event_type: event_type.clone(), item: item.clone(), summary: *summary })
    });
    cold.write(Day(day), &mut rows).expect("a day");
}

/// Every item and type over a range, and every type's items, are those of the model.
fn check(cold: &ColdFiles, model: &Model, days: Range<u32>) {
    let types = ["view", "like", "none"];
    for event_type in types {
        let mut by_item: std::collections::BTreeMap<String, Summary> = Default::default();
        let mut add = |item: &str, summary: &Summary| {
            by_item.entry(item.to_owned()).or_default().add(summary);
        };
        cold.scan_type(event_type, days.clone(), &mut add).expect("a scan");
        let mut expected: std::collections::BTreeMap<String, Summary> = Default::default();
        for ((t, item, day), summary) in model {
            if t == event_type && days.contains(day) {
                expected.entry(item.clone()).or_default().add(summary);
            }
        }
        assert_eq!(by_item, expected, "{event_type} {days:?}");
        let names: std::collections::BTreeSet<&str> =
            model.keys().map(|(_, item, _)| item.as_str()).chain(["", "no", "zzzz"]).collect();
        for item in names.into_iter().step_by(1 + model.len() / 200) {
            let mut found = Model::new();
            let mut add = |day: Day, summary: &Summary| {
                let key = (event_type.to_owned(), item.to_owned(), day.0);
                assert_eq!(found.insert(key, *summary), None, "a day comes once");
            };
            cold.scan_item(item, event_type, days.clone(), &mut add).expect("a scan");
            let key = |day| (event_type.to_owned(), item.to_owned(), day);
            let of_item = model.range(key(days.start)..key(days.end));
            let expected: Model = of_item.map(|(key, summary)| (key.clone(), *summary)).collect();
            assert_eq!(found, expected, "{item} {event_type} {days:?}");
        }
    }
}

fn cold(folder: &std::path::Path) -> ColdFiles {
    let place = super::super::place::Place::Folder(folder.to_owned());
    ColdFiles::new(Objects::open(&place).expect("a folder"), "owner", 0)
}

/// 2026-04-29: the days around it lie in two months.
const FIRST: u32 = 20_572;

#[test]
fn days_come_back_and_are_merged_into_months_and_years() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut model = Model::new();
    let last = FIRST + 300;
    for day in FIRST..last {
        for n in 0..3 {
            let values =
                [i64::from(day) - 20_600, -9_100_000_000_000_000_000, 9_100_000_000_000_000_000];
            let values = &values[..(n as usize + day as usize) % 4];
            let key = ("view".to_owned(), format!("item-{}", (day + n) % 7), day);
            model.insert(key, summary(u64::from(n) + 1 + values.len() as u64, values));
        }
    }
    model.insert(("like".into(), "日本".into(), FIRST + 1), summary(u64::MAX >> 1, &[]));
    let files = cold(scratch.path());
    assert_eq!(files.until().expect("a day"), Day(0));
    for day in FIRST..last {
        write(&files, day, &model);
    }
    // As after a crash before it was sealed.
    write(&files, last - 1, &model);
    files.seal(Day(last + 2)).expect("sealed");
    let ranges =
        [0..u32::MAX, FIRST + 1..FIRST + 2, FIRST + 1..FIRST + 40, 0..FIRST, last..last + 9];
    ranges.iter().for_each(|range| check(&files, &model, range.clone()));
    let count = |files: &ColdFiles| files.manifest().expect("it is there").files.len();
    assert_eq!(count(&files), 300);
    let mut turns = 0;
    while files.merge(Day(last)).expect("merged") {
        turns += 1;
        if turns == 3 {
            // A question that began before goes on with the files that it found.
            check(&files, &model, FIRST..last);
        }
    }
    // April to December 2026 became months and then a year; January is over, February is not.
    let names: Vec<_> =
        files.manifest().expect("it is there").files.iter().map(|e| e.name.clone()).collect();
    assert_eq!(names[..2], ["year-2026", "month-2027-01"], "{names:?}");
    assert!(names[2..].iter().all(|name| name.starts_with("day-2027-02-")), "{names:?}");
    ranges.iter().for_each(|range| check(&files, &model, range.clone()));
    let stored = || files.objects.list("counters").expect("a list").len();
    assert!(stored() > names.len() + 1, "merged files stay for a turn");
    assert!(!files.merge(Day(last)).expect("nothing is left to do"));
    assert_eq!(stored(), names.len() + 1, "merged files have gone");
    // Another process finds it all.
    let again = cold(scratch.path());
    assert_eq!(again.until().expect("a day"), Day(last + 2));
    ranges.iter().for_each(|range| check(&again, &model, range.clone()));
}

/// More rows than a row group, and items over several pages.
#[test]
fn large_files_are_searched_by_their_index() {
    let scratch = tempfile::tempdir().expect("a folder");
    let files = cold(scratch.path());
    let mut model = Model::new();
    for day in FIRST..FIRST + 2 {
        for n in 0..40_000u64 {
            let event_type = if n % 3 == 0 { "like" } else { "view" };
            let key = (event_type.to_owned(), format!("item-{n:06}"), day);
            model.insert(key, summary(n + 1, if n % 5 == 0 { &[7] } else { &[] }));
        }
        write(&files, day, &model);
    }
    files.seal(Day(FIRST + 2)).expect("sealed");
    check(&files, &model, FIRST..FIRST + 2);
    while files.merge(Day(FIRST + 400)).expect("merged") {}
    let entries = files.manifest().expect("it is there").files.clone();
    assert_eq!(entries.len(), 1);
    check(&files, &model, FIRST..FIRST + 2);
    check(&files, &model, FIRST + 1..FIRST + 2);
}

#[test]
fn damage_and_other_archives_are_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let files = cold(scratch.path());
    let model: Model = [(("view".into(), "a".into(), FIRST), summary(1, &[]))].into();
    write(&files, FIRST, &model);
    files.seal(Day(FIRST + 1)).expect("sealed");
    let other = ColdFiles::new(files.objects.clone(), "another", 0);
    assert_eq!(other.seal(Day(FIRST + 2)).unwrap_err().kind, ErrorKind::Conflict);
    let name = files.manifest().expect("it is there").files[0].object();
    let whole = files.objects.get(&name).expect("read").expect("it is there");
    let scan = || cold(scratch.path()).scan_item("a", "view", 0..u32::MAX, &mut |_, _| {});
    scan().expect("it is sound");
    files.objects.put(&name, whole.slice(..whole.len() - 9)).expect("put");
    assert!(scan().is_err());
    let mut flipped = whole.to_vec();
    flipped[whole.len() - 1] ^= 1;
    files.objects.put(&name, flipped).expect("put");
    assert_eq!(scan().unwrap_err().kind, ErrorKind::Corrupt);
    files.objects.put(manifest::NAME, &b"tally counters 1\nuntil"[..]).expect("put");
    assert_eq!(scan().unwrap_err().kind, ErrorKind::Corrupt);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_days_in_any_order_are_those_of_the_model(
        rows in prop::collection::btree_map(
            ("view|like", "[a-c]{1,2}", FIRST..FIRST + 40),
            (1u64..9, prop::collection::vec(-9i64..9, 0..3)),
            0..60,
        ),
        before in FIRST..FIRST + 80,
        (start, len) in (FIRST - 2..FIRST + 42, 0u32..45),
    ) {
        let scratch = tempfile::tempdir().expect("a folder");
        let files = cold(scratch.path());
        let model: Model = rows
            .into_iter()
            .map(|(key, (more, values))| (key, summary(values.len() as u64 + more, &values)))
            .collect();
        let days: std::collections::BTreeSet<u32> = model.keys().map(|(_, _, day)| *day).collect();
        days.iter().for_each(|day| write(&files, *day, &model));
        check(&files, &model, start..start + len);
        while files.merge(Day(before)).expect("merged") {}
        check(&files, &model, start..start + len);
    }
}

/// Writers of one archive that do not know of each other.
fn sharing(folder: &std::path::Path, process: u64) -> ColdFiles {
    let place = super::super::place::Place::Folder(folder.to_owned());
    ColdFiles::sharing(Objects::open(&place).expect("a folder"), "kafka c topic", 0, process)
}

fn day_of(day: u32, count: u64) -> Model {
    Model::from([(("view".to_owned(), "item-1".to_owned(), day), summary(count, &[7]))])
}

fn conflicts<T>(result: Result<T, PortError>) -> bool {
    result.err().is_some_and(|error| error.kind == ErrorKind::Conflict)
}

#[test]
fn who_wakes_up_late_replaces_nothing_in_a_shared_archive() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (late, next) = (sharing(scratch.path(), 1), sharing(scratch.path(), 2));
    let place = super::super::place::Place::Folder(scratch.path().to_owned());
    let reader = ColdFiles::reading(Objects::open(&place).expect("a folder"));
    let (first, second) = (day_of(FIRST, 3), day_of(FIRST + 1, 5));
    assert!(late.refresh().expect("it is shared") && next.refresh().expect("it is shared"));
    // The next one does the day, and the one that stood still then has a part of it.
    write(&next, FIRST, &first);
    next.seal(Day(FIRST + 1)).expect("sealed");
    let part =
        ColdRow { event_type: "view".into(), item: "item-1".into(), summary: summary(1, &[]) };
    let mut rows = std::iter::once(Ok(part));
    assert!(conflicts(late.write(Day(FIRST), &mut rows)));
    check(&next, &first, FIRST..FIRST + 2);
    assert_eq!(reader.until().expect("a day"), Day(FIRST + 1));
    check(&reader, &first, FIRST..FIRST + 2);
    // It hears of it, takes its turn, and the other is the late one.
    late.refresh().expect("it is there");
    assert_eq!(late.until().expect("a day"), Day(FIRST + 1));
    write(&late, FIRST + 1, &second);
    assert!(conflicts(next.seal(Day(FIRST + 9))));
    assert_eq!(late.until().expect("a day"), Day(FIRST + 1));
    late.seal(Day(FIRST + 2)).expect("sealed");
    // A reader is told of it when it looks again.
    assert_eq!(reader.until().expect("a day"), Day(FIRST + 1));
    assert!(reader.refresh().expect("it is there"));
    assert_eq!(reader.until().expect("a day"), Day(FIRST + 2));
    check(&reader, &first.into_iter().chain(second).collect(), FIRST..FIRST + 2);
}

#[test]
fn a_shared_archive_is_merged_and_swept_of_what_nobody_can_name_any_more() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (late, next) = (sharing(scratch.path(), 1), sharing(scratch.path(), 2));
    let mut model = Model::new();
    late.refresh().expect("it is shared");
    for day in FIRST..FIRST + 20 {
        model.extend(day_of(day, u64::from(day)));
        write(&late, day, &model);
    }
    late.seal(Day(FIRST + 20)).expect("sealed");
    next.refresh().expect("it is there");
    while next.merge(Day(FIRST + 400)).expect("merged") {}
    check(&next, &model, FIRST..FIRST + 20);
    // Whoever was asleep cannot name what it had written before.
    assert!(conflicts(late.seal(Day(FIRST + 21))));
    late.refresh().expect("it is there");
    check(&late, &model, FIRST..FIRST + 20);
    let objects = next.objects.list("counters").expect("a list");
    let manifests = objects.iter().filter(|o| o.name.contains("manifest")).count() as u64;
    assert!(manifests > 1 && manifests <= 18, "few manifests stay: {manifests}");
    assert!(next.objects.get("counters/manifest").expect("an answer").is_none());
}
