//! Runs `tally` from outside and prints what it does as ratios, each side measured in the same run.
//!
//! `make bench` builds the program, runs every scenario several times, prints medians beside the
//! targets and writes the raw figures to `bench/runs/<date>-<host>/`.

mod archive_lag;
mod asker;
mod beside;
mod crowd;
mod empty;
mod hot;
mod load;
mod peers;
mod reports;
mod scenarios;
mod server;
mod years;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

/// Measures the program against its targets.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Runs of each scenario; the median is printed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Events of a throughput run, in millions.
    #[arg(long, default_value_t = 8)]
    millions: u64,
    /// Measure this program instead of the release build, which is built otherwise.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Events of a throughput run, instead of millions: to see that a scenario works.
    #[arg(long)]
    events: Option<u64>,
    /// Folder for scratch data; on the disk that is to be measured.
    #[arg(long, default_value = "target/bench-scratch")]
    scratch: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Serves the empty handlers that single events and queries are compared with.
    Empty {
        /// How many cores' worth of other work runs beside.
        #[arg(long, default_value_t = 0.0)]
        busy: f64,
        /// Append the bodies of posts to this file.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
}

/// Where and how a scenario runs.
struct Bench {
    program: PathBuf,
    scratch: PathBuf,
    runs: usize,
    events: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Mode::Empty { busy, keep }) = args.mode {
        return empty::serve(busy, keep.as_deref());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&root)?,
    };
    std::fs::create_dir_all(&args.scratch)?;
    let bench = Bench {
        program: std::fs::canonicalize(program)?,
        scratch: std::fs::canonicalize(&args.scratch)?,
        runs: args.runs,
        events: args.events.unwrap_or(args.millions * 1_000_000),
    };
    let mut figures = Vec::new();
    for (name, scenario) in scenarios::ALL {
        if !name.contains(&args.only) {
            continue;
        }
        eprintln!("{name} …");
        let result = scenario(&bench).with_context(|| format!("scenario {name}"))?;
        println!("\n{name}");
        for line in &result.lines {
            println!("  {line}");
        }
        figures.push(json!({ "scenario": name, "summary": result.lines, "runs": result.raw }));
    }
    write_figures(&root, &args, &figures)
}

/// Builds the program as its users have it.
fn build(root: &Path) -> Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-q", "-p", "tally"])
        .current_dir(root)
        .status()
        .context("cargo cannot be run")?;
    ensure!(built.success(), "the program does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/tally"))
}

fn write_figures(root: &Path, args: &Args, figures: &[Value]) -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read("/proc/sys/kernel/hostname").trim().to_owned();
    let cpu_info = read("/proc/cpuinfo");
    let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("");
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(root)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "a date for the name of a folder")]
    let now = jiff::Timestamp::now();
    let folder = root.join("bench/runs").join(format!("{}-{host}", now.strftime("%Y-%m-%d")));
    std::fs::create_dir_all(&folder)?;
    let command = format!(
        "make bench (runs {}, events {}, only {:?}, program {:?})",
        args.runs,
        args.events.unwrap_or(args.millions * 1_000_000),
        args.only,
        args.program
    );
    let document = json!({
        "commit": commit,
        "cpu": cpu,
        "cores": std::thread::available_parallelism()?.get(),
        "command": command,
        "figures": figures,
    });
    let path = folder.join(format!("{}.json", now.strftime("%H%M%S")));
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\nraw figures: {}", path.display());
    Ok(())
}
