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
mod tally;
mod trace;
mod world;

use anyhow::Result;

use model::Granularity;

pub use bug::Bug;
pub use fault::Fault;
pub use fleet::{FleetBug, FleetDone, FleetReport, FleetShape, check_fleet};
pub use tally::Tally;

use tally::{caught, twice};
use world::World;

/// How many steps a run has before faults stop.
const STEPS: u64 = 300;

/// What happens in a run, faults aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    /// Events that clients thought of.
    Events,
    /// Records that the log took.
    Records,
    /// Records that were repeats of others within the dedup window.
    Duplicates,
    /// Records in segments that the logs let go of.
    LetGo,
    /// Processes that ended.
    Restarts,
    /// Flipped bits that a process noticed and named.
    DamageNamed,
    /// Runs in which a day of events went to cold files.
    ColdRuns,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What happened how often.
    pub done: Tally<Done>,
    /// Answers by the granularity that was still kept of all events.
    pub answers: Tally<Granularity>,
    /// Faults by kind.
    pub faults: Tally<Fault>,
    /// Hash of everything that was done.
    pub trace_hash: u64,
    /// The disk's files at the end, each with length and checksum.
    pub fingerprint: String,
}

impl Report {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.done.merge(&other.done);
        self.answers.merge(&other.answers);
        self.faults.merge(&other.faults);
    }
}

/// Runs a seed twice; both runs must be the same, and neither may find anything.
///
/// # Errors
/// What is wrong.
pub fn check(seed: u64, bug: Option<Bug>) -> Result<Report> {
    twice(seed, || run(seed, bug, false))
}

/// Runs a seed once, and prints every step if asked to.
///
/// # Errors
/// What is wrong.
pub fn run(seed: u64, bug: Option<Bug>, is_echoing: bool) -> Result<Report> {
    caught(seed, || {
        let mut world = World::new(seed, bug, is_echoing);
        drive(&mut world)?;
        world.count_disk_faults();
        let has_cold = world.cold_until > process::ALL_EVENTS.start.hour().day();
        let mut done = Tally::default();
        done.add(Done::Events, world.oracle.sent.len() as u64);
        done.add(Done::Records, world.oracle.records());
        done.add(Done::Duplicates, world.oracle.duplicates());
        done.add(Done::LetGo, world.let_go());
        done.add(Done::Restarts, world.restarts);
        done.add(Done::DamageNamed, world.damage_named);
        done.add(Done::ColdRuns, u64::from(has_cold));
        Ok(Report {
            done,
            answers: world.answers.clone(),
            faults: world.faults.clone(),
            trace_hash: world.trace.hash(),
            fingerprint: world.machine.disk.fingerprint(),
        })
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
