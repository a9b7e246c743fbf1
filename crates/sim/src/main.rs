//! `tally-sim`: runs seeds, says what was injected, and prints how to replay what fails.

use std::process::ExitCode;

use clap::Parser;
use sim::{Bug, FleetBug, FleetReport, Report, check, check_fleet, run};

/// Simulates Tally under faults; every run must count exactly.
#[derive(Parser)]
struct Options {
    /// How many seeds to run: 300, or one where the first is given.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints every step.
    #[arg(long)]
    trace: bool,
    /// Plants a bug, by its number from 0 on.
    #[arg(long)]
    bug: Option<usize>,
    /// Simulates several gateways while the routing changes, instead of one machine under faults.
    #[arg(long)]
    fleet: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.fleet {
        return fleet(&options);
    }
    let bug = options.bug.and_then(|at| Bug::ALL.get(at).copied());
    let first = options.seed.unwrap_or(0);
    let count = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { 300 });
    let mut total = Report::default();
    for seed in first..first + count {
        let result = match options.trace {
            true => run(seed, bug, true),
            false => check(seed, bug),
        };
        match result {
            Ok(report) => total.add(&report),
            Err(error) => {
                eprintln!("{error:#}");
                let planted = options.bug.map(|at| format!(" --bug {at}")).unwrap_or_default();
                eprintln!("replay: cargo run -p tally-sim -- --seed {seed} --trace{planted}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} seeds, each run twice with the same bytes, nothing lost or doubled");
    println!("{:>10} events, {} records in logs", total.events, total.records);
    println!("{:>10} repeats within the window", total.duplicates);
    println!("{:>10} records in segments let go", total.let_go);
    println!("{:>10} restarts", total.restarts);
    println!("{:>10} flipped bits noticed and named", total.damage_named);
    for (granularity, answers) in &total.answers {
        println!("{answers:>10} answers by the {}", granularity.as_str());
    }
    println!("{:>10} runs with cold days", total.cold_runs);
    for (fault, times) in &total.faults {
        println!("{times:>10} {fault:?}");
    }
    ExitCode::SUCCESS
}

fn fleet(options: &Options) -> ExitCode {
    let bug = options.bug.and_then(|at| FleetBug::ALL.get(at).copied());
    let first = options.seed.unwrap_or(0);
    let count = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { 300 });
    let mut total = FleetReport::default();
    for seed in first..first + count {
        match check_fleet(seed, bug) {
            Ok(report) => total.add(&report),
            Err(error) => {
                eprintln!("{error:#}");
                eprintln!("replay: cargo run -p tally-sim -- --fleet --seed {seed}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} seeds, each run twice the same, nothing lost or doubled");
    let FleetReport { events, accepted, duplicates, across, unsure, refused, .. } = total;
    println!("{events:>10} events, {accepted} deliveries accepted");
    println!(
        "{duplicates:>10} repeats within the window, {across} of them in another version's time"
    );
    println!("{unsure:>10} requests refused because the route was not known");
    println!("{refused:>10} events refused for their time");
    let FleetReport { versions, conflicts, added, stamped, late, .. } = total;
    println!("{stamped:>10} stamped requests, {late} events taken that were refused before");
    println!("{versions:>10} versions, {conflicts} changes refused, {added} partitions added");
    ExitCode::SUCCESS
}
