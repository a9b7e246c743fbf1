//! `tally doctor`: is this machine, and is this data folder, fit for a server?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::config::resolve;
use super::{Outcome, output};
use crate::config::Raw;
use crate::doctor::{Finding, Verdict, examine};

/// Check the machine, the data folder and the settings for what would hurt a server
///
/// It changes nothing; a server may be running. Exit status 1 where there is a problem; warnings are none.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally doctor --data-dir /var/lib/tally\n  \
                        tally doctor --json | jq '.checks[] | select(.verdict != \"good\")'")]
pub(crate) struct DoctorArgs {
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
struct Report<'a> {
    is_healthy: bool,
    checks: &'a [Finding],
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let checks = match resolve(args.config.as_deref(), &args.settings) {
        Ok(settings) => {
            let mut checks = examine(&settings);
            let set = settings.shown.iter().filter(|(_, _, origin)| origin.is_set()).count();
            let found = format!("{set} of {} set, all usable", settings.shown.len());
            checks.insert(1, Finding::good("settings", found));
            checks
        }
        Err(error) => {
            let advice = "`tally config` shows the others and where they came from";
            vec![Finding::problem("settings", error.to_string(), advice)]
        }
    };
    let is_healthy = checks.iter().all(|finding| finding.verdict < Verdict::Problem);
    if args.json {
        let report = Report { is_healthy, checks: &checks };
        output::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(&text(&checks, is_healthy))?;
    }
    Ok(if is_healthy { Outcome::Good } else { Outcome::Failed })
}

fn text(checks: &[Finding], is_healthy: bool) -> String {
    let mut table = output::table();
    for Finding { check, verdict, found, advice } in checks {
        let verdict = match verdict {
            Verdict::Good => "good",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        let advice = advice.as_ref().map(|advice| format!("\n→ {advice}")).unwrap_or_default();
        table.add_row([*check, verdict, &format!("{}{advice}", output::visible(found))]);
    }
    let warnings = checks.iter().filter(|check| check.verdict == Verdict::Warning).count();
    let end = match (is_healthy, warnings) {
        (false, _) => "there is a problem".to_owned(),
        (true, 0) => "all is well".to_owned(),
        (true, 1) => "1 warning".to_owned(),
        (true, warnings) => format!("{warnings} warnings"),
    };
    format!("{table}\n\n{end}")
}
