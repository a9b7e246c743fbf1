//! `tally dead-letters`: what could not be counted, why, and what is to become of it.

use std::str::FromStr;

use anyhow::Context;
use api::client::{Client, ClientError};
use api::{DeadLetterAnswer, LetterState, ProblemCode};
use clap::Subcommand;
use serde::Serialize;

use super::server::{self, ServerArgs};
use super::{Outcome, UsageError, output};

/// Letters asked for at a time: the most that a page has.
const PAGE: u32 = 1_000;

/// Look at what could not be counted, and settle it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally dead-letters list\n  tally dead-letters show 0/17\n  \
    tally dead-letters replay 0/17 --event '{\"item\":\"a\",\"type\":\"view\"}'\n  \
    tally dead-letters replay --all\n  tally dead-letters drop 0/17\n\n\
    A letter is counted at most once, however often it is replayed.")]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
    Drop(DropArgs),
}

/// Show all dead letters, or those of a partition
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tally dead-letters list\n  \
    tally dead-letters list --partition 3 --open --json | jq -r .reason")]
struct ListArgs {
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// Only those that are neither replayed nor dropped
    #[arg(long)]
    open: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Show one dead letter with its bytes and what can be read of them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tally dead-letters show 0/17")]
struct ShowArgs {
    /// Where it stands: PARTITION/OFFSET
    place: Place,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Count a dead letter, once: as it is, or as a corrected event
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tally dead-letters replay 0/17 --event '{\"item\":\"a\",\"time\":\"2026-11-21T10:00:00Z\"}'\n  \
    tally dead-letters replay --all\n\n\
    Without a time the event gets the time at which the letter came. --all tries every letter \
    that is not settled as it is,\nwhich helps once the program has learned to read them.")]
struct ReplayArgs {
    /// Where it stands: PARTITION/OFFSET
    #[arg(required_unless_present = "all")]
    place: Option<Place>,
    /// Every letter that is neither replayed nor dropped
    #[arg(long, conflicts_with_all = ["place", "event"])]
    all: bool,
    /// The corrected event, as JSON
    #[arg(long, value_name = "JSON")]
    event: Option<String>,
    /// Print a JSON object a letter
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Decide that a dead letter is never counted
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tally dead-letters drop 0/17")]
struct DropArgs {
    /// Where it stands: PARTITION/OFFSET
    place: Place,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where a dead letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: u16,
    offset: u64,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let place = parts.and_then(|(partition, offset)| {
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        place.ok_or("write PARTITION/OFFSET, as `tally dead-letters list` shows it, such as 0/17")
    }
}

pub(crate) fn run(args: &DeadLettersArgs) -> anyhow::Result<Outcome> {
    let (server, json) = match &args.command {
        Command::List(args) => (&args.server, args.json),
        Command::Show(args) => (&args.server, args.json),
        Command::Replay(args) => (&args.server, args.json),
        Command::Drop(args) => (&args.server, args.json),
    };
    let client = server.client()?;
    server::runtime()?.block_on(async {
        match &args.command {
            Command::List(args) => list(&client, args).await,
            Command::Replay(args) => match args.place {
                Some(place) => {
                    let event = args.event.as_deref().map(checked_event).transpose()?;
                    let letter =
                        client.replay_dead_letter(place.partition, place.offset, event).await?;
                    print_settled(&letter, json)
                }
                None => replay_all(&client, json).await,
            },
            Command::Show(args) => {
                let Place { partition, offset } = args.place;
                print_letter(&client.dead_letter(partition, offset).await?, json)
            }
            Command::Drop(args) => {
                let Place { partition, offset } = args.place;
                print_settled(&client.drop_dead_letter(partition, offset).await?, json)
            }
        }
    })
}

/// The body of a corrected event: an empty text would mean the record as it is.
fn checked_event(text: &str) -> anyhow::Result<bytes::Bytes> {
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    is_object.map_err(|error| UsageError(format!("--event must be a JSON object: {error}")))?;
    Ok(bytes::Bytes::copy_from_slice(text.as_bytes()))
}

/// Calls `each` for the letters of a page and goes on to the next.
async fn each_page(
    client: &Client,
    partition: Option<u16>,
    mut each: impl AsyncFnMut(Vec<DeadLetterAnswer>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut from: Option<String> = None;
    loop {
        let page = client.dead_letters(partition, from.as_deref(), PAGE).await?;
        each(page.dead_letters).await?;
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}

fn is_unsettled(letter: &DeadLetterAnswer) -> bool {
    matches!(letter.state, LetterState::Open | LetterState::Replaying)
}

async fn list(client: &Client, args: &ListArgs) -> anyhow::Result<Outcome> {
    let mut table = output::table();
    table.set_header(["PLACE", "CAME", "STATE", "ITEM", "REASON"]);
    let mut shown = 0;
    each_page(client, args.partition, async |page| {
        for letter in page.iter().filter(|letter| !args.open || is_unsettled(letter)) {
            shown += 1;
            if args.json {
                print_json(letter)?;
                continue;
            }
            table.add_row([
                format!("{}/{}", letter.partition, letter.offset),
                letter.append_time.clone(),
                state_name(letter.state).to_owned(),
                output::visible(letter.item.as_deref().unwrap_or("?")),
                output::visible(&letter.reason),
            ]);
        }
        Ok(())
    })
    .await?;
    match (args.json, shown) {
        (true, _) => {}
        (false, 0) => output::print("no dead letters")?,
        (false, _) => output::print(&table.trim_fmt())?,
    }
    Ok(Outcome::Good)
}

/// What came of replaying everything.
#[derive(Debug, Default, Serialize)]
struct Replayed {
    replayed: u64,
    already_replayed: u64,
    failed: u64,
}

async fn replay_all(client: &Client, json: bool) -> anyhow::Result<Outcome> {
    let mut done = Replayed::default();
    each_page(client, None, async |page| {
        for letter in page.iter().filter(|letter| is_unsettled(letter)) {
            let replay = client.replay_dead_letter(letter.partition, letter.offset, None).await;
            match replay {
                Ok(letter) => {
                    done.replayed += 1;
                    print_settled(&letter, json)?;
                }
                Err(ClientError::Problem { problem, .. })
                    if problem.code == ProblemCode::AlreadyReplayed.as_str() =>
                {
                    done.already_replayed += 1;
                }
                Err(error @ ClientError::Problem { .. }) => {
                    done.failed += 1;
                    eprintln!("tally: {}/{}: {error}", letter.partition, letter.offset);
                }
                // The server has gone: the others would fail in the same way.
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
    .await?;
    if json {
        print_json(&done)?;
    } else {
        let Replayed { replayed, already_replayed, failed } = done;
        output::print(&format!(
            "{replayed} replayed, {already_replayed} had been before, {failed} cannot be"
        ))?;
    }
    Ok(if done.failed == 0 { Outcome::Good } else { Outcome::Failed })
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    output::print(&serde_json::to_string(value).context("the answer cannot be written as JSON")?)
}

fn print_settled(letter: &DeadLetterAnswer, json: bool) -> anyhow::Result<Outcome> {
    if json {
        print_json(letter)?;
        return Ok(Outcome::Good);
    }
    let place = format!("{}/{}", letter.partition, letter.offset);
    output::print(&match &letter.replay {
        Some(event) => format!(
            "{place} {}: counted as {} of {} at {}, id {}",
            state_name(letter.state),
            event.event_type,
            output::visible(&event.item),
            event.time,
            event.id
        ),
        None => format!("{place} {}", state_name(letter.state)),
    })?;
    Ok(Outcome::Good)
}

fn print_letter(letter: &DeadLetterAnswer, json: bool) -> anyhow::Result<Outcome> {
    if json {
        print_json(letter)?;
    } else {
        output::print(&text(letter))?;
    }
    Ok(Outcome::Good)
}

fn text(letter: &DeadLetterAnswer) -> String {
    let unreadable = || "cannot be read".to_owned();
    let read =
        |field: &Option<String>| field.as_deref().map(output::visible).unwrap_or_else(unreadable);
    let state = match &letter.state_time {
        Some(time) => format!("{} since {time}", state_name(letter.state)),
        None => state_name(letter.state).to_owned(),
    };
    let mut rows = vec![
        ("place", format!("{}/{}", letter.partition, letter.offset)),
        ("came", letter.append_time.clone()),
        ("reason", output::visible(&letter.reason)),
        ("state", state),
        ("id", read(&letter.id)),
        ("item", read(&letter.item)),
        ("type", read(&letter.event_type)),
        ("time", read(&letter.time)),
    ];
    if let Some(value) = &letter.value {
        rows.push(("value", value.as_str().to_owned()));
    }
    for (key, value) in &letter.attributes {
        rows.push(("attribute", output::visible(&format!("{key} = {value}"))));
    }
    if let Some(event) = &letter.replay {
        let item = output::visible(&event.item);
        let is_done = letter.state == LetterState::Replayed;
        rows.push((
            if is_done { "counted as" } else { "begun as" },
            format!("{} of {item}, id {}", event.event_type, event.id),
        ));
    }
    rows.push(("bytes", letter.record.clone()));
    let lines: Vec<_> = rows.iter().map(|(name, value)| format!("{name:<11}{value}")).collect();
    lines.join("\n")
}

fn state_name(state: LetterState) -> &'static str {
    match state {
        LetterState::Open => "open",
        LetterState::Replaying => "replaying",
        LetterState::Replayed => "replayed",
        LetterState::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!("3/17".parse(), Ok(Place { partition: 3, offset: 17 }));
        for wrong in ["", "3", "3/", "/17", "3/17/1", "-1/2", "70000/1"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_letter_shows_what_can_be_read_and_no_control_characters() {
        let letter: DeadLetterAnswer = serde_json::from_str(
            r#"{"partition":0,"offset":17,"append_time":"T","reason":"R","state":"replayed",
                "state_time":"S","item":"a\u001b[2J","record":"ff00","replay":{"id":"I",
                "item":"b","type":"view","time":"T","partition":1,"from_offset":9}}"#,
        )
        .expect("an answer of the contract");
        let shown = text(&letter);
        for part in ["0/17", "replayed since S", "type       cannot be read", "view of b", "ff00"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn an_event_must_be_an_object() {
        assert!(checked_event(r#"{"item":"a"}"#).is_ok());
        for wrong in ["", "[]", "1", "{"] {
            assert!(checked_event(wrong).expect_err(wrong).is::<UsageError>());
        }
    }
}
