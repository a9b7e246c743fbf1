//! `tally items`: what is known of items, said by file and shown.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use api::ItemDetailsAnswer;
use api::client::{Client, item_path};
use bytes::Bytes;
use clap::{Args, Subcommand};
use model::limits::{BATCH_EVENTS_MAX, BODY_BYTES_MAX};

use super::server::{self, ServerArgs};
use super::{Outcome, output};

/// Longest line that is read: far above what the rules allow.
const LINE_BYTES_MAX: u64 = 1 << 20;
const _: () = assert!((LINE_BYTES_MAX as usize) < BODY_BYTES_MAX);
/// Lines and bytes of a request.
const LINES_AT_A_TIME: usize = 10_000;
const BYTES_AT_A_TIME: usize = 4 << 20;
const _: () = assert!(LINES_AT_A_TIME <= BATCH_EVENTS_MAX && BYTES_AT_A_TIME < BODY_BYTES_MAX / 2);
/// Refused lines that are named.
const NAMED_MAX: u64 = 10;

/// Say and show what is known of items: titles, channels
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tally items import videos.ndjson\n  tally items get dQw4w9WgXcQ\n\n\
    A line of the file: {\"item\":\"dQw4w9WgXcQ\",\"title\":\"…\",\"channel\":\"…\",\"channel_name\":\"…\"}"
)]
pub(crate) struct ItemsArgs {
    #[command(subcommand)]
    command: ItemsCommand,
}

#[derive(Debug, Subcommand)]
enum ItemsCommand {
    /// Send item details, one JSON object a line; `-` is standard input
    #[command(after_help = "Example:\n  tally items import videos.ndjson")]
    Import {
        /// The file
        file: PathBuf,
        /// Print what came of it as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show what is known of an item
    #[command(after_help = "Example:\n  tally items get dQw4w9WgXcQ --json")]
    Get {
        /// The item, as it was sent
        item: String,
        /// Print the server's answer as it is
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(crate) fn run(args: &ItemsArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        ItemsCommand::Get { item, json, server } => {
            server::show(server, &item_path(item), *json, text)
        }
        ItemsCommand::Import { file, json, server } => import(file, *json, server),
    }
}

fn text(details: &ItemDetailsAnswer) -> String {
    let ItemDetailsAnswer { item, title, channel, channel_name, created, attributes } = details;
    let mut table = output::table();
    let named = [
        ("item", Some(item)),
        ("title", title.as_ref()),
        ("channel", channel.as_ref()),
        ("channel_name", channel_name.as_ref()),
        ("created", created.as_ref()),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in named.chain(attributes.iter().map(|(key, value)| (key.as_str(), value))) {
        table.add_row([output::visible(name), output::visible(value)]);
    }
    table.trim_fmt()
}

/// What came of an import.
#[derive(Default)]
struct Sent {
    accepted: u64,
    rejected: u64,
}

fn import(file: &Path, json: bool, server: &ServerArgs) -> anyhow::Result<Outcome> {
    let client = server.client()?;
    let runtime = server::runtime()?;
    let sent = if file == Path::new("-") {
        runtime.block_on(send(&client, &mut std::io::stdin().lock()))?
    } else {
        let opened = std::fs::File::open(file);
        let opened = opened.with_context(|| format!("cannot open {}", file.display()))?;
        runtime.block_on(send(&client, &mut BufReader::new(opened)))?
    };
    let Sent { accepted, rejected } = sent;
    if json {
        output::print(&format!(r#"{{"accepted":{accepted},"rejected":{rejected}}}"#))?;
    } else {
        let (accepted, refused) = (output::thousands(accepted), output::thousands(rejected));
        output::print(&format!("{accepted} items are known, {refused} lines were refused"))?;
    }
    Ok(if rejected == 0 { Outcome::Good } else { Outcome::Failed })
}

/// Sends lines, some at a time. What was sent before an error stays; sending it all again is no harm.
async fn send(client: &Client, input: &mut dyn BufRead) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let (mut lines, mut body) = (Vec::<u64>::new(), Vec::new());
    for number in 1.. {
        let mut line = Vec::new();
        let read = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.with_context(|| format!("cannot read line {number}"))?;
        anyhow::ensure!(
            (read as u64) < LINE_BYTES_MAX,
            "line {number} is over 1 MiB: is it NDJSON?"
        );
        if !line.trim_ascii().is_empty() {
            lines.push(number);
            body.extend_from_slice(line.trim_ascii());
            body.push(b'\n');
        }
        let is_full = lines.len() >= LINES_AT_A_TIME || body.len() >= BYTES_AT_A_TIME;
        if (is_full || read == 0) && !lines.is_empty() {
            let first = lines[0];
            let answer = client.send_items(Bytes::from(std::mem::take(&mut body))).await;
            let answer = answer.with_context(|| {
                format!("lines from {first} on were not sent; send the file again")
            })?;
            sent.accepted += answer.accepted;
            for refused in &answer.rejected {
                sent.rejected += 1;
                if sent.rejected <= NAMED_MAX {
                    let line = usize::try_from(refused.index).ok().and_then(|at| lines.get(at));
                    let line = line.copied().unwrap_or(first);
                    eprintln!(
                        "line {line}: {} ({})",
                        output::visible(&refused.detail),
                        refused.code
                    );
                }
            }
            lines.clear();
        }
        if read == 0 {
            break;
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_shown() {
        let details: ItemDetailsAnswer =
            serde_json::from_str(r#"{"item":"a","title":"T\u001b","attributes":{"country":"DE"}}"#)
                .expect("an answer of the contract");
        let shown = text(&details);
        assert!(shown.contains("title") && shown.contains("country") && shown.contains("DE"));
        assert!(!shown.contains("channel") && !shown.contains('\u{1b}'), "{shown}");
    }
}
