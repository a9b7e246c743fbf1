//! Deterministic simulation: the real gateway, log, processor and flush on a simulated disk, clock,
//! network and store, driven by one seed; an oracle says what must be true.
//!
//! `FAULTS.md` states the fault model. [`check`] runs a seed twice, and the same seed must give the
//! same bytes and the same trace before anything else is believed.

mod bug;
mod chance;
mod clock;
mod damage;
mod disk;
mod fault;
mod fleet;
mod inject;
mod oracle;
mod process;
mod settle;
mod spool;
mod steps;
mod store;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, ensure};

use model::Granularity;

pub use bug::Bug;
pub use fault::Fault;
pub use fleet::{FleetBug, FleetReport, check_fleet};

use world::World;

/// How many steps a run has before faults stop.
const STEPS: u64 = 300;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that clients thought of.
    pub events: u64,
    /// Records that the log took.
    pub records: u64,
    /// Records that were repeats of others within the dedup window.
    pub duplicates: u64,
    /// Records in segments that the logs let go of.
    pub let_go: u64,
    /// Processes that ended.
    pub restarts: u64,
    /// Flipped bits that a process noticed and named.
    pub damage_named: u64,
    /// Answers by the granularity that was still kept of all events.
    pub answers: BTreeMap<Granularity, u64>,
    /// Runs in which a day of events went to cold files.
    pub cold_runs: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Hash of everything that was done.
    pub trace_hash: u64,
    /// The disk's files at the end, each with length and checksum.
    pub fingerprint: String,
}

impl Report {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.records += other.records;
        self.duplicates += other.duplicates;
        self.let_go += other.let_go;
        self.restarts += other.restarts;
        self.damage_named += other.damage_named;
        self.cold_runs += other.cold_runs;
        for (granularity, times) in &other.answers {
            *self.answers.entry(*granularity).or_default() += times;
        }
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }
}

/// Runs a seed twice; both runs must be the same, and neither may find anything.
///
/// # Errors
/// What is wrong.
pub fn check(seed: u64, bug: Option<Bug>) -> Result<Report> {
    let (first, second) = (run(seed, bug, false), run(seed, bug, false));
    let is_same = match (&first, &second) {
        (Ok(first), Ok(second)) => first == second,
        (Err(first), Err(second)) => format!("{first:#}") == format!("{second:#}"),
        _ => false,
    };
    ensure!(is_same, "seed {seed} did not do the same twice: {first:?} and {second:?}");
    first
}

/// Runs a seed once, and prints every step if asked to.
///
/// # Errors
/// What is wrong.
pub fn run(seed: u64, bug: Option<Bug>, is_echoing: bool) -> Result<Report> {
    let run = AssertUnwindSafe(|| {
        let mut world = World::new(seed, bug, is_echoing);
        drive(&mut world).with_context(|| format!("seed {seed}"))?;
        world.count_disk_faults();
        Ok(Report {
            events: world.oracle.sent.len() as u64,
            records: world.oracle.records(),
            duplicates: world.oracle.duplicates(),
            let_go: world.let_go(),
            restarts: world.restarts,
            damage_named: world.damage_named,
            answers: world.answers.clone(),
            cold_runs: u64::from(world.cold_until > process::ALL_EVENTS.start.hour().day()),
            faults: world.faults.clone(),
            trace_hash: world.trace.hash(),
            fingerprint: world.machine.disk.fingerprint(),
        })
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(anyhow!("seed {seed}: panicked: {text}"))
    })
}

fn drive(world: &mut World) -> Result<()> {
    for _ in 0..STEPS {
        step(world)?;
        world.notice_crash();
    }
    world.settle()
}

/// The scheduler: who comes next.
fn step(world: &mut World) -> Result<()> {
    let passes = world.chance.below(300) as i64;
    world.machine.clock.pass(passes);
    if world.process.is_none() && world.chance.one_in(2) {
        return world.start();
    }
    match world.chance.below(100) {
        0..20 => world.send(),
        20..38 => world.deliver()?,
        38..44 => world.spool()?,
        44..62 => {
            let id = world.any_partition();
            world.step_log(id)?;
        }
        62..76 => {
            let id = world.any_partition();
            world.count(id)?;
        }
        76..83 => {
            let id = world.any_partition();
            world.flush(id)?;
        }
        83..90 => world.ask_any()?,
        90..93 => {
            let passes = world.chance.below(40_000) as i64;
            world.machine.clock.pass(passes);
        }
        _ => world.inject()?,
    }
    Ok(())
}
