//! A soak: the server under a steady rate for half an hour, with retention so short that it is reached early. What
//! it uses is looked at all the while, drawn, and judged: after the first half nothing may grow any more.

mod judge;
mod look;
mod plot;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Bench;
use crate::load::{flags, number, run as load, run_while};
use crate::scenarios::{BATCHES, Findings};
use crate::server::Server;
use judge::{Verdict, flat, median};
use look::{Look, look};
use plot::Plot;

/// Few items: the rows of an hour get a cell a minute until it is over, so that those of 100,000 items alone take
/// 9 MiB more a minute, and nothing that lasts for half an hour would be flat.
const ITEMS: &str = "--items 10000";
/// An accepted event shows within a second, as is promised of one machine.
const VISIBLE_MAX_MS: f64 = 1_000.0;
/// Most that what is used may grow over the second half, as a share of what it is then.
const GROWTH_MAX: f64 = 0.05;
/// What is sent is sent on time: the median rate is so much of the wanted one at least.
const RATE_MIN: f64 = 0.98;

/// How a soak runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soak {
    /// For how long.
    pub(crate) minutes: f64,
    /// Events a second; none is half of what the machine can do, which is measured first.
    pub(crate) rate: Option<u64>,
}

impl Soak {
    /// Time between two looks: often enough that a short trial has some.
    fn every(self) -> Duration {
        Duration::from_secs_f64((self.minutes * 60.0 / 40.0).clamp(1.0, 10.0))
    }

    /// What is kept for so long only is let go many times before the second half.
    fn log_retention(self) -> String {
        format!("{:.0}s", (self.minutes * 60.0 / 12.0).clamp(20.0, 180.0))
    }
}

/// The scenario; plots go into the folder.
pub(crate) fn run(bench: &Bench, soak: Soak, folder: &Path) -> Result<Findings> {
    let (rate, peak) = match soak.rate {
        Some(rate) => (rate, None),
        None => {
            let peak = measured_peak(bench)?;
            ((peak / 2.0) as u64, Some(peak))
        }
    };
    let retention = soak.log_retention();
    let settings = format!(
        "--log-retention {retention} --raw-retention {retention} --retention-minute 10m \
         --retention-hour 1d --max-event-age 10m --dedup-window 1m --segment-bytes 16MiB"
    );
    let settings = flags(&settings);
    let server_flags: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::tally(&bench.program, &bench.scratch, &server_flags)?;
    let seconds = soak.minutes * 60.0;
    let load_flags =
        flags(&format!("{BATCHES} {ITEMS} --rate {rate} --duration {seconds:.0}s --verify"));
    eprintln!("{rate} events/s for {} minutes …", soak.minutes);
    // Questions are answered from now on.
    server.wait_until_counted()?;
    let is_over = AtomicBool::new(false);
    let (report, looks) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| look(&server, soak.every(), &is_over));
        let is_looked_at = || !looking.is_finished();
        let report = run_while(&bench.program, &server.url, &load_flags, is_looked_at);
        is_over.store(true, Ordering::Relaxed);
        (report, looking.join())
    });
    // Where looking failed the load was ended.
    let looks = looks.map_err(|_| anyhow::anyhow!("looking panicked"))??;
    let report = report?;
    server.stop()?;
    ensure!(report["rejected"] == 0, "events were refused: {report}");
    // What is counted after the last event was sent is no load any more.
    let looks: Vec<Look> = looks.into_iter().filter(|look| look.at_s <= seconds).collect();
    ensure!(looks.len() >= 8, "{} looks are too few to judge", looks.len());
    let lines = verdicts(&looks, rate as f64, folder, soak)?;
    let raw = vec![json!({ "minutes": soak.minutes, "rate": rate, "peak": peak,
        "settings": settings, "report": report, "looks": looks.iter().map(Look::json).collect::<Vec<_>>() })];
    Ok(Findings { lines, raw })
}

/// What the machine takes when it is given all that it takes.
fn measured_peak(bench: &Bench) -> Result<f64> {
    let server = Server::tally(&bench.program, &bench.scratch, &[])?;
    let load_flags = flags(&format!("{BATCHES} {ITEMS} --events {}", bench.events / 2));
    let report = load(&bench.program, &server.url, &load_flags)?;
    server.stop()?;
    number(&report, "events_per_second")
}

