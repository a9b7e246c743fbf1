//! `tally load`: the load generator.

mod summary;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::server::ServerArgs;
use super::{Outcome, UsageError, output};
use crate::load::{
    BodyFormat, GeneratorOptions, LoadOptions, Profile, page, run as run_load, run_profile,
};

/// Events of a run for which neither --events nor --duration is given.
const DEFAULT_EVENTS: u64 = 1_000_000;

/// Send made-up events and measure
///
/// Items, types, values and places are a function of the seed; ids and times are those of the run.
/// Without --rate the loop is closed: every connection sends its next request when the last one is
/// answered. With --rate it is open: requests are due by schedule, and latency counts from when a
/// request was due, so a slow server is not hidden by a client that waits for it.
///
/// --verify counts what was sent and compares with /v1/counts for every item and type that was
/// touched; what the server had before is taken off. Nothing else may count the same items meanwhile.
///
/// --profile runs a schedule in open loop, watches the server by its /metrics meanwhile, and ends in a
/// verdict: exit status 1 where the load was not kept up with, the spike not got over, or something leaks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally load --events 1000000 --verify\n  \
    tally load --format avro --connections 8 --duration 30s --json\n  \
    tally load --format json --batch 1 --connections 256 --duration 10s\n  \
    tally load --profile stress --report stress.html\n  \
    tally load --url https://tally.example --ca-file ca.pem --events 100000 --verify\n  \
    tally load --profile soak --rate 20000 --duration 8h --report soak.html\n  \
    tally load --rate 200000 --query-rate 100 --probe-visibility --duration 60s")]
pub(crate) struct LoadArgs {
    /// Events to send [default: 1000000, or without end when there is --duration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// How long to send, such as 90s or 15m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Events a second, by schedule (open loop) [default: as fast as answers come]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Run a schedule of --rate and --duration (which have defaults of their own), and judge it
    #[arg(long, value_enum, conflicts_with = "events")]
    profile: Option<Profile>,
    /// Also write what a profile found, with plots, as one HTML file
    #[arg(long, value_name = "FILE", requires = "profile")]
    report: Option<PathBuf>,
    /// How many different items
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// Exponent of Zipf's law; 0 is uniform
    #[arg(long, value_name = "S", default_value_t = 1.05)]
    skew: f64,
    /// Share of events that are of one item, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    hot: f64,
    /// Events in a request
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Connections, one request on each at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How events are written
    #[arg(long, value_enum, default_value_t = BodyFormat::Ndjson)]
    format: BodyFormat,
    /// Decides items, types, values and places
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Share of events that repeat a recent one exactly, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    duplicates: f64,
    /// Whether events have a country and a device
    #[arg(long, value_enum, default_value_t = Attributes::Some)]
    attributes: Attributes,
    /// Check at the end that every event was counted exactly once; a difference is exit status 1
    #[arg(long)]
    verify: bool,
    /// How long counts may take to show before the check calls them wrong
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, requires = "verify")]
    patience: Duration,
    /// Also measure how soon an acknowledged event shows in its count
    #[arg(long)]
    probe_visibility: bool,
    /// Also ask for counts of drawn items, so many a second (open loop), and measure
    #[arg(long, value_name = "N")]
    query_rate: Option<f64>,
    /// Seconds for which a request is tried again while the server is away or busy
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    retry_for: u64,
    /// Name each request by an Idempotency-Key, so that a load balancer may send it again by itself
    #[arg(long)]
    idempotency_keys: bool,
    /// Where to post, for comparison with another handler
    #[arg(long, value_name = "PATH", default_value = "/v1/events")]
    path: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Attributes {
    /// Items, types, times and values only
    None,
    /// A country and a device
    Some,
}

pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<Outcome> {
    let options = args.options()?;
    let bar = match (args.events, args.duration) {
        (None, _) if options.events == u64::MAX => ProgressBar::new_spinner(),
        _ => ProgressBar::new(options.events),
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos} events {per_sec} {eta}") {
        bar.set_style(style);
    }
    let shown = bar.clone();
    let progress = move |events| shown.set_position(events);
    if let Some(profile) = args.profile {
        let report = run_profile(profile, options, progress)?;
        bar.finish_and_clear();
        if let Some(file) = &args.report {
            std::fs::write(file, page(&report))
                .with_context(|| format!("cannot write the report {}", file.display()))?;
        }
        output::print(&match args.json {
            true => serde_json::to_string(&report)?,
            false => summary::summary(&report),
        })?;
        return Ok(if report.is_good() { Outcome::Good } else { Outcome::Failed });
    }
    let report = run_load(options, progress)?;
    bar.finish_and_clear();
    if args.json {
        output::print(&serde_json::to_string(&report)?)?;
    } else {
        output::print(&report.to_string())?;
    }
    let is_exact = report.verification.as_ref().is_none_or(|found| found.is_exact());
    Ok(if is_exact && report.stopped_by.is_none() { Outcome::Good } else { Outcome::Failed })
}

impl LoadArgs {
    fn options(&self) -> anyhow::Result<LoadOptions> {
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value.is_finite()) => {
                Err(UsageError(format!("--{name} {value}: it must be above 0")))
            }
            _ => Ok(()),
        };
        positive("rate", self.rate)?;
        positive("query-rate", self.query_rate)?;
        if !(0.0..=10.0).contains(&self.skew) {
            return Err(UsageError(format!("--skew {}: from 0 to 10", self.skew)).into());
        }
        if !(0.0..=1.0).contains(&self.duplicates) {
            return Err(UsageError(format!("--duplicates {}: from 0 to 1", self.duplicates)).into());
        }
        if !(0.0..=1.0).contains(&self.hot) {
            return Err(UsageError(format!("--hot {}: from 0 to 1", self.hot)).into());
        }
        let endless = if self.duration.is_some() || self.profile.is_some() {
            u64::MAX
        } else {
            DEFAULT_EVENTS
        };
        let generator = GeneratorOptions {
            seed: self.seed,
            items: self.items,
            skew: self.skew,
            hot: self.hot,
            duplicates: self.duplicates,
            attributes: self.attributes == Attributes::Some,
            format: self.format,
            track: self.verify,
            started_ms: wall_clock_ms(),
        };
        Ok(LoadOptions {
            client: self.server.client()?,
            path: self.path.clone(),
            has_keys: self.idempotency_keys,
            generator,
            batch: self.batch,
            connections: self.connections,
            rate: self.rate,
            steps: Vec::new(),
            timeline: None,
            events: self.events.unwrap_or(endless),
            duration: self.duration,
            verify: self.verify,
            probe_visibility: self.probe_visibility,
            query_rate: self.query_rate,
            retry_for: Duration::from_secs(self.retry_for),
            patience: self.patience,
        })
    }
}

/// The one reading of a run: events carry the time at which they are made.
#[expect(clippy::disallowed_methods, reason = "a client has no clock port; events happen now")]
pub(super) fn wall_clock_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// `90s`, `15m`, `24h`, `7d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write it like 90s, 15m, 24h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|&s| s > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "s", "90", "1.5h", "-1s", "0s", "9ä", "99999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
