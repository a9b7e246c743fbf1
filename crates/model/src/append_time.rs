//! Append time: the log's own clock. It never goes back, whatever the wall clock does.

use crate::bucket::TimestampMs;

/// How far the wall clock may be off from what the monotonic clock implies before the node says
/// that it is not ready: beyond this it was set, and somebody should know.
pub const IMPLAUSIBLE_JUMP_MS: i64 = 10 * 60_000;

/// What the clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Wall clock.
    pub wall: TimestampMs,
    /// Milliseconds that have passed since some fixed moment, sleep included; never goes back.
    pub monotonic_ms: i64,
}

/// The wall clock cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock is {off_ms} ms off from where it should be; set it right")]
pub struct ImplausibleClock {
    /// Wall clock minus append time.
    pub off_ms: i64,
}

/// A running maximum, advanced by the monotonic clock and slewed to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct AppendClock {
    /// Half milliseconds, so that half speed is exact however often the time is asked for.
    time_halves: i64,
    monotonic_ms: i64,
    /// Whether the log was implausibly far ahead of the wall clock at start and still is: then time
    /// stands still, or the wall clock would never catch up.
    is_waiting: bool,
}

impl AppendClock {
    /// Starts after the newest append time found in the log. The node was away for a time that no
    /// clock measured, so a wall clock ahead of the log is believed, however far.
    pub fn start(newest: TimestampMs, now: ClockReading) -> Self {
        // What is stored may say anything: a time beyond all clocks is one that is waited for.
        let is_waiting = newest.0.saturating_sub(now.wall.0) > IMPLAUSIBLE_JUMP_MS;
        let time_halves = newest.max(now.wall).0.saturating_mul(2);
        Self { time_halves, monotonic_ms: now.monotonic_ms, is_waiting }
    }

    /// The append time of what is appended now.
    ///
    /// # Errors
    /// When the wall clock has jumped, in either direction, further than is plausible; the time
    /// goes on by the monotonic clock meanwhile. When the log was that far ahead at start; the time
    /// stands still until the wall clock has caught up.
    pub fn now(&mut self, reading: ClockReading) -> Result<TimestampMs, ImplausibleClock> {
        if self.is_waiting {
            self.monotonic_ms = self.monotonic_ms.max(reading.monotonic_ms);
            let off_ms = reading.wall.0 - self.time_halves / 2;
            self.is_waiting = off_ms < -IMPLAUSIBLE_JUMP_MS;
            if self.is_waiting {
                return Err(ImplausibleClock { off_ms });
            }
        }
        let passed = (reading.monotonic_ms - self.monotonic_ms).max(0);
        self.monotonic_ms = self.monotonic_ms.max(reading.monotonic_ms);
        let off_halves = 2 * (reading.wall.0 - passed) - self.time_halves;
        let off_ms = off_halves / 2;
        // Slew: at most twice as fast, or half as fast, as time passes.
        let slew = if off_ms.abs() > IMPLAUSIBLE_JUMP_MS {
            0
        } else {
            off_halves.clamp(-passed, 2 * passed)
        };
        self.time_halves += 2 * passed + slew;
        if off_ms.abs() > IMPLAUSIBLE_JUMP_MS {
            return Err(ImplausibleClock { off_ms });
        }
        Ok(TimestampMs(self.time_halves / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(wall: i64, monotonic_ms: i64) -> ClockReading {
        ClockReading { wall: TimestampMs(wall), monotonic_ms }
    }

    #[test]
    fn follows_the_wall_clock() {
        let mut clock = AppendClock::start(TimestampMs(0), at(1_000_000, 0));
        assert_eq!(clock.now(at(1_000_500, 500)), Ok(TimestampMs(1_000_500)));
        assert_eq!(clock.now(at(1_060_000, 60_000)), Ok(TimestampMs(1_060_000)));
    }

    #[test]
    fn slews_small_steps_and_refuses_jumps() {
        let mut clock = AppendClock::start(TimestampMs(0), at(1_000_000, 0));
        assert_eq!(clock.now(at(1_005_000, 1_000)), Ok(TimestampMs(1_002_000)));
        assert_eq!(clock.now(at(1_006_000, 2_000)), Ok(TimestampMs(1_004_000)));
        assert_eq!(clock.now(at(1_000_000, 4_000)), Ok(TimestampMs(1_005_000)));
        let later = 1_000_000 + IMPLAUSIBLE_JUMP_MS + 60_000;
        assert!(clock.now(at(later, 5_000)).is_err());
        assert!(clock.now(at(0, 6_000)).is_err());
        assert_eq!(clock.now(at(1_007_000, 6_000)), Ok(TimestampMs(1_007_000)));
    }

    #[test]
    fn a_restart_after_the_clock_was_set_back_waits_for_it() {
        let mut clock = AppendClock::start(TimestampMs(50_000), at(20_000, 0));
        assert_eq!(clock.now(at(30_000, 10_000)), Ok(TimestampMs(55_000)));
    }

    #[test]
    fn a_restart_on_a_log_far_ahead_is_ready_once_the_clock_has_caught_up() {
        let ahead = TimestampMs(30 * 60_000);
        let mut clock = AppendClock::start(ahead, at(0, 0));
        for minute in 1..20 {
            assert!(clock.now(at(minute * 60_000, minute * 60_000)).is_err(), "minute {minute}");
        }
        assert_eq!(clock.now(at(20 * 60_000, 20 * 60_000)), Ok(ahead));
        let next = at(20 * 60_000 + 1_000, 20 * 60_000 + 1_000);
        assert_eq!(clock.now(next), Ok(TimestampMs(ahead.0 + 500)));
    }

    #[test]
    fn a_log_beyond_all_times_is_waited_for() {
        for newest in [i64::MAX, i64::MAX / 2 + 1] {
            let mut clock = AppendClock::start(TimestampMs(newest), at(0, 0));
            assert!(clock.now(at(60_000, 60_000)).is_err());
        }
        let mut clock = AppendClock::start(TimestampMs(i64::MIN), at(60_000, 0));
        assert_eq!(clock.now(at(60_000, 0)), Ok(TimestampMs(60_000)));
    }

    #[test]
    fn slows_down_however_often_it_is_asked() {
        let mut clock = AppendClock::start(TimestampMs(0), at(1_010_000, 0));
        let mut time = TimestampMs(0);
        for passed in 1..=20_000 {
            time = clock.now(at(1_000_000 + passed, passed)).expect("ten seconds are plausible");
        }
        assert_eq!(time, TimestampMs(1_020_000), "the wall clock has caught up");
    }

    proptest! {
        #[test]
        fn never_goes_back(readings in proptest::collection::vec((0i64..10_000_000, 0i64..100_000), 1..50)) {
            let mut clock = AppendClock::start(TimestampMs(5_000_000), at(5_000_000, 0));
            let (mut monotonic_ms, mut newest) = (0, TimestampMs(0));
            for (wall, passed) in readings {
                monotonic_ms += passed;
                if let Ok(time) = clock.now(at(wall, monotonic_ms)) {
                    prop_assert!(time >= newest);
                    newest = time;
                }
            }
        }
    }
}
