//! `tally completions SHELL`: prints the completion script of a shell.

use clap::CommandFactory;

use super::{Cli, Outcome, output};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tally completions bash > ~/.local/share/bash-completion/completions/tally\n  \
    tally completions zsh > ~/.zfunc/_tally\n  \
    tally completions fish > ~/.config/fish/completions/tally.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tally", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Good)
}
