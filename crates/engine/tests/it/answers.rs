//! When an answer is given again, and when it must not be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::answers::Answers;
use engine::conformance::mem_store::FlushFailure;
use engine::ports::{ErrorKind, PortError, QueryCache};
use engine::processor::{ProcessorSettings, Processors};
use engine::query::{Query, QueryError};
use model::bucket::{DAY_MS, MINUTE_MS};
use model::control::Control;
use model::{
    Cell, Correction, Corrections, HourCell, Minute, Offset, PartitionId, RoutingTable, Summary,
    TimeRange,
};
use parking_lot::Mutex;

use super::reports::{FIRST_MINUTE, FedLog, PARTITIONS, Step, World};

const ITEM: &str = "a";

/// A cache that forgets nothing before its life is over.
struct MapCache {
    clock: Arc<FedLog>,
    entries: Mutex<HashMap<Vec<u8>, (Bytes, i64)>>,
    fails: bool,
}

impl QueryCache for MapCache {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, PortError> {
        if self.fails {
            return Err(PortError::new(ErrorKind::Unavailable, "as ordered"));
        }
        let entries = self.entries.lock();
        let alive = entries.get(key).filter(|(_, ends)| *ends > self.clock.now_ms());
        Ok(alive.map(|(answer, _)| answer.clone()))
    }

    fn put(&self, key: &[u8], answer: Bytes, life_ms: u64) -> Result<(), PortError> {
        if self.fails {
            return Err(PortError::new(ErrorKind::Unavailable, "as ordered"));
        }
        self.entries.lock().insert(key.to_vec(), (answer, self.clock.now_ms() + life_ms as i64));
        Ok(())
    }
}

struct Bench {
    world: World,
    cache: Arc<MapCache>,
    answers: Answers,
}

/// How many views the item has in a range; made by adding up, or given again.
fn count(answers: &Answers, range: TimeRange) -> (u64, bool) {
    let before = answers.figures();
    let make = |query: &Query| {
        let count = query.count(ITEM, "view", Some(range))?.summary.count;
        Ok::<_, QueryError>(Bytes::copy_from_slice(&count.to_be_bytes()))
    };
    let answer = answers.answer(b"count", range, make).expect("an answer");
    let count = u64::from_be_bytes(answer[..].try_into().expect("eight bytes"));
    (count, answers.figures().hits > before.hits)
}

impl Bench {
    fn new(fails: bool) -> Self {
        let world = World::new();
        let query = Arc::new(Query::new(world.stepped.processors(), DAY_MS));
        let entries = Mutex::default();
        let cache = Arc::new(MapCache { clock: world.log.clone(), entries, fails });
        let answers = Answers::new(query, Some(cache.clone()));
        Self { world, cache, answers }
    }

    /// A process that counts nothing, and shares store and cache.
    fn follower(&self) -> (Arc<Processors>, Answers) {
        let (log, store) = (self.world.log.clone(), self.world.store.clone());
        let settings = ProcessorSettings {
            flush_interval_ms: 1_000,
            table_cells_max: usize::MAX,
            known_bytes_max: 0,
            hash_keys: (1, 2),
            dedup_minutes: 10,
        };
        let following = Processors::follow(log.clone(), store, log, settings).expect("it follows");
        let query = Arc::new(Query::new(following.clone(), DAY_MS));
        (following, Answers::new(query, Some(self.cache.clone())))
    }

    fn count(&self, range: TimeRange) -> (u64, bool) {
        count(&self.answers, range)
    }

    fn view(&mut self, minutes_ago: u32) {
        self.world.take(Step::Count(vec![(0, 1, minutes_ago, None)]));
    }
}

/// Minutes that ended so many minutes before the first.
fn ended(ago: u32) -> TimeRange {
    TimeRange { start: Minute(FIRST_MINUTE - ago - 60), end: Minute(FIRST_MINUTE - ago) }
}

#[test]
fn an_open_range_is_given_again_for_a_moment() {
    let mut bench = Bench::new(false);
    let range = TimeRange { start: Minute(FIRST_MINUTE - 9), end: Minute(FIRST_MINUTE + 1) };
    bench.view(0);
    assert_eq!(bench.count(range), (1, false));
    bench.view(0);
    assert_eq!(bench.count(range), (1, true));
    bench.world.log.pass_ms(250);
    assert_eq!(bench.count(range), (2, false));
}

#[test]
fn a_closed_range_is_given_again_until_something_is_counted() {
    let mut bench = Bench::new(false);
    bench.view(70);
    assert_eq!(bench.count(ended(60)), (1, false));
    assert_eq!(bench.count(ended(60)), (1, true));
    // A flush changes no number.
    bench.world.take(Step::Flush(partition().0));
    assert_eq!(bench.count(ended(60)), (1, true));
    bench.view(70);
    assert_eq!(bench.count(ended(60)), (2, false));
    bench.world.log.pass_ms(1_000);
    assert_eq!(bench.count(ended(60)), (2, false), "its time is over");
}

