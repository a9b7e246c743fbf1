//! The command line: parses it, runs one command, and turns its end into an exit status.
//!
//! A command is a file with its arguments and a `run`; a new one adds a variant and a line here.

mod audit;
mod backup;
mod cluster;
mod completions;
mod config;
mod count;
mod dead_letters;
mod demo;
mod doctor;
mod drill;
mod glyphs;
mod items;
mod keys;
mod load;
mod log;
mod man;
mod output;
mod recount;
mod report;
mod restore;
mod routing;
mod send;
mod serve;
mod server;
mod signals;
mod sql;
mod stats;
mod store;
mod top;
mod watch;

pub(crate) use output::no_color;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Counts events exactly: never lost, never counted twice.
#[derive(Debug, Parser)]
#[command(
    name = "tally",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Example:\n  tally send access.log && tally top --window 24h\n\n\
                  `tally COMMAND --help` explains a command and shows an example.\n\
                  Exit status: 0 good, 1 failed, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    Gateway(Box<cluster::GatewayArgs>),
    Processor(Box<cluster::ProcessorArgs>),
    Query(Box<cluster::QueryArgs>),
    Send(send::SendArgs),
    Count(count::CountArgs),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    Watch(watch::WatchArgs),
    Report(report::ReportArgs),
    Items(items::ItemsArgs),
    Sql(Box<sql::SqlArgs>),
    Keys(keys::KeysArgs),
    Load(load::LoadArgs),
    Demo(demo::DemoArgs),
    Drill(drill::DrillArgs),
    Log(log::LogArgs),
    Recount(recount::RecountArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Audit(audit::AuditArgs),
    Routing(routing::RoutingArgs),
    Backup(Box<backup::BackupArgs>),
    Restore(restore::RestoreArgs),
    Store(store::StoreArgs),
    Config(Box<config::ConfigArgs>),
    Doctor(Box<doctor::DoctorArgs>),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit status 0.
    Good,
    /// Exit status 1: the output already says what is wrong.
    Failed,
}

/// A combination of arguments that clap cannot refuse by itself. Exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Gateway(args) => cluster::run_gateway(&args),
        Command::Processor(args) => cluster::run_processor(&args),
        Command::Query(args) => cluster::run_query(&args),
        Command::Send(args) => send::run(&args),
        Command::Count(args) => count::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Items(args) => items::run(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Recount(args) => recount::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Routing(args) => routing::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tally: {error:#}");
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent_and_every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains(&format!("tally {name}")), "`tally {name}` shows no example");
        }
    }

    #[test]
    fn wrong_usage_is_status_two() {
        let error = Cli::try_parse_from(["tally", "count"]).expect_err("the item is missing");
        assert_eq!(error.exit_code(), 2);
    }
}
