//! What each stage of counting an event costs, on one thread: `cargo run --release -p tally-stages`.
//!
//! Without arguments every stage is timed, with a name that one. `stages NAME ROUNDS` runs one for so
//! many rounds and prints nothing: `scripts/instructions` counts its instructions.

// Of the program's module, which is read here as it stands, not all is used.
#![allow(dead_code, missing_docs, unexpected_cfgs, unreachable_pub, unused_imports)]

mod bodies;
mod pipeline;
#[path = "../../../crates/tally/src/http/events/read/mod.rs"]
mod read;

use bodies::EVENTS;
use engine::gateway::EventBatch;
use pipeline::Pipeline;
use read::{IdSource, Intake};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of a stage that is timed; each has [`EVENTS`].
const TIMED: usize = 200;

type Reader = for<'b, 'i, 's> fn(
    &'b [u8],
    &'i mut Intake<'s, EventBatch<'static>>,
) -> Result<(), read::BodyFault>;

/// Prepares so many rounds, and gives what runs them.
type Stage = fn(rounds: usize) -> Box<dyn FnOnce()>;

/// In the order that an event meets them.
const STAGES: [(&str, Stage); 8] = [
    ("ndjson", |rounds| parse(rounds, bodies::ndjson(0), read::ndjson::read)),
    ("json", |rounds| parse(rounds, bodies::json(0), read::json::read)),
    ("avro", |rounds| parse(rounds, bodies::avro(0), read::avro::read)),
    ("avro_other", |rounds| parse(rounds, bodies::avro_other(0), read::avro::read)),
    ("append", |rounds| {
        let pipeline = Pipeline::new();
        let parts = pipeline.parts(rounds);
        Box::new(move || pipeline.append(parts))
    }),
    ("count", |rounds| {
        let mut pipeline = Pipeline::filled(rounds);
        let batches = pipeline.read_all();
        Box::new(move || pipeline.count(&batches))
    }),
    ("flush", |rounds| {
        let mut pipeline = Pipeline::filled(rounds);
        let batches = pipeline.read_all();
        pipeline.count(&batches);
        Box::new(move || pipeline.flush())
    }),
    ("archive", |rounds| {
        let pipeline = Pipeline::filled(rounds);
        let batches = pipeline.read_all();
        Box::new(move || pipeline.archive(&batches))
    }),
];

/// From the bytes of a body to records, routed.
fn parse(rounds: usize, body: Vec<u8>, reader: Reader) -> Box<dyn FnOnce()> {
    let gateway = pipeline::gateway_to_nowhere();
    Box::new(move || {
        for _ in 0..rounds {
            let mut batch = gateway.begin().expect("events are accepted");
            let mut intake = Intake::new(&mut batch, IdSource::random());
            reader(&body, &mut intake).expect("the body is fine");
            let verdicts = intake.finish();
            assert!(verdicts.rejections.is_empty() && verdicts.events as usize == EVENTS);
            std::hint::black_box(&batch);
        }
    })
}

/// A function of its own, by whose name instructions are counted.
#[inline(never)]
fn measured_stage(run: Box<dyn FnOnce()>) {
    run();
}

/// Time that this process had a core: what others do to it does not count.
fn cpu_nanos() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, rounds] = arguments.as_slice() {
        let stage = STAGES.iter().find(|(of, _)| of == name).expect("a stage of that name");
        measured_stage((stage.1)(rounds.parse().expect("a number of rounds")));
        return;
    }
    let is_wanted = |name: &str| arguments.first().is_none_or(|wanted| wanted == name);
    for (name, stage) in STAGES.into_iter().filter(|(name, _)| is_wanted(name)) {
        let mut best = f64::MAX;
        for _ in 0..5 {
            let run = stage(TIMED);
            let started = cpu_nanos();
            measured_stage(run);
            best = best.min((cpu_nanos() - started) / (TIMED * EVENTS) as f64);
        }
        println!("{name:<10} {best:>6.0} ns/event");
    }
}
