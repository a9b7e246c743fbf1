//! `tally-sim`: runs seeds, says what was injected, and prints how to replay what fails.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use model::limits::PARTITIONS_MAX;
use sim::{
    Bug, Done, FleetBug, FleetDone, FleetReport, FleetShape, Report, Tally, check, check_fleet, run,
};

/// Simulates Tally under faults; every run must count exactly.
#[derive(Parser)]
struct Options {
    /// How many seeds to run: 300, or one where the first is given.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints every step; not of a fleet.
    #[arg(long, conflicts_with = "fleet")]
    trace: bool,
    /// Plants a bug, by its number from 0 on.
    #[arg(long)]
    bug: Option<usize>,
    /// Simulates several gateways while the routing changes, instead of one machine under faults.
    #[arg(long)]
    fleet: bool,
    /// Partitions of the fleet's log.
    #[arg(long, requires = "fleet", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(PARTITIONS_MAX)))]
    partitions: u16,
    /// Processors of the fleet: several share the partitions, which move while processors die, stop
    /// and wake up.
    #[arg(long, requires = "fleet", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    processors: u16,
}

impl Options {
    /// Runs all seeds; says how to replay the first that finds something.
    fn each(&self, replay: &str, mut seed: impl FnMut(u64) -> Result<()>) -> Result<u64, ExitCode> {
        let first = self.seed.unwrap_or(0);
        let count = self.seeds.unwrap_or(if self.seed.is_some() { 1 } else { 300 });
        for at in first..first.saturating_add(count) {
            if let Err(error) = seed(at) {
                eprintln!("{error:#}");
                let planted = self.bug.map(|at| format!(" --bug {at}")).unwrap_or_default();
                eprintln!("replay: cargo run -p tally-sim -- {replay} --seed {at}{planted}");
                return Err(ExitCode::FAILURE);
            }
        }
        Ok(count)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.fleet {
        true => fleet(&options),
        false => machine(&options),
    };
    done.err().unwrap_or(ExitCode::SUCCESS)
}

fn machine(options: &Options) -> Result<(), ExitCode> {
    let bug = options.bug.and_then(|at| Bug::ALL.get(at).copied());
    let mut total = Report::default();
    let count = options.each("--trace", |seed| {
        let report = match options.trace {
            true => run(seed, bug, true)?,
            false => check(seed, bug)?,
        };
        total.add(&report);
        Ok(())
    })?;
    println!("{count} seeds, each run twice with the same bytes, nothing lost or doubled");
    print(&total.done, |done| match done {
        Done::Events => "events",
        Done::Records => "records in logs",
        Done::Duplicates => "repeats within the window",
        Done::LetGo => "records in segments let go",
        Done::Restarts => "restarts",
        Done::DamageNamed => "flipped bits noticed and named",
        Done::ColdRuns => "runs with cold days",
    });
    for (granularity, answers) in total.answers.iter() {
        println!("{answers:>10} answers by the {}", granularity.as_str());
    }
    for (fault, times) in total.faults.iter() {
        println!("{times:>10} {fault:?}");
    }
    Ok(())
}

fn fleet(options: &Options) -> Result<(), ExitCode> {
    let bug = options.bug.and_then(|at| FleetBug::ALL.get(at).copied());
    let Options { partitions, processors, .. } = *options;
    let shape = FleetShape { partitions, processors: usize::from(processors) };
    let replay = format!("--fleet --partitions {partitions} --processors {processors}");
    let mut total = FleetReport::default();
    let count = options.each(&replay, |seed| {
        total.done.merge(&check_fleet(seed, shape, bug)?.done);
        Ok(())
    })?;
    println!(
        "{count} seeds of {partitions} partitions and {processors} processors, each run twice the \
         same, nothing lost or doubled"
    );
    print(&total.done, |done| match done {
        FleetDone::Events => "events without stamps",
        FleetDone::Accepted => "deliveries of them accepted",
        FleetDone::Duplicates => "repeats within the window, or of stamped events",
        FleetDone::Across => "repeats in another version's time",
        FleetDone::Unsure => "requests refused because the route was not known",
        FleetDone::Refused => "events refused for their time",
        FleetDone::Versions => "versions",
        FleetDone::Conflicts => "changes refused",
        FleetDone::Added => "partitions added",
        FleetDone::Stamped => "stamped requests",
        FleetDone::Late => "stamped events taken that were refused before",
        FleetDone::Moved => "partitions moved to another processor",
        FleetDone::Storms => "storms of moves",
        FleetDone::Killed => "processors killed",
        FleetDone::Stopped => "processors stopped for longer than their session",
        FleetDone::LateFlushes => "late flushes refused",
    });
    Ok(())
}

fn print<K: Copy + Ord>(done: &Tally<K>, words: impl Fn(K) -> &'static str) {
    for (kind, times) in done.iter() {
        println!("{times:>10} {}", words(kind));
    }
}
