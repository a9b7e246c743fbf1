//! Load with a purpose: what a server takes (`load`), where it ends and why (`stress`), how it gets
//! over a burst (`spike`), and whether it is the same after hours (`soak`).

mod html;
mod report;
mod saturation;
mod trend;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use super::connection::Peer;
use super::run::{self, LoadOptions};
use super::timeline::{Step, Timeline};
pub(crate) use html::page;
pub(crate) use report::{ProfileReport, StepReport};
use report::{Resource, Verdict};
use saturation::Figures;
use trend::{Growth, median};
use watch::{Sample, Watch};

/// Steps of `stress`, each so many times as much as the one before.
const STRESS_STEPS: u32 = 12;
const STRESS_GROWTH: f64 = 1.5;
const SPIKE: f64 = 10.0;
/// Samples that must be calm in a row after a spike.
const CALM_SAMPLES: usize = 3;
/// A shorter `soak` proves no leak: the dedup window and caches fill up meanwhile.
const SOAK_MIN: Duration = Duration::from_secs(30 * 60);

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    /// The expected load: a steady --rate, and whether it is kept up with
    Load,
    /// Ramp from --rate until something saturates, and say what
    Stress,
    /// A sudden tenfold of --rate, and how long until all is as before
    Spike,
    /// A steady --rate for hours, and whether memory, open files or disk grow
    Soak,
}

impl Profile {
    /// Events a second, and for how long, where nothing else is said.
    pub(crate) fn defaults(self) -> (f64, Duration) {
        match self {
            Self::Load => (10_000.0, Duration::from_secs(60)),
            Self::Stress => (5_000.0, Duration::from_secs(120)),
            Self::Spike => (5_000.0, Duration::from_secs(90)),
            Self::Soak => (10_000.0, Duration::from_secs(3600)),
        }
    }

    fn steps(self, rate: f64, duration: Duration) -> Vec<Step> {
        let step = |lasts, rate| Step { lasts, rate };
        match self {
            Self::Load | Self::Soak => vec![step(duration, rate)],
            Self::Stress => (0..STRESS_STEPS)
                .map(|i| step(duration / STRESS_STEPS, rate * STRESS_GROWTH.powi(i as i32)))
                .collect(),
            Self::Spike => vec![
                step(duration / 3, rate),
                step(duration / 6, SPIKE * rate),
                step(duration / 2, rate),
            ],
        }
    }
}

