//! `tally log`: looks into the log of a data folder, whether or not a server has it open.

mod dump;
mod records;
mod verify;

use std::path::{Path, PathBuf};

use adapters::embedded::disk::{Disk, ReadOnlyDisk};
use adapters::embedded::log::inspect::Finding;
use adapters::embedded::log::stored_partitions;
use clap::{Args, Subcommand};
use engine::ports::{ErrorKind, PortError};
use model::PartitionId;
use model::limits::PARTITIONS_MAX;

use super::config::resolve;
use super::{Outcome, UsageError};
use crate::config::Raw;
use crate::wiring::is_folder_in_use;

/// Look into the log: check every byte of it, or print its records
///
/// Only reads: nothing is written, cut or repaired. Works on a copy of the data folder, and while a
/// server has it open.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally log verify --data-dir ./tally-data\n  \
    tally log dump --partition 0 --limit 10")]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Verify(verify::VerifyArgs),
    Dump(dump::DumpArgs),
}

pub(crate) fn run(args: &LogArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        LogCommand::Verify(args) => verify::run(args),
        LogCommand::Dump(args) => dump::run(args),
    }
}

/// Which log, and what of it.
#[derive(Args, Debug)]
struct WhereArgs {
    /// The data folder, or a copy of it [default: that of the settings, ./tally-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
}

/// A log that was found.
struct Log {
    dir: PathBuf,
    partitions: Vec<PartitionId>,
    is_served: bool,
    /// The file that says how many partitions there are cannot be read.
    bad_meta: Option<PortError>,
}

impl WhereArgs {
    fn open(&self) -> anyhow::Result<Log> {
        let flags = Raw { data_dir: self.data_dir.clone(), ..Raw::default() };
        let settings = resolve(self.config.as_deref(), &flags)
            .map_err(|error| UsageError(error.to_string()))?;
        let dir = settings.data_dir.join("log");
        let (count, bad_meta) = match stored_partitions(&ReadOnlyDisk, &dir) {
            Ok(Some(count)) => (count, None),
            Ok(None) if found_partitions(&dir).is_empty() => {
                let text = format!(
                    "{} holds no log; name the data folder with --data-dir",
                    settings.data_dir.display()
                );
                return Err(UsageError(text).into());
            }
            Ok(None) => {
                let text = format!(
                    "{} is missing: restore the data folder from a backup",
                    dir.join("log.meta").display()
                );
                (PARTITIONS_MAX, Some(PortError::new(ErrorKind::Corrupt, text)))
            }
            Err(error) if error.kind == ErrorKind::Corrupt => (PARTITIONS_MAX, Some(error)),
            Err(error) => return Err(error.into()),
        };
        let mut partitions: Vec<_> = match bad_meta {
            None => (0..count).map(PartitionId).collect(),
            Some(_) => found_partitions(&dir),
        };
        if let Some(wanted) = self.partition {
            partitions.retain(|partition| partition.0 == wanted);
            if partitions.is_empty() {
                let text = format!("{} has no partition {wanted}", dir.display());
                return Err(UsageError(text).into());
            }
        }
        let is_served = is_folder_in_use(&settings.data_dir)?;
        Ok(Log { dir, partitions, is_served, bad_meta })
    }
}

/// The partitions that have a folder, for a log that does not say how many it has.
fn found_partitions(dir: &Path) -> Vec<PartitionId> {
    let partitions = (0..PARTITIONS_MAX).map(PartitionId);
    partitions.filter(|n| ReadOnlyDisk.list(&dir.join(n.to_string())).is_ok()).collect()
}

/// A finding in one line: file, position, offset, what to do, why, and how far it goes.
fn line(finding: &Finding) -> String {
    let mut line = finding.message.clone();
    if !finding.reason.is_empty() {
        line += &format!(": {}", finding.reason);
    }
    match finding.next_offset {
        Some(next) if next > finding.offset => {
            let last = next.0 - 1;
            line + &format!(" (offsets {} to {last} cannot be read)", finding.offset)
        }
        _ => line,
    }
}
