use engine::ports::next_table;
use model::{RoutingChange, RoutingVersion, Rule, Strategy, Subject};
use proptest::prelude::*;

use super::super::record::write_floor;
use super::*;

/// A topic in memory, as a broker keeps it.
#[derive(Default)]
struct Topic(Vec<Kept>, u64);

/// Offset, append time, key and value.
type Kept = (u64, TimestampMs, Vec<u8>, Option<Vec<u8>>);

impl Topic {
    fn append(&mut self, time: i64, key: Vec<u8>, value: Option<Vec<u8>>) -> u64 {
        self.0.push((self.1, TimestampMs(time), key, value));
        self.1 += 1;
        self.1 - 1
    }

    /// Keeps the last record of each key below an offset.
    fn compact(&mut self, below: u64) {
        let all = self.0.clone();
        let is_last = |(offset, _, key, _): &Kept| {
            let behind = all.iter().filter(|other| (*offset + 1..below).contains(&other.0));
            *offset >= below || behind.into_iter().all(|other| other.2 != *key)
        };
        self.0.retain(is_last);
    }

    fn read(&self, course: &mut Course, until: u64) {
        for (offset, time, key, value) in &self.0 {
            if *offset < until {
                let (offset, append_time, value) = (*offset, Some(*time), value.as_deref());
                course.take(&TopicRecord { offset, append_time, key, value });
            }
        }
    }

    fn course(&self) -> Course {
        let mut course = Course::default();
        self.read(&mut course, u64::MAX);
        course
    }
}

fn key(number: u32, attempt: u64) -> VersionKey {
    VersionKey { number, writer: 7, attempt }
}

fn first(partitions: u16) -> RoutingVersion {
    RoutingTable::first(partitions).newest().clone()
}

/// What a writer appends who has read so far.
fn written(course: &Course, item: &str) -> (u32, Vec<u8>) {
    let strategy = Strategy::Spread { over: 2 };
    let rule = Some(Rule { strategy, is_automatic: false });
    let change = RoutingChange { subject: Subject::Item(item.into()), rule };
    let table = course.table().expect("there is a first version");
    let next = next_table(table, table.version(), course.clock(), 4, vec![change]);
    let version = next.expect("it follows").newest().clone();
    (table.version() + 1, Written { place: course.next_offset(), version }.write())
}

fn begun() -> Topic {
    let mut topic = Topic::default();
    let version = Written { place: 0, version: first(4) };
    topic.append(5, Key::Version(key(1, 0)).write(), Some(version.write()));
    topic.append(1_000, Key::Clock.write(), Some(write_floor(TimestampMs(0))));
    topic
}

#[test]
fn of_two_that_follow_the_same_version_the_first_one_wins() {
    let mut topic = begun();
    let course = topic.course();
    let ((number, one), (_, other)) = (written(&course, "one"), written(&course, "other"));
    topic.append(1_001, Key::Version(key(number, 1)).write(), Some(one));
    topic.append(1_002, Key::Version(key(number, 2)).write(), Some(other));
    for compacted in [false, true] {
        if compacted {
            topic.compact(u64::MAX);
        }
        let course = topic.course();
        course.check("t").expect("all is well");
        let table = course.table().expect("a table");
        assert_eq!((table.version(), course.clock()), (2, TimestampMs(1_000)));
        assert!(course.has(key(2, 1)) && !course.has(key(2, 2)));
        assert_eq!((table.changes_of("one"), table.changes_of("other")), (1, 0));
        assert_eq!(table.newest().published, TimestampMs(1_000));
    }
}

#[test]
fn a_version_that_is_earlier_than_the_clock_is_not_taken() {
    let mut topic = begun();
    let mut course = topic.course();
    let (number, one) = written(&course, "one");
    // Whoever wrote it knew less of the clock.
    let late = TimestampMs(5_000);
    topic.0[1].3 = Some(write_floor(late));
    topic.append(1_001, Key::Version(key(number, 1)).write(), Some(one));
    topic.read(&mut course, u64::MAX);
    course.check("t").expect("by what it knew it is well");
    let error = topic.course().check("t").expect_err("somebody may have routed without it");
    assert!(error.to_string().contains("the clock was at"), "{error}");
}

#[test]
fn a_version_that_the_clock_overtook_is_none() {
    let mut topic = begun();
    let (number, one) = written(&topic.course(), "one");
    topic.append(2_000, Key::Clock.write(), Some(write_floor(TimestampMs(0))));
    topic.append(2_001, Key::Version(key(number, 1)).write(), Some(one));
    let course = topic.course();
    assert_eq!(course.table().map(|table| table.version()), Some(1));
    assert_eq!(course.clock(), TimestampMs(2_000));
}

