//! `tally`, the one binary. Every command lives in a file of `cli/`.

mod cli;
mod config;
mod http;
mod import;
mod load;
mod telemetry;
mod threads;
mod wiring;

/// Fewer cycles and steadier memory than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
