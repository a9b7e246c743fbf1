//! Simulated time: it passes when the scheduler says so, and its wall clock can be set wrong.

use std::sync::atomic::{AtomicI64, Ordering};

use engine::ports::Clock;
use model::TimestampMs;
use model::append_time::ClockReading;

/// When every simulation begins, in ms since 1970: soon after midnight, so that events are of two days.
pub(crate) const BEGIN_MS: i64 = 1_795_221_600_000;

/// The clocks of the simulated machine.
#[derive(Debug, Default)]
pub(crate) struct SimClock {
    passed_ms: AtomicI64,
    wall_off_ms: AtomicI64,
}

impl SimClock {
    /// Lets time pass.
    pub(crate) fn pass(&self, ms: i64) {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets how far the wall clock is off the true time, in milliseconds.
    pub(crate) fn set_wall_off(&self, ms: i64) {
        self.wall_off_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> ClockReading {
        let passed = self.passed_ms.load(Ordering::Relaxed);
        let off = self.wall_off_ms.load(Ordering::Relaxed);
        ClockReading { wall: TimestampMs(BEGIN_MS + passed + off), monotonic_ms: passed }
    }
}
