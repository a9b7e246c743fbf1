//! When to try again: exponential backoff with full jitter, and a budget that bounds how much of
//! the traffic may be repeats. Both are plain state that is told the time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// A small generator for jitter and balancing; not for secrets.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// The same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Seeded by chance.
    pub fn random() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// The next 64 bits (SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A whole number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// A time from zero up to this one.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        // 53 bits are as many as a float holds.
        most.mul_f64((self.bits() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Spreads the bits of a number over all of it; no two numbers give the same.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The waits between attempts: the n-th is a random time up to `first` · 2ⁿ, but never longer than
/// `longest`. The randomness ("full jitter") keeps clients that failed together from coming back
/// together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
    jitter: Jitter,
}

impl Backoff {
    /// Waits of up to `first` at the beginning, of up to `longest` in the end.
    pub fn new(first: Duration, longest: Duration, jitter: Jitter) -> Self {
        Self { first, longest, attempts: 0, jitter }
    }

    /// How long to wait before the next attempt. Where the server asked for a wait
    /// (`Retry-After`), that long at least, and the jitter comes on top, so that those who were
    /// asked together do not come back together.
    pub fn next_wait(&mut self, asked: Option<Duration>) -> Duration {
        let most = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        asked.unwrap_or_default().saturating_add(self.jitter.up_to(most))
    }

    /// Begins again with short waits, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// How much may be repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryBudgetOptions {
    /// Retries for each first attempt, such as 0.2: at most a fifth on top.
    pub ratio: f64,
    /// Retries a second that are always allowed, so that a client with little traffic can retry.
    pub per_second: f64,
    /// Retries that may be saved up, and that a new budget begins with.
    pub burst: u32,
}

impl Default for RetryBudgetOptions {
    /// A fifth of the requests and one a second, 20 of them saved up.
    fn default() -> Self {
        Self { ratio: 0.2, per_second: 1.0, burst: 20 }
    }
}

/// A token bucket for retries. In any time `t` with `n` first attempts it allows at most `burst +
/// ratio · n + per_second · t` retries: what a server that is down sees beside first attempts.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    options: RetryBudgetOptions,
    tokens: f64,
    filled_at: Instant,
}

impl RetryBudget {
    /// A full budget.
    pub fn new(options: RetryBudgetOptions, now: Instant) -> Self {
        Self { options, tokens: f64::from(options.burst), filled_at: now }
    }

    /// Notes a first attempt, which earns a part of a retry.
    pub fn first_attempt(&mut self, now: Instant) {
        self.fill(now);
        self.add(self.options.ratio);
    }

    /// Takes the right to one retry.
    ///
    /// # Errors
    /// Where there is none: how long it takes until there is, without further first attempts.
    pub fn try_retry(&mut self, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Without a floor only first attempts help; somebody has to look again.
        let seconds = (1.0 - self.tokens) / self.options.per_second.max(0.01);
        Err(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.add(seconds * self.options.per_second);
    }

    fn add(&mut self, tokens: f64) {
        // Without a whole token of room there would never be a retry.
        let most = f64::from(self.options.burst.max(1));
        self.tokens = (self.tokens + tokens.max(0.0)).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_from_zero() {
        let ms = Duration::from_millis;
        let mut sums = [Duration::ZERO; 8];
        for seed in 0..1_000 {
            let mut backoff = Backoff::new(ms(100), SECOND, Jitter::seeded(seed));
            for (n, sum) in sums.iter_mut().enumerate() {
                let wait = backoff.next_wait(None);
                assert!(wait <= ms(100 << n).min(SECOND), "{n}: {wait:?}");
                *sum += wait;
            }
        }
        for (n, sum) in sums.iter().enumerate() {
            let half = ms(100 << n).min(SECOND) / 2;
            let mean = *sum / 1_000;
            assert!(mean > half.mul_f64(0.9) && mean < half.mul_f64(1.1), "{n}: {mean:?}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_the_least_wait() {
        let mut backoff = Backoff::new(SECOND, SECOND, Jitter::seeded(1));
        for _ in 0..100 {
            let wait = backoff.next_wait(Some(SECOND * 7));
            assert!((SECOND * 7..=SECOND * 8).contains(&wait), "{wait:?}");
        }
        // Far beyond what a Duration holds in attempts.
        backoff.attempts = u32::MAX;
        assert!(backoff.next_wait(None) <= SECOND);
        backoff.reset();
        assert_eq!(backoff.attempts, 0);
    }

    #[test]
    fn retries_stay_within_burst_ratio_and_floor() {
        let options = RetryBudgetOptions { ratio: 0.1, per_second: 2.0, burst: 5 };
        let start = Instant::now();
        let mut budget = RetryBudget::new(options, start);
        let mut retries = 0;
        for tick in 0..10_000_u32 {
            let now = start + SECOND / 100 * tick;
            budget.first_attempt(now);
            while budget.try_retry(now).is_ok() {
                retries += 1;
            }
        }
        let most = 5.0 + 0.1 * 10_000.0 + 2.0 * 100.0;
        assert!(f64::from(retries) <= most && f64::from(retries) > most - 2.0, "{retries}");
    }

    #[test]
    fn an_empty_budget_says_when_it_has_a_retry_again() {
        let options = RetryBudgetOptions { ratio: 0.5, per_second: 4.0, burst: 1 };
        let start = Instant::now();
        let mut budget = RetryBudget::new(options, start);
        assert_eq!(budget.try_retry(start), Ok(()));
        let wait = budget.try_retry(start).expect_err("it is empty");
        assert_eq!(wait, SECOND / 4);
        assert!(budget.try_retry(start + wait / 2).is_err());
        assert_eq!(budget.try_retry(start + wait), Ok(()));
        // Two first attempts earn one, and time that goes backwards earns none.
        budget.first_attempt(start);
        assert!(budget.try_retry(start).is_err());
        budget.first_attempt(start);
        assert_eq!(budget.try_retry(start), Ok(()));
        // Nothing is saved up beyond the burst.
        assert_eq!(budget.try_retry(start + SECOND * 100), Ok(()));
        assert!(budget.try_retry(start + SECOND * 100).is_err());
    }
}
