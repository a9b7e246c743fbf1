//! `tally audit`: what the server's audits found.

use std::collections::BTreeSet;

use api::client::AUDITS;
use api::{AuditAnswer, AuditResult, AuditsAnswer};

use super::server::{ServerArgs, ask, read, runtime};
use super::{Outcome, output};

/// Show what audits found, or make one now
///
/// A live audit sends marked events through the server's own HTTP, as a client would, and looks whether the
/// query service shows exactly them. The server makes one every minute (`audit_interval`).
///
/// Exit status 1 where the last audit of any kind found a difference, or could not be made.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally audit\n  tally audit --now --json")]
pub(crate) struct AuditArgs {
    /// Make a live audit now and show what it finds
    #[arg(long)]
    now: bool,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<Outcome> {
    let found = if args.now {
        let client = args.server.client()?;
        let made = runtime()?.block_on(client.audit_now())?;
        if args.json {
            output::print(&serde_json::to_string(&made)?)?;
        }
        vec![made]
    } else {
        let body = ask(&args.server, AUDITS)?;
        if args.json {
            output::print_json(&body)?;
        }
        read::<AuditsAnswer>(&args.server.url, &body)?.audits
    };
    if !args.json {
        output::print(&text(&found))?;
    }
    Ok(if is_well(&found) { Outcome::Good } else { Outcome::Failed })
}

/// Whether the newest audit of each kind found what it should.
fn is_well(newest_first: &[AuditAnswer]) -> bool {
    let mut seen = BTreeSet::new();
    let mut newest = newest_first.iter().filter(|audit| seen.insert(&audit.kind));
    newest.all(|audit| audit.result == AuditResult::Equal)
}

fn text(audits: &[AuditAnswer]) -> String {
    if audits.is_empty() {
        return "no audit yet; `tally audit --now` makes one".to_owned();
    }
    let mut table = output::table();
    table.set_header(["time", "kind", "result", "expected", "found", "took", ""]);
    for audit in audits {
        table.add_row([
            output::visible(&audit.time),
            output::visible(&audit.kind),
            audit.result.as_str().to_owned(),
            output::thousands(audit.expected),
            output::thousands(audit.found),
            format!("{} ms", audit.duration_ms),
            output::visible(&audit.detail),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_kind_decides() {
        let audit = |kind: &str, result| AuditAnswer {
            kind: kind.into(),
            time: String::new(),
            result,
            expected: 1,
            found: 1,
            drift: 0,
            duration_ms: 1,
            detail: String::new(),
        };
        let (equal, different) = (AuditResult::Equal, AuditResult::Different);
        assert!(is_well(&[]));
        assert!(is_well(&[audit("live", equal), audit("live", different)]));
        assert!(!is_well(&[audit("live", different), audit("live", equal)]));
        assert!(!is_well(&[audit("live", equal), audit("recount", different)]));
        assert!(!is_well(&[audit("live", AuditResult::Failed)]));
    }
}
