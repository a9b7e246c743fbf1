//! `tally config`: the settings in effect and where each came from; what a running server logs.

use std::path::{Path, PathBuf};

use api::LogLevel;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::server::{ServerArgs, runtime};
use super::{Outcome, UsageError, output};
use crate::config::{Layer, Machine, Origin, Raw, Resolved, SettingError, environment, read_file};

/// Show the settings in effect and where each came from
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  TALLY_MAX_EVENT_AGE=40y tally config --partitions 4\n  \
                  tally config log info,tally_engine=debug",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct ConfigArgs {
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Raw,
    #[command(subcommand)]
    command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Log(LogArgs),
}

/// Show what a running server logs, or change it until it ends
///
/// A filter is a level (error, warn, info, debug, trace, off), and modules with levels of their own, with
/// commas. `info,tally::access=debug` logs every request.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally config log\n  tally config log info,tally_engine=debug")]
struct LogArgs {
    /// What to log from now on
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl LogArgs {
    fn run(&self) -> anyhow::Result<Outcome> {
        let client = self.server.client()?;
        let answer = runtime()?.block_on(async {
            match &self.filter {
                None => client.log_level().await,
                Some(filter) => client.set_log_level(&LogLevel { filter: filter.clone() }).await,
            }
        })?;
        match self.json {
            true => output::print(&serde_json::to_string(&answer)?)?,
            false => output::print(&output::visible(&answer.filter))?,
        }
        Ok(Outcome::Good)
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    value: &'a str,
    origin: String,
}

/// The settings of flags, environment and file together.
pub(super) fn resolve(file: Option<&Path>, flags: &Raw) -> Result<Resolved, SettingError> {
    let variables = environment(|name| std::env::var(name).ok());
    let mut layers = vec![
        Layer { origin: Origin::Flag, raw: flags.clone() },
        Layer { origin: Origin::Environment, raw: variables },
    ];
    if let Some((path, raw)) = read_file(file)? {
        layers.push(Layer { origin: Origin::File(path), raw });
    }
    Resolved::resolve(&layers, Machine::this())
}

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    if let Some(ConfigCommand::Log(log)) = &args.command {
        return log.run();
    }
    let settings = resolve(args.config.as_deref(), &args.settings)
        .map_err(|error| UsageError(error.to_string()))?;
    let shown = settings.shown.iter().map(|(name, value, origin)| Shown {
        name,
        value,
        origin: origin.to_string(),
    });
    if args.json {
        println!("{}", serde_json::to_string_pretty(&shown.collect::<Vec<_>>())?);
        return Ok(Outcome::Good);
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["setting", "value", "from"]);
    for Shown { name, value, origin } in shown {
        table.add_row([name, value, &origin]);
    }
    println!("{table}");
    Ok(Outcome::Good)
}