#[test]
fn what_cannot_be_read_is_not_guessed_and_can_be_taken_away() {
    let newer = |version: &[u8]| [&[2], &version[1..]].concat();
    let (_, good) = written(&begun().course(), "one");
    for (key, value) in [
        (b"garbage".to_vec(), b"{}".to_vec()),
        (Key::Version(key(2, 9)).write(), newer(&good)),
        (Key::Version(key(2, 9)).write(), good[..good.len() - 1].to_vec()),
        (Key::Clock.write(), b"\x01abc".to_vec()),
    ] {
        let mut topic = begun();
        let at = topic.append(1_003, key.clone(), Some(value));
        let mut course = topic.course();
        let error = course.check("t").expect_err("not guessed");
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(error.to_string().contains(&format!("offset {at}")), "{error}");
        assert_eq!(course.table().map(|table| table.version()), Some(1), "what was known stays");
        topic.append(1_004, key, None);
        topic.read(&mut course, u64::MAX);
        course.check("t").expect("it was taken away");
    }
}

#[test]
fn a_version_that_is_missing_or_was_deleted_is_noticed() {
    let mut topic = begun();
    let (number, value) = written(&topic.course(), "one");
    topic.append(1_001, Key::Version(key(number, 1)).write(), Some(value));
    let (number, value) = written(&topic.course(), "two");
    topic.append(1_002, Key::Version(key(number, 2)).write(), Some(value));
    let mut deleted = Topic(topic.0.clone(), topic.1);
    deleted.append(1_003, Key::Version(key(2, 1)).write(), None);
    let error = deleted.course().check("t").expect_err("it is missing");
    assert!(error.to_string().contains("deleted version 2"), "{error}");
    deleted.compact(u64::MAX);
    assert_eq!(deleted.course().check("t").map_err(|e| e.kind), Err(ErrorKind::Corrupt));
    topic.0.remove(2);
    let error = topic.course().check("t").expect_err("it is missing");
    assert!(error.to_string().contains("version 3 follows version 1"), "{error}");
}

#[test]
fn more_that_cannot_be_read_than_a_few_is_not_our_topic() {
    let mut topic = begun();
    for n in 0..=UNREADABLE_MAX {
        topic.append(1_001, format!("k{n}").into_bytes(), Some(b"v".to_vec()));
    }
    let error = topic.course().check("t").expect_err("not ours");
    assert!(error.to_string().contains("none of tally's"), "{error}");
}

proptest! {
    /// Whatever gateways do at once, with clocks of brokers that go back a little: everybody reads
    /// the same versions, and nobody was ever sure of a time at which another one was published
    /// that they had not read.
    #[test]
    fn nobody_is_sure_of_more_than_they_have_read(
        steps in proptest::collection::vec((0..4usize, 0..6u8, 0..40i64), 1..80),
    ) {
        let (mut topic, mut courses) = (begun(), [(); 4].map(|()| Course::default()));
        let mut sure: Vec<(TimestampMs, u32)> = Vec::new();
        for (n, (at, what, step)) in steps.into_iter().enumerate() {
            // Later as a whole, and now and then a little earlier than the one before.
            let time = 1_000 + 10 * n as i64 + step;
            let course = &mut courses[at];
            match what {
                0 if course.table().is_some() => {
                    let (number, value) = written(course, &format!("item-{n}"));
                    let key = Key::Version(VersionKey { writer: at as u64, ..key(number, n as u64) });
                    topic.append(time, key.write(), Some(value));
                }
                1 => {
                    topic.append(time, Key::Clock.write(), Some(write_floor(course.clock())));
                }
                _ => {
                    let half = course.next_offset() + (topic.1 - course.next_offset()).div_ceil(2);
                    topic.read(course, if what == 2 { half } else { u64::MAX });
                }
            }
            if let Some(table) = courses[at].table() {
                sure.push((courses[at].clock(), table.version()));
            }
        }
        let whole = topic.course();
        whole.check("t").expect("all is well");
        let table = whole.table().expect("a table");
        for (time, version) in sure {
            let missed = &table.versions()[version as usize..];
            prop_assert!(missed.iter().all(|missed| missed.published >= time));
        }
        // Whoever comes later reads the same versions, and no later time.
        topic.compact(u64::MAX);
        let late = topic.course();
        prop_assert_eq!(late.table(), whole.table());
        prop_assert!(late.clock() <= whole.clock());
    }
}
