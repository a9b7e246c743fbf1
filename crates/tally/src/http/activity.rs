//! `GET /v1/admin/activity`: what came in during the last ten minutes, for whoever begins to look
//! now and has no Prometheus to ask.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::{ActivityAnswer, ActivitySample};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use model::TimestampMs;
use parking_lot::Mutex;

use super::Routes;
use super::params::Params;
use super::problem::{Failure, json};

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(2);
/// Ten minutes, and the sample they begin with.
const KEPT: usize = 301;

/// Adds the paths of this resource.
pub(super) fn routes(routes: Routes, activity: &Arc<Activity>) -> Routes {
    routes.add("/v1/admin/activity", &["GET"], get(list).with_state(activity.clone()))
}

/// How it stood at a time; the counters are since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) time: TimestampMs,
    pub(super) accepted: u64,
    pub(super) lag_events: u64,
}

/// The newest samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct Activity {
    samples: Mutex<VecDeque<Sample>>,
}

impl Activity {
    /// Begins to take samples, and goes on until nobody can ask for them any more.
    pub(super) fn start(read: impl Fn() -> Sample + Send + 'static) -> Arc<Self> {
        let activity = Arc::new(Self::default());
        tokio::spawn(sample(Arc::downgrade(&activity), read));
        activity
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn answer(&self) -> ActivityAnswer {
        let samples = self.samples.lock();
        let samples = samples.iter().map(|sample| ActivitySample {
            time: sample.time.to_string(),
            accepted: sample.accepted,
            lag_events: sample.lag_events,
        });
        ActivityAnswer { samples: samples.collect() }
    }
}

async fn sample(activity: Weak<Activity>, read: impl Fn() -> Sample) {
    let mut ticks = tokio::time::interval(EVERY);
    // After a standstill there is one sample, not one for every missed tick.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(activity) = activity.upgrade() else { return };
        activity.push(read());
    }
}

async fn list(
    State(activity): State<Arc<Activity>>,
    RawQuery(params): RawQuery,
) -> Result<Response, Failure> {
    Params::of(params.as_deref(), &[])?;
    Ok(json(StatusCode::OK, &activity.answer()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ten_minutes_are_kept_oldest_first() {
        let activity = Activity::default();
        for n in 0..1_000 {
            activity.push(Sample { time: TimestampMs(n * 2_000), accepted: 5, lag_events: 1 });
        }
        let samples = activity.answer().samples;
        assert_eq!(samples.len(), 301);
        assert_eq!(samples[0].time, "1970-01-01T00:23:18Z");
        assert_eq!(samples[300].time, "1970-01-01T00:33:18Z");
    }

    #[tokio::test]
    async fn samples_are_taken_until_nobody_can_ask() {
        let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let activity = Activity::start(move || {
            let _ = told.send(());
            Sample { time: TimestampMs(0), accepted: 7, lag_events: 0 }
        });
        taken.recv().await.expect("a sample at once");
        drop(activity);
        assert_eq!(taken.recv().await, None, "the task has ended");
    }
}
