//! Runs `tally` from outside and prints what it does as ratios, each side measured in the same run.
//!
//! `make bench` builds the program, runs every scenario several times, prints medians beside the
//! targets and writes the raw figures to `bench/runs/<date>-<host>/`.

mod answers;
mod archive_lag;
mod asker;
mod beside;
mod cores;
mod crowd;
mod empty;
mod hot;
mod killed;
mod load;
mod peers;
mod reports;
mod scenarios;
mod server;
mod soak;
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
    /// How long a soak runs; it runs only when it is named: `--only soak`.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Events a second of a soak, instead of half of the peak that is measured first.
    #[arg(long)]
    rate: Option<u64>,
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
    let run = Run::begin(&root)?;
    let mut figures = Vec::new();
    // It takes half an hour: nobody gets it who does not ask for it.
    if args.only == SOAK {
        let how = soak::Soak { minutes: args.minutes, rate: args.rate };
        let found = soak::run(&bench, how, &run.folder);
        figures.push(told(SOAK, found)?);
    }
    for (name, scenario) in scenarios::ALL {
        if name.contains(&args.only) {
            eprintln!("{name} …");
            figures.push(told(name, scenario(&bench))?);
        }
    }
    run.write(&root, &args, &figures)
}

/// The scenario that runs only when it is named.
const SOAK: &str = "soak";

/// Prints what a scenario found, and gives it as figures.
fn told(name: &str, found: Result<scenarios::Findings>) -> Result<Value> {
    let result = found.with_context(|| format!("scenario {name}"))?;
    println!("\n{name}");
    result.lines.iter().for_each(|line| println!("  {line}"));
    Ok(json!({ "scenario": name, "summary": result.lines, "runs": result.raw }))
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

/// A run of this program: when it began, and where its figures go.
struct Run {
    /// Of this day and machine.
    folder: PathBuf,
    began: jiff::Timestamp,
}

impl Run {
    fn begin(root: &Path) -> Result<Self> {
        let host = read("/proc/sys/kernel/hostname").trim().to_owned();
        #[expect(clippy::disallowed_methods, reason = "a date for the name of a folder")]
        let began = jiff::Timestamp::now();
        let folder = root.join("bench/runs").join(format!("{}-{host}", began.strftime("%Y-%m-%d")));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, began })
    }

    fn write(&self, root: &Path, args: &Args, figures: &[Value]) -> Result<()> {
        let cpu_info = read("/proc/cpuinfo");
        let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name\t: "));
        let commit = Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(root)
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default();
        let command = format!(
            "make bench (runs {}, events {}, only {:?}, program {:?})",
            args.runs,
            args.events.unwrap_or(args.millions * 1_000_000),
            args.only,
            args.program
        );
        let document = json!({
            "commit": commit,
            "cpu": cpu.unwrap_or_default(),
            "cores": std::thread::available_parallelism()?.get(),
            "command": command,
            "figures": figures,
        });
        let path = self.folder.join(format!("{}.json", self.began.strftime("%H%M%S")));
        std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
        println!("\nraw figures: {}", path.display());
        Ok(())
    }
}

/// What a file of the system says; nothing where there is none.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
