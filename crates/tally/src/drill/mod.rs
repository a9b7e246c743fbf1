//! The crash and damage drill: servers on scratch folders are loaded, killed, damaged and misled
//! about the time, and at the end what they count is compared with what they accepted.
//!
//! A scenario is a file of `scenarios/` with one function; a new one adds a variant and a line here.
//! The account of what was accepted (`account`) shares nothing with the server.

mod account;
mod clock;
mod disk;
mod log_files;
mod report;
mod scenarios;
mod server;
mod stage;
mod traffic;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

pub(crate) use self::clock::ShiftedClock;
pub(crate) use self::report::{DrillReport, Outcome, Row};
pub(crate) use self::scenarios::Scenario;
use self::server::Launch;
use self::stage::Stage;
use self::traffic::Traffic;
use crate::load::Random;

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct DrillOptions {
    pub(crate) seed: u64,
    pub(crate) scenarios: Vec<Scenario>,
    /// The program that is drilled.
    pub(crate) program: PathBuf,
    /// A folder of its own for each scenario is made in this one.
    pub(crate) scratch: PathBuf,
    /// Scratch folders stay.
    pub(crate) keep: bool,
    /// Epoch milliseconds of the start.
    pub(crate) started_ms: u64,
}

/// A scenario cannot be played on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skipped(pub(crate) String);

/// Plays the scenarios one after the other. `progress` hears which one is played and how many
/// events it has accepted. Dropping it ends its servers.
///
/// # Errors
/// When a scratch folder cannot be made. What goes wrong in a scenario is in its row.
pub(crate) async fn run(
    options: &DrillOptions,
    progress: impl Fn(Scenario, u64) + Clone + 'static,
) -> anyhow::Result<DrillReport> {
    let begun = Instant::now();
    let mut rows = Vec::with_capacity(options.scenarios.len());
    for &scenario in &options.scenarios {
        let heard = progress.clone();
        heard(scenario, 0);
        rows.push(play(options, scenario, move |accepted| heard(scenario, accepted)).await?);
    }
    Ok(DrillReport::new(options.seed, rows, begun.elapsed().as_secs_f64()))
}

async fn play(
    options: &DrillOptions,
    scenario: Scenario,
    heard: impl Fn(u64) + Clone + 'static,
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let folder = options.scratch.join(scenario.name());
    std::fs::create_dir(&folder)
        .with_context(|| format!("cannot make the scratch folder {}", folder.display()))?;
    let mut stage = stage(options, scenario, &folder, heard);
    let played = scenario.play(&mut stage).await;
    let mut row = row(scenario, stage, played);
    row.seconds = begun.elapsed().as_secs_f64();
    if row.outcome == Outcome::Failed {
        let (seed, name) = (options.seed, scenario.name());
        row.replay = Some(format!("tally drill --seed {seed} --only {name} --keep"));
    }
    if !options.keep {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the scratch folder {}", folder.display()))?;
    }
    Ok(row)
}

fn stage(
    options: &DrillOptions,
    scenario: Scenario,
    folder: &Path,
    heard: impl Fn(u64) + Clone + 'static,
) -> Stage {
    let (seed, started_ms) = (options.seed, options.started_ms);
    let seed = Random::new(seed ^ (scenario as u64) << 32).next();
    let flags = [
        // Two, so that there is a second one when one has stopped, on every machine.
        "--partitions=2",
        // Small files and frequent writes: more of each happens in a short time.
        "--segment-bytes=8MiB",
        "--flush-interval=500ms",
        "--log-compression=none",
        "--dedup-memory=256MiB",
    ];
    Stage {
        folder: folder.to_owned(),
        launch: Launch {
            command: vec![options.program.clone().into()],
            data_dir: folder.join("data"),
            said: folder.join("server.log"),
            run_in: folder.to_owned(),
            flags: flags.map(Into::into).to_vec(),
            port: 0,
        },
        random: Random::new(seed ^ 1),
        traffic: None,
        open_traffic: Box::new(move |client| {
            Traffic::new(client, seed, started_ms, Box::new(heard.clone()))
        }),
        done: Vec::new(),
    }
}

fn row(scenario: Scenario, stage: Stage, played: anyhow::Result<account::Comparison>) -> Row {
    let figure = |figure: fn(&Traffic) -> u64| stage.traffic.as_deref().map_or(0, figure);
    let (sent, accepted) = (figure(Traffic::sent), figure(Traffic::accepted));
    let mut row = Row {
        name: scenario.name(),
        done: stage.done,
        sent,
        repeats: figure(Traffic::repeats),
        accepted,
        counted: None,
        outcome: Outcome::Failed,
        reason: None,
        mismatches: Vec::new(),
        replay: None,
        seconds: 0.0,
    };
    match played {
        Ok(found) if found.different == 0 && found.counted == accepted => {
            (row.outcome, row.counted) = (Outcome::Equal, Some(found.counted));
        }
        Ok(found) => {
            row.counted = Some(found.counted);
            row.reason = Some(format!("{} counters differ", found.different));
            row.mismatches = found.examples;
        }
        Err(error) => {
            if error.is::<Skipped>() {
                row.outcome = Outcome::Skipped;
            }
            row.reason = Some(format!("{error:#}"));
        }
    }
    row
}
