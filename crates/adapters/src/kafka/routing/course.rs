//! What the records of the topic add up to: a function of them in their order, the same for everybody
//! who reads them, also where some were compacted away.
//!
//! - A version is one where it stands at the offset that its writer expected: then the writer had read
//!   all that stands before it, and it follows from that. Whatever stands elsewhere lost a race.
//! - The clock is the latest append time of its records. It never goes back, and a version is published
//!   at the time that the clock shows where it stands: whoever has read less has an earlier time.
//! - A record that cannot be read may be a version: nothing is confirmed any more, until a tombstone
//!   takes it away.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::ports::{ErrorKind, PortError};
use model::{RoutingError, RoutingTable, TimestampMs};

use super::super::follow::TopicRecord;
use super::record::{Key, Unreadable, VersionKey, Written, read_floor};

/// Records that cannot be read, of which so many are remembered: with more the topic is not ours.
const UNREADABLE_MAX: usize = 64;

/// How far reading is, and what it came to.
#[derive(Debug)]
pub(super) struct Course {
    /// None before the first version.
    table: Option<Arc<RoutingTable>>,
    /// Whose each version is.
    keys: Vec<VersionKey>,
    clock: TimestampMs,
    /// Records of the clock that were read.
    beats: u64,
    next_offset: u64,
    unreadable: BTreeMap<Vec<u8>, (u64, Unreadable)>,
    /// Why nothing is read any more.
    broken: Option<String>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            table: None,
            keys: Vec::new(),
            clock: TimestampMs(i64::MIN),
            beats: 0,
            next_offset: 0,
            unreadable: BTreeMap::new(),
            broken: None,
        }
    }
}

impl Course {
    pub(super) fn table(&self) -> Option<&Arc<RoutingTable>> {
        self.table.as_ref()
    }

    /// What the clock shows after everything that was read.
    pub(super) fn clock(&self) -> TimestampMs {
        self.clock
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats
    }

    /// The first offset that was not read.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Whether a version was written under a key, and is one.
    pub(super) fn has(&self, key: VersionKey) -> bool {
        let at = usize::try_from(key.number).ok().and_then(|number| number.checked_sub(1));
        at.and_then(|at| self.keys.get(at)) == Some(&key)
    }

    /// Whether what was read is all there is to it.
    ///
    /// # Errors
    /// `Corrupt` where there may be versions that cannot be read.
    pub(super) fn check(&self, topic: &str) -> Result<(), PortError> {
        if let Some(why) = &self.broken {
            let context = format!("the routing table in the topic {topic} cannot be read: {why}");
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
        let Some((key, (offset, why))) = self.unreadable.iter().next() else { return Ok(()) };
        let context = format!(
            "the topic {topic} holds a record at offset {offset} that cannot be read, so that there may \
             be versions of the routing table that are not known here: {why}; start the newest program \
             there is, or, where nobody meant it, produce a message without a value under its key {}",
            key.escape_ascii()
        );
        Err(PortError::new(ErrorKind::Corrupt, context))
    }

    /// Everything below an offset was read, or is no more.
    pub(super) fn pass(&mut self, next_offset: u64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// Nothing is read any more.
    pub(super) fn break_off(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &TopicRecord<'_>) {
        if self.broken.is_some() || record.offset < self.next_offset {
            return;
        }
        self.pass(record.offset + 1);
        let taken = match (Key::read(record.key), record.value) {
            (key, None) => {
                self.take_tombstone(record, key.ok());
                Ok(())
            }
            (Ok(Key::Clock), Some(value)) => self.take_clock(record, value),
            (Ok(Key::Version(key)), Some(value)) => self.take_version(record, key, value),
            (Err(unreadable), Some(_)) => Err(unreadable),
        };
        if let Err(unreadable) = taken {
            self.unreadable.insert(record.key.to_vec(), (record.offset, unreadable));
            if self.unreadable.len() > UNREADABLE_MAX {
                self.break_off(format!("more than {UNREADABLE_MAX} records are none of tally's"));
            }
        }
    }

    /// Somebody took a record away. What lost is nothing to anybody; what won is missing from now on.
    fn take_tombstone(&mut self, record: &TopicRecord<'_>, key: Option<Key>) {
        self.unreadable.remove(record.key);
        if let Some(Key::Version(key)) = key
            && self.has(key)
        {
            self.break_off(format!("somebody has deleted version {}", key.number));
        }
    }

    fn take_clock(&mut self, record: &TopicRecord<'_>, value: &[u8]) -> Result<(), Unreadable> {
        let floor = read_floor(value)?;
        let appended = record.append_time.ok_or(Unreadable::AppendTime)?;
        self.clock = self.clock.max(floor).max(appended);
        self.beats += 1;
        Ok(())
    }

    fn take_version(
        &mut self,
        record: &TopicRecord<'_>,
        key: VersionKey,
        value: &[u8],
    ) -> Result<(), Unreadable> {
        let written = Written::read(value)?;
        if written.place != record.offset {
            return Ok(());
        }
        let known = self.table.as_ref().map_or(0, |table| table.version());
        if key.number != known.wrapping_add(1) {
            self.break_off(format!(
                "version {} follows version {known} at offset {}",
                key.number, record.offset
            ));
            return Ok(());
        }
        match self.push(written) {
            Ok(()) => self.keys.push(key),
            Err(error) => {
                let why = format!(
                    "version {} at offset {} cannot follow: {error}",
                    key.number, record.offset
                );
                self.break_off(why);
            }
        }
        Ok(())
    }

    fn push(&mut self, written: Written) -> Result<(), RoutingError> {
        let version = written.version;
        match &mut self.table {
            None => {
                let partitions = version.partitions;
                if !(1..=model::limits::PARTITIONS_MAX).contains(&partitions) {
                    return Err(RoutingError::Partitions);
                }
                let table = RoutingTable::first(partitions);
                if *table.newest() != version {
                    return Err(RoutingError::Bytes);
                }
                self.table = Some(Arc::new(table));
            }
            Some(table) => match Arc::get_mut(table) {
                // While the topic is read from the beginning nobody else has the table; should the
                // version not follow, it is of no use, and nobody gets it.
                Some(table) => {
                    let pushed = table.push(version);
                    if pushed.is_err() {
                        self.table = None;
                    }
                    pushed?;
                }
                None => *table = Arc::new(table.with(version)?),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::ports::next_table;
    use model::{RoutingChange, RoutingVersion, Rule, Strategy, Subject};
    use proptest::prelude::*;

    use super::super::record::write_floor;
    use super::*;

    /// A topic in memory, as a broker keeps it.
    #[derive(Default)]
    struct Topic(Vec<(u64, TimestampMs, Vec<u8>, Option<Vec<u8>>)>, u64);

    impl Topic {
        fn append(&mut self, time: i64, key: Vec<u8>, value: Option<Vec<u8>>) -> u64 {
            self.0.push((self.1, TimestampMs(time), key, value));
            self.1 += 1;
            self.1 - 1
        }

        /// Keeps the last record of each key below an offset.
        fn compact(&mut self, below: u64) {
            let all = self.0.clone();
            let is_last = |(offset, _, key, _): &(u64, TimestampMs, Vec<u8>, Option<Vec<u8>>)| {
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
            assert_eq!(
                course.table().map(|table| table.version()),
                Some(1),
                "what was known stays"
            );
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
}
