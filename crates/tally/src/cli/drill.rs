//! `tally drill`: crashes and damage on scratch data, and a table of what was accepted and what was
//! counted.

use std::path::{Path, PathBuf};

use adapters::embedded::disk::{Disk, RealDisk};
use anyhow::{Context, bail};
use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::load::wall_clock_ms;
use super::{Outcome, output, server};
use crate::drill::{self, DrillOptions, DrillReport, Row, Scenario};

/// The scratch folder must have so much room: a scenario takes some hundred MB, and a server
/// refuses to fill a disk up.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// On a narrower terminal what was done stands above the table, not in it.
const STORY_FROM_WIDTH: u16 = 110;
/// Columns of the table where the output is no terminal.
const PIPE_WIDTH: u16 = 120;

/// Crash and damage servers on scratch data, and show that every accepted event is counted once
///
/// Starts servers of this program on scratch folders, sends them made-up events over HTTP, kills
/// them, tears and flips bytes of their files, sets their clock wrong, fills their disk, and asks
/// for every count. Ends in a table of what was done, sent, accepted and counted. Touches nothing
/// but its scratch folder, and takes ten seconds on two cores with a fast disk.
///
/// Events and damage are drawn from the seed. Timing is the machine's: how far writes are when a kill
/// hits them, and how much is sent until then, no seed decides. Exit status: 0 all equal, 1 not, 2 wrong usage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tally drill\n  tally drill --only kill --only flip --seed 7\n  \
    tally drill --json > drill.json"
)]
pub(crate) struct DrillArgs {
    /// Play only this scenario; may be given again
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    only: Vec<Scenario>,
    /// List the scenarios and play none
    #[arg(long)]
    list: bool,
    /// Events and damage are drawn from it [default: another one each time, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Make the scratch folder in this one [default: that of the system for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Leave the scratch folder, with the servers' data and what they said
    #[arg(long)]
    keep: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Drill another program than this one
    #[arg(long, value_name = "PATH", hide = true)]
    program: Option<PathBuf>,
}

pub(crate) fn run(args: &DrillArgs) -> anyhow::Result<Outcome> {
    if args.list {
        output::print(&list())?;
        return Ok(Outcome::Good);
    }
    let scratch = Scratch::make(args.scratch.as_deref(), args.keep)?;
    let options = DrillOptions {
        // Small enough to be read out and typed.
        seed: args.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        scenarios: scenarios(&args.only),
        program: match &args.program {
            Some(program) => std::path::absolute(program)?,
            None => std::env::current_exe().context("cannot tell which program this is")?,
        },
        scratch: scratch.folder.clone(),
        keep: args.keep,
        started_ms: wall_clock_ms(),
    };
    let report = server::runtime()?.block_on(play_until_stopped(&options))?;
    if args.keep {
        eprintln!("the scratch folder stays: {}", scratch.folder.display());
    }
    if args.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(if report.equal { Outcome::Good } else { Outcome::Failed })
}

/// All of them, or those that were named, in the order in which they are played.
fn scenarios(only: &[Scenario]) -> Vec<Scenario> {
    let all = Scenario::value_variants().iter().copied();
    all.filter(|scenario| only.is_empty() || only.contains(scenario)).collect()
}

/// Plays; a signal ends the servers too.
async fn play_until_stopped(options: &DrillOptions) -> anyhow::Result<DrillReport> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let bar = progress_bar(options);
    let (shown, scenarios) = (bar.clone(), options.scenarios.clone());
    let progress = move |scenario: Scenario, accepted: u64| {
        let at = scenarios.iter().position(|&other| other == scenario).unwrap_or(0);
        shown.set_position(at as u64 + 1);
        let events = output::thousands(accepted);
        shown.set_message(format!("{} · {events} events accepted", scenario.name()));
    };
    tokio::select! {
        report = drill::run(options, progress) => {
            bar.finish_and_clear();
            report
        }
        _ = async { tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        } } => {
            bar.finish_and_clear();
            bail!("interrupted; the drill's servers were ended")
        }
    }
}

