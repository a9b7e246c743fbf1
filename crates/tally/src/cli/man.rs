//! `tally man DIR`: a manual page for every command, made from what `--help` is made from.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, Outcome, output};

/// Write manual pages, one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally man ~/.local/share/man/man1\n  \
                        tally man /tmp && man -l /tmp/tally-send.1")]
pub(crate) struct ManArgs {
    /// The folder; created if missing
    dir: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<Outcome> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    output::print(&format!("manual pages are in {}", dir.display()))?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_example() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("man1");
        run(&ManArgs { dir: dir.clone() }).unwrap();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = std::fs::read_to_string(dir.join(format!("tally-{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH OPTIONS"), "{name}: {page}");
            assert!(page.contains("Example"), "{name}: {page}");
        }
        assert!(dir.join("tally.1").exists() && dir.join("tally-log-verify.1").exists());
    }
}
