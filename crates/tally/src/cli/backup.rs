//! `tally backup`: a copy of all data that a server can be started on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use api::client::Client;
use api::{BackupAnswer, BackupRequest, BackupState};
use indicatif::{ProgressBar, ProgressStyle};

use super::config::resolve;
use super::server::{ServerArgs, runtime};
use super::{Outcome, UsageError, output};
use crate::config::Raw;
use crate::wiring;

/// How often the server is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Copy all data into a folder, while the server runs
///
/// Every event that was acknowledged before is in the backup. The server goes on accepting and
/// answering, and writes the backup itself: the folder is one of its machine. With --data-dir the data of
/// a server that does not run is copied, without one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally backup /backups/monday\n  \
    tally backup /backups/monday --data-dir ./tally-data\n\n\
    `tally restore` makes a data folder of it. Ctrl-C does not end a backup that a server writes.")]
pub(crate) struct BackupArgs {
    /// The folder, which must be empty or not there yet
    folder: PathBuf,
    /// Back up this data folder, on which no server runs
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &BackupArgs) -> anyhow::Result<Outcome> {
    let folder = std::path::absolute(&args.folder)
        .map_err(|error| UsageError(format!("{}: {error}", args.folder.display())))?;
    match &args.data_dir {
        Some(data_dir) => of_stopped(args, data_dir, &folder),
        None => of_running(args, &folder),
    }
}

fn of_stopped(args: &BackupArgs, data_dir: &str, folder: &Path) -> anyhow::Result<Outcome> {
    let raw = Raw { data_dir: Some(data_dir.to_owned()), ..Raw::default() };
    let settings = resolve(None, &raw).map_err(|error| UsageError(error.to_string()))?;
    let bar = bar();
    let manifest = wiring::backup::of_stopped(&settings, folder, &mut |done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let manifest = manifest?;
    if args.json {
        output::print(&serde_json::to_string(&manifest)?)?;
    } else {
        tell(folder, manifest.bytes())?;
    }
    Ok(Outcome::Good)
}

fn of_running(args: &BackupArgs, folder: &Path) -> anyhow::Result<Outcome> {
    let text = folder.to_str().context("the folder's name is not UTF-8")?;
    let client = args.server.client()?;
    let bar = bar();
    let ended = runtime()?.block_on(follow(&client, text, &bar));
    bar.finish_and_clear();
    let ended = ended?;
    if args.json {
        output::print(&serde_json::to_string(&ended)?)?;
    } else if ended.state == BackupState::Done {
        tell(folder, ended.bytes_done)?;
    }
    if ended.state == BackupState::Done {
        return Ok(Outcome::Good);
    }
    bail!("the backup failed: {}", ended.detail.unwrap_or_default())
}

/// Begins a backup and waits for its end.
async fn follow(client: &Client, folder: &str, bar: &ProgressBar) -> anyhow::Result<BackupAnswer> {
    let begun = client.begin_backup(&BackupRequest { folder: folder.to_owned() }).await?;
    loop {
        let known = client.backups().await?.backups;
        let is_it = |backup: &BackupAnswer| {
            (&backup.folder, &backup.started) == (&begun.folder, &begun.started)
        };
        let Some(found) = known.into_iter().find(is_it) else {
            bail!(
                "the server has been restarted meanwhile: the backup broke off, begin another one \
                 in an empty folder"
            );
        };
        if found.state != BackupState::Running {
            return Ok(found);
        }
        show(bar, found.bytes_done, found.bytes_total);
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// A bar of bytes, on a terminal.
pub(super) fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar
}

pub(super) fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

fn tell(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let (folder, bytes) = (folder.display(), output::thousands(bytes));
    output::print(&format!(
        "backed up into {folder} ({bytes} bytes); `tally restore {folder} --data-dir NEW` makes a data \
         folder of it"
    ))
}