fn progress_bar(options: &DrillOptions) -> ProgressBar {
    let bar = ProgressBar::new(options.scenarios.len() as u64);
    // Hidden by itself where standard error is no terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {msg} · {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// The folder of a drill; removed when dropped, unless it is to be kept.
struct Scratch {
    folder: PathBuf,
    keep: bool,
}

impl Scratch {
    fn make(parent: Option<&Path>, keep: bool) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let named = || format!("{}: name another folder with --scratch", parent.display());
        std::fs::create_dir_all(&parent).with_context(named)?;
        // Servers name their files in full, and so does the drill.
        let parent = parent.canonicalize().with_context(named)?;
        let free = RealDisk.free_bytes(&parent).with_context(named)?;
        if free < FREE_BYTES_MIN {
            bail!(
                "{} has {} MiB free, and a drill needs {}: make room, or name another folder with \
                 --scratch",
                parent.display(),
                free >> 20,
                FREE_BYTES_MIN >> 20
            );
        }
        let name = format!("tally-drill-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = parent.join(name);
        std::fs::create_dir(&folder).with_context(named)?;
        Ok(Self { folder, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            eprintln!("tally: cannot remove {}: {error}", self.folder.display());
        }
    }
}

fn list() -> String {
    let mut table = output::table();
    for scenario in Scenario::value_variants() {
        let value = scenario.to_possible_value().expect("no scenario is hidden");
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        table.add_row([scenario.name(), &help]);
    }
    table.to_string()
}

fn text(report: &DrillReport) -> String {
    let mut table = output::table();
    // In a pipe the story would be one long line.
    let width = table.width().unwrap_or(PIPE_WIDTH);
    table.set_width(width);
    let is_wide = width >= STORY_FROM_WIDTH;
    let numbers = ["events sent", "of them repeats", "accepted", "counted", "equal"];
    let story = is_wide.then_some("what was done");
    table.set_header([""].into_iter().chain(story).chain(numbers));
    let mut out = String::new();
    for row in &report.scenarios {
        let story = output::visible(&story_of(row));
        if !is_wide {
            out += &format!("{}: {story}\n", row.name);
        }
        let story = is_wide.then(|| Cell::new(story));
        table.add_row([Cell::new(row.name)].into_iter().chain(story).chain(figures(row)));
    }
    out += &format!("{}{table}\n\n", if is_wide { "" } else { "\n" });
    for row in &report.scenarios {
        out += &trouble(row);
    }
    out + &verdict(report) + "\n"
}

fn story_of(row: &Row) -> String {
    match (&row.reason, row.outcome) {
        (Some(reason), drill::Outcome::Skipped) => format!("skipped: {reason}"),
        _ => row.done.join("; "),
    }
}

fn figures(row: &Row) -> [Cell; 5] {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let number = |number: u64| right(output::thousands(number));
    let equal = match row.outcome {
        drill::Outcome::Equal => "yes",
        drill::Outcome::Failed => "NO",
        drill::Outcome::Skipped => "skipped",
    };
    let counted = row.counted.map_or_else(|| right("-".into()), number);
    [number(row.sent), number(row.repeats), number(row.accepted), counted, Cell::new(equal)]
}

/// What went wrong in a scenario, and how to see it again.
fn trouble(row: &Row) -> String {
    if row.outcome != drill::Outcome::Failed {
        return String::new();
    }
    let mut out = format!("{}: {}\n", row.name, row.reason.as_deref().unwrap_or("failed"));
    for mismatch in &row.mismatches {
        out += &format!("  {mismatch}\n");
    }
    if let Some(replay) = &row.replay {
        out += &format!("  again: {replay}\n");
    }
    out + "\n"
}

/// The last line.
fn verdict(report: &DrillReport) -> String {
    let (accepted, counted) =
        (output::thousands(report.accepted), output::thousands(report.counted));
    let seconds = report.seconds;
    let played = report.scenarios.len() - report.skipped;
    if report.failed > 0 {
        return format!(
            "FAILED: {} of {played} scenarios, in {seconds:.0} s (seed {})",
            report.failed, report.seed
        );
    }
    if played == 0 {
        return "Nothing was played: every scenario was skipped.".into();
    }
    let skipped = match report.skipped {
        0 => String::new(),
        n => format!(" {n} of {} scenarios skipped.", report.scenarios.len()),
    };
    format!(
        "Nothing lost, nothing counted twice: {accepted} accepted, {counted} counted.{skipped} \
         {seconds:.0} s, seed {}.",
        report.seed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, counted: Option<u64>, outcome: drill::Outcome) -> Row {
        Row {
            name,
            done: vec!["killed twice".into(), "put back".into()],
            sent: 1200,
            repeats: 200,
            accepted: 1000,
            counted,
            outcome,
            reason: Some("no namespaces here".into()),
            mismatches: Vec::new(),
            replay: Some(format!("tally drill --seed 7 --only {name} --keep")),
            seconds: 1.0,
        }
    }

    #[test]
    fn the_last_line_says_what_the_table_says() {
        let equal = row("kill", Some(1000), drill::Outcome::Equal);
        let skipped = Row { accepted: 0, ..row("full-disk", None, drill::Outcome::Skipped) };
        let shown = text(&DrillReport::new(7, vec![equal.clone(), skipped.clone()], 61.4));
        for part in [
            "killed twice; put back",
            "skipped: no namespaces here",
            "Nothing lost, nothing counted twice: 1,000 accepted, 1,000 counted. 1 of 2 scenarios \
             skipped. 61 s, seed 7.",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        let failed = row("kill", None, drill::Outcome::Failed);
        let shown = text(&DrillReport::new(7, vec![failed, equal], 2.0));
        assert!(!shown.contains("Nothing lost"), "{shown}");
        assert!(shown.contains("  again: tally drill --seed 7 --only kill --keep"), "{shown}");
        assert!(shown.contains("FAILED: 1 of 2 scenarios, in 2 s (seed 7)"), "{shown}");
        let shown = text(&DrillReport::new(7, vec![skipped], 0.0));
        assert!(shown.contains("Nothing was played"), "{shown}");
    }

    #[test]
    fn scenarios_are_played_in_their_order_and_once() {
        assert_eq!(scenarios(&[]), Scenario::value_variants());
        let named = [Scenario::Flip, Scenario::Kill, Scenario::Flip];
        assert_eq!(scenarios(&named), [Scenario::Kill, Scenario::Flip]);
    }
}
