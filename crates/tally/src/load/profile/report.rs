//! What a profile found, for people at a terminal and as JSON.

use std::fmt;

use serde::Serialize;

use super::Profile;
use super::saturation::{Figures, Saturated};
use super::trend::{Growth, Trend};
use super::watch::Sample;
use crate::load::report::LoadReport;

/// The result of a profile.
#[derive(Debug, Serialize)]
pub(crate) struct ProfileReport {
    pub(crate) profile: Profile,
    pub(crate) verdict: Verdict,
    pub(crate) steps: Vec<StepReport>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) run: LoadReport,
}

/// A step of the schedule that is over.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    /// Seconds since the start of the run.
    pub(crate) start: f64,
    pub(crate) end: f64,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) saturated: Option<Saturated>,
}

/// Something that is used, and whether it grows.
#[derive(Debug, Serialize)]
pub(crate) struct Resource {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) growth: Growth,
    #[serde(flatten)]
    pub(crate) trend: Option<Trend>,
}

/// The answer to what the profile asks.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Verdict {
    Load {
        kept_up: bool,
        saturated: Option<Saturated>,
    },
    Stress {
        /// The highest rate that a step without saturation had, in events a second.
        sustained: f64,
        /// The rate of the step that was too much, or of the last.
        offered: f64,
        saturated: Option<Saturated>,
    },
    Spike {
        calm_p99_ms: f64,
        worst_p99_ms: f64,
        worst_lag_events: f64,
        /// None: not by the end of the run.
        recovered_after_seconds: Option<f64>,
    },
    Soak {
        /// None where the run was too short to tell.
        leaks: Option<bool>,
        resources: Vec<Resource>,
        disk_bytes_per_event: Option<f64>,
        disk_full_after_hours: Option<f64>,
    },
}

impl ProfileReport {
    /// Whether the run is what its profile asks for, exact where that was checked.
    pub(crate) fn is_good(&self) -> bool {
        let is_exact = self.run.verification.as_ref().is_none_or(|found| found.is_exact());
        let holds = match &self.verdict {
            Verdict::Load { kept_up, .. } => *kept_up,
            Verdict::Stress { .. } => true,
            Verdict::Spike { recovered_after_seconds, .. } => recovered_after_seconds.is_some(),
            Verdict::Soak { leaks, .. } => *leaks != Some(true),
        };
        holds && is_exact && self.run.stopped_by.is_none()
    }

    /// What is drawn, in the terminal and in the report: a title, a unit, and series by name.
    pub(crate) fn charts(&self) -> Vec<Chart> {
        let series = |name, pick: fn(&Sample) -> Option<f64>| {
            (name, self.samples.iter().map(|s| (s.seconds, pick(s))).collect())
        };
        let chart = |title, unit, series| Chart { title, unit, series };
        vec![
            chart(
                "Events a second",
                "",
                vec![series("due", |s| Some(s.offered)), series("answered", |s| Some(s.answered))],
            ),
            chart(
                "Latency of a request, from when it was due",
                "ms",
                vec![series("p50", |s| s.p50_ms), series("p99", |s| s.p99_ms)],
            ),
            chart("Accepted and not counted yet", "events", vec![series("lag", |s| s.lag_events)]),
            chart(
                "Processors in use",
                "",
                vec![
                    series("server", |s| s.server_cores),
                    series("generator", |s| s.generator_cores),
                ],
            ),
            chart(
                "Time in which something waited",
                "%",
                vec![
                    series("for a disk", |s| s.disk_wait.map(|share| share * 100.0)),
                    series("for a core", |s| s.processor_wait.map(|share| share * 100.0)),
                ],
            ),
            chart(
                "Memory of the server",
                "MiB",
                vec![
                    series("resident", |s| s.memory_bytes.map(|n| n / f64::from(1 << 20))),
                    series("dedup window", |s| s.dedup_bytes.map(|n| n / f64::from(1 << 20))),
                ],
            ),
            chart("Open files of the server", "", vec![series("files", |s| s.open_files)]),
            chart(
                "Room on the disk",
                "GiB",
                vec![series("free", |s| s.disk_free_bytes.map(|n| n / f64::from(1 << 30)))],
            ),
        ]
    }
}

/// Values over time, which may have gaps.
pub(crate) type Points = Vec<(f64, Option<f64>)>;

/// Something to draw.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) series: Vec<(&'static str, Points)>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, growth, trend: Some(trend) } = self else {
            return write!(f, "{}: not known", self.name);
        };
        let (scale, unit) = match *unit {
            "bytes" => (f64::from(1 << 20), " MiB"),
            unit => (1.0, unit),
        };
        let verb = if *growth == Growth::Grows { "grows by" } else { "is steady," };
        let (slope, level) = (trend.slope * 3600.0 / scale, trend.level / scale);
        write!(f, "{name} {verb} {slope:+.1}{unit} an hour at {level:.0}{unit}")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { saturated: Some(found), .. } => {
                write!(f, "NOT kept up: {}", found.because)
            }
            Self::Load { kept_up: true, .. } => f.write_str("kept up"),
            Self::Load { .. } => f.write_str("NOT judged: the run ended too early"),
            Self::Stress { sustained, offered, saturated: Some(found) } => write!(
                f,
                "{} gave way at {offered:.0} events/s, {sustained:.0}/s were sustained: {}",
                found.component, found.because
            ),
            Self::Stress { sustained, offered, .. } => write!(
                f,
                "nothing gave way up to {offered:.0} events/s ({sustained:.0}/s answered): raise --rate"
            ),
            Self::Spike {
                calm_p99_ms,
                worst_p99_ms,
                worst_lag_events,
                recovered_after_seconds,
            } => {
                match recovered_after_seconds {
                    Some(seconds) => write!(f, "as before {seconds:.1} s after the spike")?,
                    None => f.write_str("NOT as before by the end of the run")?,
                }
                write!(
                    f,
                    " (p99 {calm_p99_ms:.1} ms before, {worst_p99_ms:.1} ms at worst; at most \
                     {worst_lag_events:.0} events behind)"
                )
            }
            Self::Soak { leaks, resources, disk_bytes_per_event, disk_full_after_hours } => {
                f.write_str(match leaks {
                    Some(true) => "a LEAK",
                    Some(false) => "no leak",
                    None => "too short to tell a leak from what fills up first (30m at least)",
                })?;
                if leaks.is_none() {
                    return Ok(());
                }
                for resource in resources {
                    write!(f, "; {resource}")?;
                }
                if let Some(bytes) = disk_bytes_per_event {
                    write!(f, "; disk: {bytes:.0} bytes an event")?;
                }
                match disk_full_after_hours {
                    Some(hours) => write!(f, ", full in {hours:.0} hours at this rate"),
                    None => Ok(()),
                }
            }
        }
    }
}
