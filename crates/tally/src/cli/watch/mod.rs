//! `tally watch [ITEM]`: a live view in the terminal.
//!
//! `ask` puts the questions of a page to a server, `state` takes answers and keys, `draw` makes a
//! buffer of the state, and `live` is the loop around them. Only `live` touches the terminal.

mod ask;
mod draw;
mod live;
mod look;
mod once;
mod state;
mod vitals;

use std::io::IsTerminal;
use std::time::Duration;

use super::glyphs::Glyphs;
use super::server::{self, ServerArgs};
use super::{Outcome, UsageError, output};
use crate::config::units::parse_duration_ms;
use ask::Asker;
use draw::Look;
use state::State;

/// How long a request may take: less than people wait for a number.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest interval: a view is no load test.
const INTERVAL_MIN_MS: u64 = 250;

/// Watch numbers move, live in the terminal
///
/// Without ITEM: events a second, the most counted items, what is trending, lag and health. With
/// ITEM: its total, by type, the last 60 minutes and 48 hours, sum and average. Keys: tab or arrows
/// select an item, enter opens it, t is the next type, ? help, q quits.
///
/// NO_COLOR leaves colours out; a locale that is not UTF-8 has bars of ASCII.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally watch\n  tally watch dQw4w9WgXcQ --type like\n  \
    tally watch --once --json | jq .events_per_second")]
pub(crate) struct WatchArgs {
    /// The item, as it was sent [default: an overview]
    item: Option<String>,
    /// The event type to begin with
    #[arg(long = "type", default_value = "view", value_name = "TYPE")]
    event_type: String,
    /// How often the server is asked, such as 500ms or 5s
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_interval)]
    interval: Duration,
    /// Print one snapshot and end; needs no terminal
    #[arg(long)]
    once: bool,
    /// Print the snapshot as JSON
    #[arg(long, requires = "once")]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &WatchArgs) -> anyhow::Result<Outcome> {
    let client = args.server.client()?.with_timeout(REQUEST_TIMEOUT);
    let item = args.item.as_deref();
    let state = State::new(client.base_url(), item, &args.event_type, live::now_ms());
    let runtime = server::runtime()?;
    if args.once {
        let state = runtime.block_on(once::look(state, Asker::new(client), args.interval))?;
        output::print(&if args.json {
            serde_json::to_string(&once::Snapshot::of(&state))?
        } else {
            once::text(&state, Glyphs::of_locale(), output::width())
        })?;
        return Ok(Outcome::Good);
    }
    if !std::io::stdout().is_terminal() {
        let text = "standard output is no terminal; `tally watch --once` prints one snapshot, with \
                    --json for programs";
        return Err(UsageError(text.into()).into());
    }
    let look = Look { glyphs: Glyphs::of_locale(), has_color: !output::no_color() };
    runtime.block_on(live::run(state, client, args.interval, look))?;
    Ok(Outcome::Good)
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("`{text}`: {why}");
    match parse_duration_ms(text).map_err(wrong)? {
        millis if millis < INTERVAL_MIN_MS => {
            Err(wrong(&format!("it must be at least {INTERVAL_MIN_MS}ms")))
        }
        millis => Ok(Duration::from_millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_duration_and_not_too_short() {
        assert_eq!(parse_interval("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "1", "0s", "249ms", "-1s"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
