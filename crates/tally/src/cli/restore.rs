//! `tally restore`: a data folder made of a backup.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::backup::{bar, show};
use super::{Outcome, output};
use crate::wiring;

/// Make a data folder of a backup
///
/// Every file is checked first; damage is named, and nothing is restored then. A server that is started on
/// the folder counts what the log has beyond the counters, and holds what was there when the backup
/// copied the log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tally restore /backups/monday --data-dir ./tally-data\n  \
    tally serve --data-dir ./tally-data")]
pub(crate) struct RestoreArgs {
    /// The backup's folder
    backup: PathBuf,
    /// The data folder to make; it must be empty or not there yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Print the backup's manifest as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RestoreArgs) -> anyhow::Result<Outcome> {
    let RestoreArgs { backup, data_dir, json } = args;
    let bar = bar();
    let restored = wiring::backup::restore(backup, data_dir, &mut |done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let manifest = restored?;
    if *json {
        output::print(&serde_json::to_string(&manifest)?)?;
        return Ok(Outcome::Good);
    }
    let (dir, bytes) = (data_dir.display(), output::thousands(manifest.bytes()));
    output::print(&format!(
        "restored into {dir}: {bytes} bytes, as of {}; start it with `tally serve --data-dir {dir}`",
        manifest.begun
    ))?;
    Ok(Outcome::Good)
}
