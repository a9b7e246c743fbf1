//! What a run does while it runs: shared between those who send and the one who watches, who may
//! also end it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::report::Latencies;

/// A part of a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) lasts: Duration,
    /// Events a second.
    pub(crate) rate: f64,
}

/// When the requests of a schedule are due, from its start.
pub(super) fn due_times(steps: Vec<Step>, batch: u32) -> impl Iterator<Item = Duration> {
    let starts = steps.into_iter().scan(Duration::ZERO, |next, step| {
        let start = *next;
        *next = next.saturating_add(step.lasts);
        Some((start, step))
    });
    starts.flat_map(move |(start, step)| {
        let interval = f64::from(batch) / step.rate;
        (0_u64..)
            .map_while(move |i| Duration::try_from_secs_f64(i as f64 * interval).ok())
            .take_while(move |after| *after < step.lasts)
            .map(move |after| start + after)
    })
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    started: OnceLock<Instant>,
    is_stopped: AtomicBool,
    is_over: AtomicBool,
    offered: AtomicU64,
    refused: AtomicU64,
    is_limited: AtomicBool,
    answered: Mutex<Answered>,
}

#[derive(Debug)]
struct Answered {
    events: u64,
    latencies: Latencies,
}

impl Default for Answered {
    fn default() -> Self {
        Self { events: 0, latencies: Latencies::new() }
    }
}

/// What happened since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    /// Events that were due.
    pub(super) offered: u64,
    pub(super) answered: u64,
    /// Attempts that were to be made again.
    pub(super) refused: u64,
    /// Whether one of them was beyond a limit of rate.
    pub(super) is_limited: bool,
    /// Milliseconds; none where nothing was answered.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

impl Timeline {
    pub(super) fn begin(&self, at: Instant) {
        self.started.get_or_init(|| at);
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Nothing new is sent from now on.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// How long the run has been sending; none before.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        self.started.get().map(Instant::elapsed)
    }

    pub(super) fn offer(&self, events: u64) {
        self.offered.fetch_add(events, Ordering::Relaxed);
    }

    /// An attempt is to be made again, because of this code.
    pub(super) fn refuse(&self, code: &str) {
        if code == "429" || code.starts_with("rate") || code.starts_with("too_many_requests") {
            self.is_limited.store(true, Ordering::Relaxed);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer(&self, events: u64, latency: Duration) {
        let answered = &mut *self.answered.lock();
        answered.events += events;
        answered.latencies.record(latency);
    }

    /// What happened since the last call.
    pub(super) fn take(&self) -> Interval {
        let Answered { events, latencies } = std::mem::take(&mut *self.answered.lock());
        let percentiles = latencies.percentiles();
        let known = percentiles.samples > 0;
        Interval {
            offered: self.offered.swap(0, Ordering::Relaxed),
            answered: events,
            refused: self.refused.swap(0, Ordering::Relaxed),
            is_limited: self.is_limited.swap(false, Ordering::Relaxed),
            p50_ms: known.then_some(percentiles.p50),
            p99_ms: known.then_some(percentiles.p99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_goes_step_by_step() {
        let step = |seconds, rate| Step { lasts: Duration::from_secs(seconds), rate };
        let due: Vec<f64> = due_times(vec![step(1, 20.0), step(1, 40.0), step(1, 5.0)], 10)
            .map(|due| due.as_secs_f64())
            .collect();
        assert_eq!(due, [0.0, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0]);
        let endless = due_times(vec![Step { lasts: Duration::MAX, rate: 10.0 }], 10);
        assert_eq!(endless.take(3).last(), Some(Duration::from_secs(2)));
        // So slow that the second is never due.
        assert_eq!(due_times(vec![step(9, 1e-300)], 10).count(), 1);
    }

    #[test]
    fn an_interval_holds_what_came_since_the_last() {
        let timeline = Timeline::default();
        timeline.offer(30);
        timeline.answer(20, Duration::from_millis(4));
        timeline.refuse("rate_limited");
        let first = timeline.take();
        assert_eq!((first.offered, first.answered, first.refused), (30, 20, 1));
        assert!(first.is_limited);
        assert!(first.p99_ms.is_some_and(|ms| (3.9..4.1).contains(&ms)));
        let second = timeline.take();
        assert_eq!((second.offered, second.answered, second.p99_ms), (0, 0, None));
        assert!(!second.is_limited);
    }
}