/// What is used, where growth is judged, and which plot shows it.
struct Used {
    name: &'static str,
    unit: &'static str,
    of: fn(&Look) -> f64,
    /// Growth that is none yet, in the unit.
    slack: f64,
}

const MIB: f64 = (1 << 20) as f64;
const USED: [Used; 3] = [
    Used { name: "memory", unit: "MiB", of: |look| look.resident as f64 / MIB, slack: 16.0 },
    Used { name: "files", unit: "open", of: |look| look.open_files as f64, slack: 4.0 },
    Used { name: "disk", unit: "MiB", of: |look| look.hot_disk() as f64 / MIB, slack: 32.0 },
];

fn verdicts(looks: &[Look], rate: f64, folder: &Path, soak: Soak) -> Result<Vec<String>> {
    let at: Vec<f64> = looks.iter().map(|look| look.at_s / 60.0).collect();
    let half = soak.minutes / 2.0;
    let of = |figure: fn(&Look) -> f64| looks.iter().map(figure).collect::<Vec<f64>>();
    let mut lines = vec![format!(
        "{} looks in {} minutes at {rate:.0} events/s; flat is: over the second half the Theil–Sen slope \
         makes at most {:.0} % of its median",
        looks.len(),
        soak.minutes,
        GROWTH_MAX * 100.0
    )];
    for used in &USED {
        let values = of(used.of);
        let found = flat(&at, &values, half, GROWTH_MAX, used.slack);
        lines.push(found.line(used));
        let mut plot = Plot::new(used.name, used.unit, half).trend(found.trend);
        plot = match used.name {
            "disk" => plot
                .line("log and counters", &at, &values)
                .line("log", &at, &of(|look| look.log_bytes as f64 / MIB))
                .line("counters", &at, &of(|look| look.store_bytes as f64 / MIB))
                .line(
                    "archive (by the hour, not judged)",
                    &at,
                    &of(|look| look.archive_bytes as f64 / MIB),
                ),
            _ => plot.line(used.name, &at, &values),
        };
        plot.write(&folder.join(format!("soak-{}.svg", used.name)))?;
    }
    lines.extend(behaviour(looks, &at, rate, folder, half)?);
    Ok(lines)
}

/// How the server did its work meanwhile.
fn behaviour(
    looks: &[Look],
    at: &[f64],
    rate: f64,
    folder: &Path,
    half: f64,
) -> Result<Vec<String>> {
    let of = |figure: fn(&Look) -> f64| looks.iter().map(figure).collect::<Vec<f64>>();
    let (counted, visible, p99) =
        (of(|look| look.counted_per_s), of(|look| look.visible_ms), of(|look| look.count_p99_ms));
    let lag = of(|look| look.lag_events as f64);
    let draw = |name: &str, unit: &str, values: &[f64]| {
        let path = folder.join(format!("soak-{}.svg", name.replace(' ', "-")));
        Plot::new(name, unit, half).line(name, at, values).write(&path)
    };
    draw("rate", "events counted/s", &counted)?;
    draw("visible lag", "ms", &visible)?;
    draw("count p99", "ms", &p99)?;
    draw("lag", "events", &lag)?;
    let of_rate = median(&counted) / rate;
    let latest = visible.iter().copied().fold(0.0, f64::max);
    let good = |is_good: bool| if is_good { "good" } else { "NOT GOOD" };
    Ok(vec![
        format!(
            "rate: {:.0} events/s counted, {:.3} of the wanted (at least {RATE_MIN}): {}",
            median(&counted),
            of_rate,
            good(of_rate >= RATE_MIN)
        ),
        format!(
            "visible: median {:.0} ms, at most {latest:.0} ms (at most {VISIBLE_MAX_MS:.0}): {}",
            median(&visible),
            good(latest <= VISIBLE_MAX_MS)
        ),
        format!("p99 of count: median {:.2} ms", median(&p99)),
    ])
}

impl Verdict {
    fn line(&self, Used { name, unit, slack, .. }: &Used) -> String {
        let said = match (self.is_flat, self.growth <= GROWTH_MAX) {
            (true, true) => "flat".to_owned(),
            (true, false) => format!("flat, as that is under {slack:.0} {unit}"),
            (false, _) => "NOT FLAT".to_owned(),
        };
        let (median, growth) = (self.median, self.growth * 100.0);
        format!("{name}: {median:.1} {unit} in the second half, {growth:+.1} % over it: {said}")
    }
}