#[test]
fn a_final_range_is_given_again_whatever_is_counted() {
    let mut bench = Bench::new(false);
    let day = (DAY_MS / MINUTE_MS) as u32;
    bench.view(day + 70);
    assert_eq!(bench.count(ended(day + 60)), (1, false));
    bench.view(0);
    assert_eq!(bench.count(ended(day + 60)), (1, true));
    // Final, but so lately that a slow request may still bring an event of it.
    bench.view(day + 6);
    assert_eq!(bench.count(ended(day + 5)), (1, false));
    bench.view(0);
    assert_eq!(bench.count(ended(day + 5)), (1, false));
}

#[test]
fn a_cache_that_fails_is_as_good_as_none() {
    let mut bench = Bench::new(true);
    bench.view(70);
    assert_eq!(bench.count(ended(60)), (1, false));
    assert_eq!(bench.count(ended(60)), (1, false));
}

fn partition() -> PartitionId {
    RoutingTable::first(PARTITIONS).route_first(ITEM)
}

/// Takes one view away that was counted in a minute.
fn take_away(world: &mut World, minute: Minute, was: u64) {
    let known_offset = Offset(world.end_of(partition()));
    let of = |count| Summary { count, ..Summary::EMPTY };
    let correction = |place| Correction {
        place,
        event_type: "view".into(),
        item: ITEM.into(),
        was: of(was),
        is: of(was - 1),
    };
    let place = HourCell { hour: minute.hour(), slot: minute.of_hour() };
    assert_ne!(place.slot, Cell::WHOLE);
    let cells = vec![correction(None), correction(Some(place))];
    let corrections = Corrections { generation: 1, known_offset, cells };
    world.append(partition(), Control::Corrections(corrections).payload(), 1, true);
}

#[test]
fn a_correction_ends_all_answers_and_none_is_kept_while_it_is_written() {
    let mut bench = Bench::new(false);
    let day = (DAY_MS / MINUTE_MS) as u32;
    let range = ended(day + 60);
    bench.view(day + 70);
    bench.view(day + 70);
    bench.world.take(Step::Flush(partition().0));
    assert_eq!(bench.count(range), (2, false));
    assert_eq!(bench.count(range), (2, true));
    take_away(&mut bench.world, Minute(FIRST_MINUTE - day - 70), 2);
    // It is counted, but not yet written: nothing has become less.
    assert_eq!(bench.count(range), (2, true));
    // Nobody knows whether this flush took effect.
    bench.world.store.fail_flush(0, FlushFailure::After);
    assert!(bench.world.stepped.flush(partition()).is_err());
    let (unsure, was_kept) = bench.count(range);
    assert!(!was_kept && !bench.count(range).1, "{unsure} is made anew each time");
    bench.world.take(Step::Flush(partition().0));
    assert_eq!(bench.count(range), (1, false));
    assert_eq!(bench.count(range), (1, true));
}

#[test]
fn a_correction_ends_the_answers_of_every_process_that_shares_the_cache() {
    let mut bench = Bench::new(false);
    let day = (DAY_MS / MINUTE_MS) as u32;
    let range = ended(day + 60);
    bench.view(day + 70);
    bench.view(day + 70);
    bench.world.take(Step::Flush(partition().0));
    let (one, other) = (bench.follower(), bench.follower());
    assert_eq!(count(&one.1, range), (2, false));
    assert_eq!(count(&other.1, range), (2, true), "what one has made another gives");
    take_away(&mut bench.world, Minute(FIRST_MINUTE - day - 70), 2);
    bench.world.take(Step::Flush(partition().0));
    let begun = Instant::now();
    while count(&one.1, range).0 != 1 || count(&other.1, range).0 != 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "they hear of it");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(count(&one.1, range).1 && count(&other.1, range).1, "the new one is shared, too");
    // Who begins later finds none of before either, and neither does who counts.
    let later = bench.follower();
    assert_eq!(count(&later.1, range).0, 1);
    assert_eq!(bench.count(range).0, 1);
    for (processors, _) in [one, other, later] {
        processors.leave().expect("it ends");
    }
}

#[test]
fn who_follows_says_when_what_others_have_flushed_is_of_long_ago() {
    let mut bench = Bench::new(false);
    bench.view(0);
    bench.world.take(Step::Flush(partition().0));
    let (following, answers) = bench.follower();
    let query = answers.query();
    assert!(!query.is_behind() && !bench.answers.query().is_behind());
    // Nothing came for an hour, and now something does.
    bench.world.log.pass_ms(3_600_000);
    bench.view(0);
    // Two looks, of which there are four a second.
    std::thread::sleep(Duration::from_millis(700));
    assert!(!query.is_behind(), "it has just come");
    bench.world.log.pass_ms(16_000);
    assert!(query.is_behind());
    assert!(!bench.answers.query().is_behind(), "who counts knows");
    bench.world.take(Step::Flush(partition().0));
    let begun = Instant::now();
    while query.is_behind() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it hears of the flush");
        std::thread::sleep(Duration::from_millis(10));
    }
    following.leave().expect("it ends");
}
