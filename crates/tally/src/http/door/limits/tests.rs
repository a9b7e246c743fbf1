use model::TimestampMs;
use model::append_time::ClockReading;
use proptest::prelude::*;

use super::*;

struct Still;

impl Clock for Still {
    fn now(&self) -> ClockReading {
        ClockReading { wall: TimestampMs(0), monotonic_ms: 0 }
    }
}

fn owner(n: u32) -> Owner {
    Owner::Address(IpAddr::V4(n.into()))
}

proptest! {
    /// Over any time, no more comes through than came in, and one request more than there was room for.
    #[test]
    fn never_more_than_the_rate_and_the_bucket(
        rate in 1_u64..1000,
        steps in proptest::collection::vec((0_u64..3_000_000_000, 1_u64..200), 1..60),
    ) {
        let buckets = Buckets::new();
        let (mut now, mut taken, mut last) = (0, 0, 0);
        for (pause, tokens) in steps {
            now += pause;
            match buckets.look(owner(1), rate, tokens, now) {
                Ok(()) => {
                    buckets.take(owner(1), rate, tokens, now);
                    (taken, last) = (taken + tokens, tokens);
                }
                Err(wait) => {
                    // It says when exactly: not a nanosecond later than it must be.
                    prop_assert!(buckets.look(owner(1), rate, tokens, now + wait.0).is_ok());
                    prop_assert!(buckets.look(owner(1), rate, tokens, now + wait.0 - 1).is_err());
                }
            }
            let came_in = u128::from(now) * u128::from(rate) / u128::from(SECOND_NS);
            prop_assert!(u128::from(taken - last) <= came_in + u128::from(rate));
        }
    }
}

#[test]
fn whoever_keeps_to_the_rate_is_never_refused() {
    let buckets = Buckets::new();
    for step in 0..10_000 {
        let now = step * SECOND_NS / 7 + 1;
        assert_eq!(buckets.look(owner(1), 7, 1, now), Ok(()), "step {step}");
        buckets.take(owner(1), 7, 1, now);
    }
}

#[test]
fn buckets_are_bounded_and_forget_who_owes_least() {
    let limits = Limits::new(Some(1), None, Arc::new(Still));
    let buckets = &limits.event_buckets;
    let debtor = owner(u32::MAX);
    buckets.take(debtor, 1, 1000, 0);
    for n in 0..400_000 {
        buckets.take(owner(n), 1, 1, 0);
    }
    let held: usize = buckets.shards.iter().map(|shard| shard.lock().len()).sum();
    assert!(held <= SHARDS * SHARD_BUCKETS_MAX, "{held}");
    assert!(buckets.look(debtor, 1, 1, 0).is_err(), "the largest debt is remembered");
}
