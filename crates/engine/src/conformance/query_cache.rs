//! Behaviours of every [`QueryCache`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use model::TimestampMs;
use model::append_time::ClockReading;

use crate::ports::{Clock, QueryCache};

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub struct SetClock(AtomicI64);

impl SetClock {
    /// Lets so many milliseconds pass.
    pub fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> ClockReading {
        let monotonic_ms = self.0.load(Ordering::Relaxed);
        ClockReading { wall: TimestampMs(monotonic_ms), monotonic_ms }
    }
}

/// Runs every behaviour on caches that `fresh` makes: each empty, by this clock, for so many bytes,
/// which count keys too.
///
/// # Panics
/// When the cache does not behave.
pub fn all(mut fresh: impl FnMut(Arc<SetClock>, u64) -> Box<dyn QueryCache>) {
    let mut with = |bytes| {
        let clock = Arc::new(SetClock::default());
        (fresh(clock.clone(), bytes), clock)
    };
    let (cache, _) = with(1 << 20);
    the_newest_answer_of_a_key_is_given(&*cache);
    let (cache, clock) = with(1 << 20);
    answers_do_not_outlive_their_life(&*cache, &clock);
    let (cache, _) = with(256 << 10);
    what_is_asked_for_stays_and_memory_is_bounded(&*cache);
    let (cache, _) = with(1 << 20);
    threads_see_whole_answers(&*cache);
}

/// Runs the behaviours of a cache that others bound, by a clock of its own.
///
/// # Panics
/// When the cache does not behave.
pub fn outside(mut fresh: impl FnMut() -> Box<dyn QueryCache>) {
    the_newest_answer_of_a_key_is_given(&*fresh());
    threads_see_whole_answers(&*fresh());
}

fn the_newest_answer_of_a_key_is_given(cache: &dyn QueryCache) {
    assert_eq!(get(cache, b"a"), None);
    put(cache, b"a", b"1", 1_000);
    put(cache, b"ab", b"", 1_000);
    put(cache, b"", b"nameless", 1_000);
    assert_eq!(get(cache, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(cache, b"ab").as_deref(), Some(&b""[..]));
    assert_eq!(get(cache, b"").as_deref(), Some(&b"nameless"[..]));
    put(cache, b"a", b"22", 1_000);
    assert_eq!(get(cache, b"a").as_deref(), Some(&b"22"[..]));
    assert_eq!(get(cache, b"b"), None);
}

fn answers_do_not_outlive_their_life(cache: &dyn QueryCache, clock: &SetClock) {
    put(cache, b"short", b"1", 100);
    put(cache, b"long", b"2", 1_000);
    put(cache, b"none", b"3", 0);
    assert_eq!(get(cache, b"none"), None);
    clock.pass(99);
    assert!(get(cache, b"short").is_some());
    clock.pass(1);
    assert_eq!(get(cache, b"short"), None);
    // Put again it lives anew, and by its new life.
    put(cache, b"long", b"4", 100);
    clock.pass(100);
    assert_eq!(get(cache, b"long"), None);
}

fn what_is_asked_for_stays_and_memory_is_bounded(cache: &dyn QueryCache) {
    let answer = vec![7; 4 << 10];
    let key = |n: u32| n.to_be_bytes();
    put(cache, b"kept", &answer, 1_000);
    for n in 0..1_000 {
        put(cache, &key(n), &answer, 1_000);
        assert!(get(cache, b"kept").is_some(), "asked for all the time, gone after {n}");
    }
    let left = (0..1_000).filter(|n| get(cache, &key(*n)).is_some()).count();
    assert!(left > 10 && left * answer.len() <= 256 << 10, "{left} are left");
    assert!(get(cache, &key(999)).is_some(), "the newest is there");
    // One that is larger than everything is not kept, and drives nothing out.
    put(cache, b"huge", &vec![7; 1 << 20], 1_000);
    assert_eq!(get(cache, b"huge"), None);
    assert!(get(cache, b"kept").is_some());
    // Nor does an older answer stay in the place of one that is not kept.
    put(cache, b"kept", &vec![7; 1 << 20], 1_000);
    assert_eq!(get(cache, b"kept"), None);
}

fn threads_see_whole_answers(cache: &dyn QueryCache) {
    std::thread::scope(|scope| {
        for byte in 0..4u8 {
            scope.spawn(move || {
                for _ in 0..500 {
                    put(cache, b"shared", &[byte; 100], 1_000);
                    if let Some(answer) = get(cache, b"shared") {
                        assert_eq!(answer.len(), 100);
                        assert!(answer.iter().all(|other| *other == answer[0]));
                    }
                }
            });
        }
    });
}

fn get(cache: &dyn QueryCache, key: &[u8]) -> Option<Bytes> {
    cache.get(key).expect("it answers")
}

fn put(cache: &dyn QueryCache, key: &[u8], answer: &[u8], life_ms: u64) {
    cache.put(key, Bytes::copy_from_slice(answer), life_ms).expect("it takes an answer");
}
