//! `tally recount`: counts raw events again, compares, and corrects what differs.

use std::time::Duration;

use api::client::Client;
use api::{DifferenceAnswer, RecountAnswer, RecountRequest, RecountState, RepairAnswer};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::server::{self, ServerArgs};
use super::{Outcome, UsageError, output};

const POLL: Duration = Duration::from_millis(200);
/// Differences of the table.
const SHOWN: usize = 50;

/// Count raw events again, compare with the counters, and correct what differs
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    tally recount --start 2026-11-21T00:00:00Z --end 2026-11-22T00:00:00Z\n  \
    tally recount --start 2026-11-21T10:00:00Z --end 2026-11-21T11:00:00Z --item dQw4w9WgXcQ --repair\n  \
    tally recount --repairs\n  tally recount --revert 1795255200123\n\n\
    It reads the raw events that are kept and shares no code with the counting that it checks. Exit \
    status 1 says that\ncounters differ. --repair corrects them; what they were is kept until it is \
    confirmed or taken back.")]
pub(crate) struct RecountArgs {
    /// From this time on, rounded down to an hour
    #[arg(long, value_name = "TIME", requires = "end")]
    start: Option<String>,
    /// Up to this time, rounded up to an hour
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// Only this item
    #[arg(long, requires = "start")]
    item: Option<String>,
    /// Only this event type
    #[arg(long = "type", value_name = "TYPE", requires = "start")]
    event_type: Option<String>,
    /// Correct what differs
    #[arg(long, requires = "start")]
    repair: bool,
    /// List corrections that are not confirmed yet
    #[arg(long, conflicts_with = "start")]
    repairs: bool,
    /// Let go of what a generation of corrections replaced
    #[arg(long, value_name = "GENERATION", conflicts_with_all = ["start", "repairs"])]
    confirm: Option<u64>,
    /// Take a generation of corrections back
    #[arg(long, value_name = "GENERATION", conflicts_with_all = ["start", "repairs", "confirm"])]
    revert: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &RecountArgs) -> anyhow::Result<Outcome> {
    let client = args.server.client()?;
    server::runtime()?.block_on(async {
        if args.repairs {
            return list(&client, args.json).await;
        }
        if let Some(generation) = args.confirm {
            let confirmed = client.confirm_repair(generation).await?;
            return done(&confirmed, args.json, &format!("generation {generation} is confirmed"));
        }
        if let Some(generation) = args.revert {
            let reverted = client.revert_repair(generation).await?;
            let RepairAnswer { corrected, refused, generation: new } = reverted;
            let text = format!(
                "generation {generation} is taken back: {corrected} cells, as generation {new}; \
                 {refused} had changed since"
            );
            return done(&reverted, args.json, &text);
        }
        let (Some(start), Some(end)) = (&args.start, &args.end) else {
            let message = "say what to count again with --start and --end, or ask for --repairs";
            return Err(UsageError(message.into()).into());
        };
        recount(&client, args, start, end).await
    })
}

async fn recount(
    client: &Client,
    args: &RecountArgs,
    start: &str,
    end: &str,
) -> anyhow::Result<Outcome> {
    let time = |text: &str| match text.parse::<i64>() {
        Ok(ms) => ms.into(),
        Err(_) => text.into(),
    };
    let request = RecountRequest {
        start: time(start),
        end: time(end),
        item: args.item.clone(),
        event_type: args.event_type.clone(),
    };
    let begun = client.start_recount(&request).await?;
    let ended = tokio::select! {
        ended = wait(client, begun) => ended?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("the recount goes on in the server"),
    };
    let repaired = match (&ended.state, args.repair && ended.differences > 0) {
        (RecountState::Done, true) => Some(client.repair(ended.id).await?),
        _ => None,
    };
    if args.json {
        let answer = RecountAnswer { repair: repaired, ..ended.clone() };
        print_json(&answer)?;
    } else {
        output::print(&text(&ended, repaired.as_ref()))?;
    }
    let is_right = ended.state == RecountState::Done
        && (ended.differences == 0 || repaired.is_some_and(|repair| repair.refused == 0));
    Ok(if is_right { Outcome::Good } else { Outcome::Failed })
}

