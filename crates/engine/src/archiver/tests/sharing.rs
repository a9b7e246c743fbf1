//! A log that several processes archive, of which some stand still and wake up late.

use super::super::Share;
use super::super::course::Course;
use super::*;
use crate::ports::Appended;

/// A shared log as one process sees it: its end a moment late, by brokers whose clocks differ.
struct Seen {
    log: Arc<FakeLog>,
    end: Mutex<Offset>,
}

impl EventLog for Seen {
    fn partitions(&self) -> u16 {
        1
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        let append = |part: AppendPart| {
            let (count, base_offset) = (part.records.record_count(), self.log.end());
            self.log.append(part.records.into_payload(), count, part.is_control);
            *self.end.lock() = self.log.end();
            let (next_offset, append_time) = (self.log.end(), *self.log.now.lock());
            Ok(Appended { partition: part.partition, base_offset, next_offset, append_time })
        };
        let results: Vec<PartResult> = parts.into_iter().map(append).collect();
        Ok(futures::future::ready(results).boxed())
    }

    fn read(
        &self,
        id: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        self.log.read(id, from, bytes_max)
    }

    fn bounds(&self, id: PartitionId) -> LogBounds {
        LogBounds { durable_offset: *self.end.lock(), ..self.log.bounds(id) }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        self.log.append_time()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// A processor and what it remembers of its work.
struct Member {
    seen: Arc<Seen>,
    shared: Shared,
    share: Share,
    courses: Vec<Course>,
}

impl Member {
    fn new(log: &Arc<FakeLog>, archive: &Arc<FakeArchive>) -> Self {
        let seen = Arc::new(Seen { log: log.clone(), end: Mutex::new(Offset(0)) });
        let shared = Shared::new(seen.clone(), archive.clone(), SETTINGS);
        Self { seen, shared, share: Box::new(|| vec![ONE]), courses: Vec::new() }
    }

    /// Hears how long the log is.
    fn look(&self) {
        *self.seen.end.lock() = self.seen.log.end();
    }

    /// One turn of its thread.
    fn turn(&mut self) -> Result<bool, PortError> {
        self.shared.follow_share(&self.share, &mut self.courses)?;
        Ok(self.shared.archive_round(&mut self.courses))
    }
}

#[test]
fn an_hour_without_a_successor_is_ended_by_a_record() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    let mut member = Member::new(&log, &archive);
    log.append_events(3);
    member.look();
    assert!(!member.turn().unwrap());
    log.pass(60);
    assert!(!member.turn().unwrap() && log.end() == Offset(3), "the hour may still get events");
    log.pass(1);
    assert!(!member.turn().unwrap());
    assert_eq!(log.end(), Offset(4), "the record is in the log");
    assert!(member.turn().unwrap());
    assert_eq!(archive.names(), [(0, 3)]);
    log.pass(600);
    while member.turn().unwrap() {}
    assert_eq!(log.end(), Offset(4), "that record alone needs no other");
    assert_eq!(member.shared.progress(ONE).archived.load(Ordering::Relaxed), 3);
}

#[test]
fn what_the_log_has_let_go_of_is_told_and_gone_past() {
    let archive = Arc::new(FakeArchive::default());
    for (start, lost) in [(0, 0), (100, 97)] {
        let log = Arc::new(FakeLog::new(start));
        let mut member = Member::new(&log, &archive);
        log.append_events(3);
        log.pass(60);
        log.append_events(1);
        member.look();
        while member.turn().unwrap() {}
        assert_eq!(member.shared.lost.load(Ordering::Relaxed), lost);
    }
    assert_eq!(archive.names(), [(0, 3), (100, 103)]);
}

#[test]
fn an_archive_ahead_of_what_is_seen_is_waited_for() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    let (mut ahead, mut late) = (Member::new(&log, &archive), Member::new(&log, &archive));
    log.append_events(3);
    log.pass(60);
    log.append_events(1);
    ahead.look();
    while ahead.turn().unwrap() {}
    assert_eq!(late.turn().unwrap_err().kind, ErrorKind::Unavailable);
    late.look();
    assert!(!late.turn().unwrap());
    assert_eq!(archive.names(), [(0, 3)]);
}

#[test]
fn what_is_somebody_elses_is_let_go_of() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    let mut member = Member::new(&log, &archive);
    member.turn().unwrap();
    assert!(member.shared.progress(ONE).is_mine());
    member.share = Box::new(Vec::new);
    log.append_events(3);
    log.pass(60);
    log.append_events(1);
    member.look();
    assert!(!member.turn().unwrap());
    assert!(!member.shared.progress(ONE).is_mine() && archive.names().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Events(u64),
    Poison,
    Window(u32),
    /// The clocks of the brokers differ: after a change of leaders it may be earlier.
    Pass(i64),
    Look(usize),
    /// One process works, and its archive fails after so many acts.
    Turn(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..8).prop_map(Step::Events),
        1 => Just(Step::Poison),
        1 => (1u32..60).prop_map(Step::Window),
        3 => (-20i64..90).prop_map(Step::Pass),
        3 => (0usize..3).prop_map(Step::Look),
        5 => ((0usize..3), 0u64..30).prop_map(|(at, acts)| Step::Turn(at, acts)),
    ]
}

proptest! {
    /// Three processes that all think the partition theirs, each as far behind as it likes and failing
    /// anywhere: the files are those that one would have made, and hold each offset once.
    #[test]
    fn whoever_archives_makes_the_same_files(
        steps in proptest::collection::vec(step(), 1..60),
        start in prop_oneof![Just(0), (1u64 << 20) - 40..(1 << 20)],
    ) {
        let (log, archive) = (Arc::new(FakeLog::new(start)), Arc::new(FakeArchive::default()));
        let mut members = [(); 3].map(|()| Member::new(&log, &archive));
        for step in steps {
            match step {
                Step::Events(count) => log.append_events(count),
                Step::Poison => log.append_poison(),
                Step::Window(minutes) => log.append_window(minutes),
                Step::Pass(minutes) => log.pass(minutes),
                Step::Look(at) => members[at].look(),
                Step::Turn(at, acts) => {
                    *archive.acts_left.lock() = Some(acts);
                    let _ = members[at].turn();
                    *archive.acts_left.lock() = None;
                }
            }
        }
        // Later than all clocks were.
        log.pass(10_000);
        log.append_events(1);
        // Those that were asleep finish what they had begun, in any order.
        for member in &mut members {
            member.look();
            member.courses.iter_mut().for_each(|course| course.retry = Default::default());
            while member.turn().unwrap() {}
        }
        let alone = Arc::new(FakeArchive::default());
        let mut one = Member::new(&log, &alone);
        one.look();
        while one.turn().unwrap() {}
        let mut next = start;
        for (from, to) in archive.names() {
            prop_assert_eq!(from, next);
            next = to;
        }
        let newest_hour = log.end().0 - u64::from(!log.end().0.is_multiple_of(1 << 20));
        prop_assert_eq!(next, newest_hour, "all but the newest hour");
        let (files, expected) = (archive.files.lock(), alone.files.lock());
        prop_assert_eq!(&*files, &*expected);
    }
}
