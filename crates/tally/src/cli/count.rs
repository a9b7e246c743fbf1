//! `tally count ITEM`: how many events an item has.

use api::CountAnswer;
use api::client::CountQuery;

use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Show how many events an item has
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally count dQw4w9WgXcQ\n  \
    tally count /index.html --type view --start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z --json")]
pub(crate) struct CountArgs {
    /// The item, as it was sent
    item: String,
    /// The event type
    #[arg(long = "type", default_value = "view", value_name = "TYPE")]
    event_type: String,
    /// Count from this time on (RFC 3339 or epoch milliseconds)
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Count up to this time, exclusive
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &CountArgs) -> anyhow::Result<Outcome> {
    let query = CountQuery {
        item: &args.item,
        event_type: Some(&args.event_type),
        start: args.start.as_deref(),
        end: args.end.as_deref(),
    };
    server::show(&args.server, &query.path(), args.json, text)
}

/// The number alone on its line, so that it can be cut out; what it covers after it.
fn text(answer: &CountAnswer) -> String {
    let range = match (&answer.start, &answer.end) {
        (Some(start), Some(end)) => format!(", {start} to {end}"),
        _ => String::new(),
    };
    let stale = if answer.stale { ", stale," } else { "" };
    format!(
        "{}\n{} · {}{range} · {}{stale} as of {}",
        answer.count,
        output::visible(&answer.item),
        answer.event_type,
        answer.status,
        answer.as_of
    )
}