/// Runs a profile to its end.
pub(crate) fn run(
    profile: Profile,
    mut options: LoadOptions,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> anyhow::Result<ProfileReport> {
    let (rate, duration) = profile.defaults();
    let duration = options.duration.take().unwrap_or(duration);
    let steps = profile.steps(options.rate.unwrap_or(rate), duration);
    let timeline = Arc::new(Timeline::default());
    let mut watch = Watch::new(&Peer::new(&options.client)?)?;
    options.rate = None;
    options.steps = steps.clone();
    options.timeline = Some(timeline.clone());
    let sending = std::thread::spawn(move || run::run(options, progress));
    let interval = (duration / 240).clamp(Duration::from_millis(100), Duration::from_secs(30));
    let mut samples: Vec<Sample> = Vec::new();
    let mut judged: Vec<StepReport> = Vec::new();
    while !timeline.is_over() && !sending.is_finished() {
        std::thread::sleep(interval);
        // Looks before the start leave their counters for the first rate.
        let sample = watch.look(&timeline);
        if sample.seconds == 0.0 {
            continue;
        }
        samples.push(sample);
        judge_steps(profile, &steps, &samples, &mut judged, false);
        if profile == Profile::Stress && judged.last().is_some_and(|step| step.saturated.is_some())
        {
            timeline.stop();
        }
    }
    if !timeline.is_stopped() {
        judge_steps(profile, &steps, &samples, &mut judged, true);
    }
    let result = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let verdict = verdict(profile, &samples, &judged, duration);
    Ok(ProfileReport { profile, verdict, steps: judged, samples, run: result })
}

/// Adds the steps that are over. The last request is answered a little before the end of the last one,
/// or after it.
fn judge_steps(
    profile: Profile,
    steps: &[Step],
    samples: &[Sample],
    judged: &mut Vec<StepReport>,
    is_over: bool,
) {
    let Some(latest) = samples.last() else { return };
    while let Some(step) = steps.get(judged.len()) {
        let start = judged.last().map_or(0.0, |before| before.end);
        let end = start + step.lasts.as_secs_f64();
        if latest.seconds < end && !is_over || latest.seconds <= start {
            return;
        }
        // A sample tells of the time before it.
        let within = samples.iter().filter(|s| s.seconds > start && s.seconds <= end);
        let within: Vec<Sample> = within.copied().collect();
        let figures = figures(&within, step.rate);
        let first = judged.first().map_or(&figures, |first| &first.figures);
        let saturated = match profile {
            Profile::Spike | Profile::Soak => None,
            Profile::Load | Profile::Stress => saturation::find(&figures, first),
        };
        judged.push(StepReport { start, end, figures, saturated });
    }
}

/// Medians over the samples of a step.
fn figures(samples: &[Sample], rate: f64) -> Figures {
    let median_of = |pick: fn(&Sample) -> Option<f64>| {
        let values: Vec<f64> = samples.iter().filter_map(pick).collect();
        (!values.is_empty()).then(|| median(values))
    };
    let mean = |pick: fn(&Sample) -> f64| {
        samples.iter().map(pick).sum::<f64>() / (samples.len().max(1)) as f64
    };
    let lags: Vec<(f64, f64)> =
        samples.iter().filter_map(|s| Some((s.seconds, s.lag_events?))).collect();
    Figures {
        offered: rate,
        answered: mean(|s| s.answered),
        p99_ms: median_of(|s| s.p99_ms).unwrap_or(0.0),
        refused: mean(|s| s.refused),
        lag_growth: trend::theil_sen(&lags).map_or(0.0, |trend| trend.slope.max(0.0)),
        generator_cores: median_of(|s| s.generator_cores),
        server_cores: median_of(|s| s.server_cores),
        cores: median_of(|s| s.cores),
        disk_wait: median_of(|s| s.disk_wait),
        processor_wait: median_of(|s| s.processor_wait),
        queue_fill: median_of(|s| s.queue_fill),
        is_limited: samples.iter().any(|s| s.is_limited),
    }
}

fn verdict(
    profile: Profile,
    samples: &[Sample],
    steps: &[StepReport],
    duration: Duration,
) -> Verdict {
    match profile {
        Profile::Load => {
            let saturated = steps.first().and_then(|step| step.saturated.clone());
            Verdict::Load { kept_up: !steps.is_empty() && saturated.is_none(), saturated }
        }
        Profile::Stress => {
            let calm = steps.iter().filter(|step| step.saturated.is_none());
            let sustained = calm.map(|step| step.figures.answered).fold(0.0, f64::max);
            let over = steps.iter().find(|step| step.saturated.is_some());
            Verdict::Stress {
                sustained,
                offered: over.or(steps.last()).map_or(0.0, |step| step.figures.offered),
                saturated: over.and_then(|step| step.saturated.clone()),
            }
        }
        Profile::Spike => spike(samples, duration),
        Profile::Soak => soak(samples, duration),
    }
}

fn spike(samples: &[Sample], duration: Duration) -> Verdict {
    let (begins, ends) = (duration.as_secs_f64() / 3.0, duration.as_secs_f64() / 2.0);
    let calm: Vec<Sample> = samples.iter().filter(|s| s.seconds <= begins).copied().collect();
    let calm_p99_ms = median(calm.iter().filter_map(|s| s.p99_ms).collect());
    let calm_lag = calm.iter().filter_map(|s| s.lag_events).fold(0.0, f64::max);
    let rest = || samples.iter().filter(|s| s.seconds > begins);
    Verdict::Spike {
        calm_p99_ms,
        worst_p99_ms: rest().filter_map(|s| s.p99_ms).fold(0.0, f64::max),
        worst_lag_events: rest().filter_map(|s| s.lag_events).fold(0.0, f64::max),
        recovered_after_seconds: recovery(samples, ends, calm_p99_ms, calm_lag),
    }
}

/// How long after the end of a spike latency and lag are as before, and stay so for some samples.
fn recovery(samples: &[Sample], ends: f64, calm_p99_ms: f64, calm_lag: f64) -> Option<f64> {
    let slow = (2.0 * calm_p99_ms).max(calm_p99_ms + 20.0);
    let behind = (2.0 * calm_lag).max(calm_lag + 1_000.0);
    let is_calm = |s: &Sample| {
        s.p99_ms.is_some_and(|ms| ms <= slow) && s.lag_events.is_none_or(|lag| lag <= behind)
    };
    let after: Vec<&Sample> = samples.iter().filter(|s| s.seconds > ends).collect();
    let calm = after.windows(CALM_SAMPLES).find(|row| row.iter().all(|s| is_calm(s)))?;
    Some(calm[0].seconds - ends)
}

fn soak(samples: &[Sample], duration: Duration) -> Verdict {
    let resource = |name, unit, pick: fn(&Sample) -> Option<f64>| {
        let points: Vec<_> = samples.iter().filter_map(|s| Some((s.seconds, pick(s)?))).collect();
        let (growth, trend) = trend::growth(&points);
        Resource { name, unit, growth, trend }
    };
    let resources = vec![
        // The window of ids is bounded and says its size; the rest is to stay as it is.
        resource("memory without the dedup window", "bytes", |s| {
            Some(s.memory_bytes? - s.dedup_bytes.unwrap_or(0.0))
        }),
        resource("number of open files", "", |s| s.open_files),
    ];
    let disk = resource("disk", "bytes", |s| s.disk_free_bytes.map(|free| -free));
    let rate = median(samples.iter().map(|s| s.answered).collect());
    let slope = disk.trend.map(|trend| trend.slope);
    let free = samples.iter().rev().find_map(|s| s.disk_free_bytes);
    let is_long_enough = duration >= SOAK_MIN;
    Verdict::Soak {
        leaks: is_long_enough.then(|| resources.iter().any(|r| r.growth == Growth::Grows)),
        resources,
        disk_bytes_per_event: slope.filter(|_| rate > 0.0).map(|slope| slope / rate),
        disk_full_after_hours: slope
            .zip(free)
            .filter(|(slope, _)| *slope > 0.0)
            .map(|(slope, free)| free / slope / 3600.0),
    }
}

#[cfg(test)]
mod tests;
