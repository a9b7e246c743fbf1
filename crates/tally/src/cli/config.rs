//! `tally config`: the settings in effect and where each came from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Outcome, UsageError};
use crate::config::{Layer, Machine, Origin, Raw, Resolved, SettingError, environment, read_file};

/// Show the settings in effect and where each came from
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  TALLY_MAX_EVENT_AGE=40y tally config --partitions 4")]
pub(crate) struct ConfigArgs {
    /// Settings file [default: ./tally.toml, where it exists]
    #[arg(long, value_name = "FILE", env = "TALLY_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Raw,
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
