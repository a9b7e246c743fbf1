//! The circuit breaker of an endpoint: it stops sending where sending has failed, and finds out
//! carefully when to begin again. Plain state that is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerOptions {
    /// So many failures in a row open a closed breaker.
    pub failures: u32,
    /// So many successes in a row close a half-open one.
    pub successes: u32,
    /// How long it stays open the first time; twice as long each time that a trial fails.
    pub open_for: Duration,
    /// The longest that it stays open.
    pub open_for_most: Duration,
}

impl Default for BreakerOptions {
    /// 5 failures open it for 1 s, then 2 s, 4 s and so on up to 30 s; 2 successes close it.
    fn default() -> Self {
        Self {
            failures: 5,
            successes: 2,
            open_for: Duration::from_secs(1),
            open_for_most: Duration::from_secs(30),
        }
    }
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One request at a time, to see how it fares.
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { successes: u32, is_trying: bool },
}

/// A breaker. Each request that [`Breaker::try_acquire`] lets through ends in one call of
/// [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::given_up`].
#[derive(Clone, Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: State,
    open_for: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { failures: 0 }, open_for: options.open_for }
    }

    /// What it lets through now.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a request may be sent now.
    ///
    /// # Errors
    /// Where none may: from when on one may, or none where the end of a trial decides that.
    pub fn check(&self, now: Instant) -> Result<(), Option<Instant>> {
        match self.state {
            State::Open { until } if now < until => Err(Some(until)),
            State::HalfOpen { is_trying: true, .. } => Err(None),
            _ => Ok(()),
        }
    }

    /// Takes the right to send a request now, as [`Breaker::check`] says.
    pub fn try_acquire(&mut self, now: Instant) -> bool {
        if self.check(now).is_err() {
            return false;
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => self.state = State::HalfOpen { successes: 0, is_trying: true },
            State::HalfOpen { is_trying, .. } => *is_trying = true,
        }
        true
    }

    /// A request was answered by a server that works, whatever the answer says.
    pub fn succeeded(&mut self) {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            // A request from before it opened: the trial decides, not the straggler.
            State::Open { .. } => {}
            State::HalfOpen { successes, is_trying } => {
                (*successes, *is_trying) = (*successes + 1, false);
                if *successes >= self.options.successes {
                    self.state = State::Closed { failures: 0 };
                    self.open_for = self.options.open_for;
                }
            }
        }
    }

    /// A request failed: no connection, no answer in time, or one that says that the server does
    /// not work.
    pub fn failed(&mut self, now: Instant) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= self.options.failures {
                    self.state = State::Open { until: now + self.open_for };
                }
            }
            State::Open { .. } => {}
            State::HalfOpen { .. } => {
                self.open_for = (self.open_for * 2).min(self.options.open_for_most);
                self.state = State::Open { until: now + self.open_for };
            }
        }
    }

    /// A request was not sent after all, or nobody waited for its end: it says nothing.
    pub fn given_up(&mut self) {
        if let State::HalfOpen { is_trying, .. } = &mut self.state {
            *is_trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::new(BreakerOptions::default());
        for _ in 0..5 {
            assert!(breaker.try_acquire(start));
            breaker.failed(start);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_begins_anew() {
        let start = Instant::now();
        let mut breaker = Breaker::new(BreakerOptions::default());
        for _ in 0..4 {
            breaker.failed(start);
        }
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(start);
        }
        assert_eq!(breaker.state(start), BreakerState::Closed);
        breaker.failed(start);
        assert_eq!(breaker.state(start), BreakerState::Open);
        assert_eq!(breaker.check(start), Err(Some(start + SECOND)));
        assert!(!breaker.try_acquire(start + SECOND / 2));
        // Stragglers change nothing.
        breaker.succeeded();
        breaker.failed(start + SECOND / 2);
        assert_eq!(breaker.check(start), Err(Some(start + SECOND)));
    }

    #[test]
    fn half_open_lets_one_at_a_time_through_and_two_successes_close_it() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let later = start + SECOND;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert!(breaker.try_acquire(later));
        assert!(!breaker.try_acquire(later), "one is under way");
        assert_eq!(breaker.check(later), Err(None));
        breaker.succeeded();
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert!(breaker.try_acquire(later));
        breaker.given_up();
        assert!(breaker.try_acquire(later), "what was given up is no trial");
        breaker.succeeded();
        assert_eq!(breaker.state(later), BreakerState::Closed);
        assert!(breaker.try_acquire(later) && breaker.try_acquire(later));
    }

    #[test]
    fn each_trial_that_fails_doubles_the_wait_up_to_the_most() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let Err(Some(until)) = breaker.check(now) else { panic!("it is open") };
            waits.push((until - now).as_secs());
            now = until;
            assert!(breaker.try_acquire(now));
            breaker.failed(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        // After it has closed the first wait is short again.
        now += SECOND * 30;
        for _ in 0..2 {
            assert!(breaker.try_acquire(now));
            breaker.succeeded();
        }
        for _ in 0..5 {
            breaker.failed(now);
        }
        assert_eq!(breaker.check(now), Err(Some(now + SECOND)));
    }
}
