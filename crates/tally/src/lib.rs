//! What `tally`, the one binary, is made of. A library only so that tests and fuzzing reach the
//! modules; nothing else is meant to import it. Every command lives in a file of `cli/`.

mod audit;
mod backups;
mod bulk;
mod cli;
mod config;
mod demo;
mod doctor;
mod drill;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod http;
mod import;
mod keys;
mod load;
mod process;
mod recount;
#[cfg(feature = "kafka")]
mod registry;
mod tables;
mod telemetry;
mod threads;
mod wiring;

/// The program: reads the command line and does what it says.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
