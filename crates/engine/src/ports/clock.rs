//! Time, as the engine sees it. The only way to it.

use model::append_time::ClockReading;

/// Wall clock and monotonic clock.
pub trait Clock: Send + Sync {
    /// Both clocks at this moment.
    fn now(&self) -> ClockReading;
}