async fn wait(client: &Client, begun: RecountAnswer) -> anyhow::Result<RecountAnswer> {
    let bar = ProgressBar::new(0);
    let style = "{spinner} recount {human_pos} of {human_len} events {wide_bar} {eta}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
    let mut recount = begun;
    while recount.state == RecountState::Running {
        bar.set_length(recount.events_planned.max(recount.events_read));
        bar.set_position(recount.events_read);
        tokio::time::sleep(POLL).await;
        recount = client.recount(recount.id).await?;
    }
    bar.finish_and_clear();
    Ok(recount)
}

async fn list(client: &Client, json: bool) -> anyhow::Result<Outcome> {
    let answer = client.repairs().await?;
    let mut table = output::table();
    table.set_header(["GENERATION", "CORRECTED", "REFUSED"]);
    for RepairAnswer { generation, corrected, refused } in &answer.repairs {
        table.add_row([generation, corrected, refused].map(ToString::to_string));
    }
    let text = match answer.repairs.is_empty() {
        true => "no corrections that are not confirmed".to_owned(),
        false => table.trim_fmt(),
    };
    done(&answer, json, &text)
}

fn done(answer: &impl Serialize, json: bool, text: &str) -> anyhow::Result<Outcome> {
    match json {
        true => print_json(answer)?,
        false => output::print(text)?,
    }
    Ok(Outcome::Good)
}

fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    output::print(&serde_json::to_string(answer)?)
}

fn text(recount: &RecountAnswer, repaired: Option<&RepairAnswer>) -> String {
    let RecountAnswer { start, end, events, repeats, differences, .. } = recount;
    match recount.state {
        RecountState::Done => {}
        RecountState::Stopped => return "the recount was stopped; nothing was changed".into(),
        _ => {
            let reason = recount.error.as_deref().unwrap_or("the server does not say why");
            return format!("the recount cannot tell: {reason}");
        }
    }
    let read = format!(
        "{} events from {start} to {end} and beside it, {} of them repeats",
        output::thousands(*events),
        output::thousands(*repeats)
    );
    if *differences == 0 {
        return format!("{read}\nthe counters are what the events say, to the last digit");
    }
    let mut table = output::table();
    table.set_header(["ITEM", "TYPE", "WHAT", "STORED", "RECOUNTED", "PARTITION"]);
    for found in recount.found.iter().take(SHOWN) {
        let DifferenceAnswer { item, event_type, granularity, time, .. } = found;
        let what = match time {
            Some(time) => format!("{granularity} {time}"),
            None => granularity.clone(),
        };
        let stored = numbers(&found.stored, &found.recounted);
        let recounted = numbers(&found.recounted, &found.stored);
        let partition = found.partition.to_string();
        table.add_row([
            output::visible(item),
            event_type.clone(),
            what,
            stored,
            recounted,
            partition,
        ]);
    }
    let mut lines = vec![read, format!("{differences} numbers differ:"), table.trim_fmt()];
    let more = differences.saturating_sub(SHOWN as u64);
    if more > 0 {
        lines.push(format!("… and {more} more; --json shows a thousand"));
    }
    lines.push(match repaired {
        Some(RepairAnswer { generation, corrected, refused: 0 }) => format!(
            "{corrected} numbers corrected as generation {generation}; what they were is kept \
             until `tally recount --confirm {generation}`, or comes back with --revert"
        ),
        Some(RepairAnswer { generation, corrected, refused }) => format!(
            "{corrected} numbers corrected as generation {generation}; {refused} changed \
             meanwhile: run the same command again"
        ),
        None => "add --repair to correct them".into(),
    });
    lines.join("\n")
}

/// The count, and what else differs from the other.
fn numbers(of: &api::NumbersAnswer, other: &api::NumbersAnswer) -> String {
    let mut parts = vec![output::thousands(of.count)];
    let decimals =
        [("sum", &of.sum, &other.sum), ("min", &of.min, &other.min), ("max", &of.max, &other.max)];
    for (name, value, other) in decimals {
        if value != other {
            let text = value.as_ref().map_or("none", |value| value.as_str());
            parts.push(format!("{name} {text}"));
        }
    }
    parts.join(", ")
}
