//! `tally log dump`: prints the records of the log, one JSON object a line.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use adapters::embedded::disk::ReadOnlyDisk;
use adapters::embedded::log::inspect::{Finding, FindingKind, Piece, View, inspect};
use anyhow::{Context, bail};
use api::DecimalNumber;
use clap::Args;
use model::control::Control;
use model::record::Record;
use model::{Batch, Offset};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::records::{Entry, entries};
use super::{Outcome, WhereArgs, line};

/// Print the records of the log as NDJSON
///
/// Each event is printed as it may be sent (`tally log dump | tally send -`), with its partition,
/// offset and append_time beside it. Control records have a field control, records that cannot be
/// counted a field uncountable with the reason and their bytes; neither is an event. Stops at
/// damage with exit status 1. While a server runs, the newest records may not be acknowledged yet.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally log dump --partition 0 --from 1200 --limit 10\n  \
    tally log dump --skip-damaged > events.ndjson && tally send events.ndjson")]
pub(super) struct DumpArgs {
    #[command(flatten)]
    place: WhereArgs,
    /// From this offset on, in each partition
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// Up to this offset, exclusive, in each partition
    #[arg(long, value_name = "OFFSET", conflicts_with = "limit")]
    to: Option<u64>,
    /// So many records in all
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Go on behind damage, and say on standard error what was skipped
    #[arg(long)]
    skip_damaged: bool,
    /// Print JSON, which this command always does
    #[arg(long)]
    json: bool,
}

/// Why no more is printed.
enum End {
    /// All that was asked for is there.
    Enough,
    /// The reader has gone, or the output failed.
    Output(io::Error),
    Damage(Finding),
}

struct Dump<'a> {
    args: &'a DumpArgs,
    out: BufWriter<io::StdoutLock<'static>>,
    left: u64,
}

pub(super) fn run(args: &DumpArgs) -> anyhow::Result<Outcome> {
    if args.to.is_some_and(|to| to < args.from) {
        return Err(super::UsageError("--to must not be below --from".into()).into());
    }
    let log = args.place.open()?;
    if let Some(error) = log.bad_meta {
        if !args.skip_damaged {
            return Err(anyhow::Error::new(error).context("go on with --skip-damaged"));
        }
        eprintln!("tally: {error}; printing the partitions that have a folder");
    }
    let out = BufWriter::new(io::stdout().lock());
    let mut dump = Dump { args, out, left: args.limit.unwrap_or(u64::MAX) };
    let from = Offset(args.from);
    for partition in log.partitions {
        let view = View { disk: &ReadOnlyDisk, dir: &log.dir, is_served: log.is_served, from };
        let mut end = None;
        inspect(view, partition, &mut |piece| {
            let next = dump.take(piece);
            next.map_break(|why| end = Some(why))
        })?;
        match end {
            None | Some(End::Enough) if dump.left > 0 => {}
            None | Some(End::Enough) => break,
            Some(End::Output(error)) => return output_end(error),
            Some(End::Damage(finding)) => {
                if let Err(error) = dump.out.flush() {
                    return output_end(error);
                }
                bail!("{}; go on behind it with --skip-damaged", line(&finding));
            }
        }
    }
    dump.out.flush().map_or_else(output_end, |()| Ok(Outcome::Good))
}

/// A reader that has gone (`| head`) is no error.
fn output_end(error: io::Error) -> anyhow::Result<Outcome> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Outcome::Good),
        _ => Err(error).context("cannot write to standard output"),
    }
}

impl Dump<'_> {
    fn take(&mut self, piece: Piece) -> ControlFlow<End> {
        match piece {
            Piece::Segment { .. } => ControlFlow::Continue(()),
            Piece::Batch { batch, .. } => self.batch(&batch),
            Piece::Finding(finding) => self.finding(finding),
        }
    }

    fn batch<B: AsRef<[u8]>>(&mut self, batch: &Batch<B>) -> ControlFlow<End> {
        for (offset, entry) in entries(batch) {
            if offset.0 < self.args.from {
                continue;
            }
            if self.left == 0 || self.args.to.is_some_and(|to| offset.0 >= to) {
                return ControlFlow::Break(End::Enough);
            }
            self.left -= 1;
            let printed = Line {
                partition: batch.partition.0,
                offset: offset.0,
                append_time: batch.append_time.to_string(),
                entry,
            };
            let written = serde_json::to_writer(&mut self.out, &printed)
                .map_err(io::Error::from)
                .and_then(|()| self.out.write_all(b"\n"));
            if let Err(error) = written {
                return ControlFlow::Break(End::Output(error));
            }
        }
        ControlFlow::Continue(())
    }

    fn finding(&mut self, finding: Finding) -> ControlFlow<End> {
        if finding.next_offset.is_some_and(|next| next.0 <= self.args.from && next > finding.offset)
        {
            return ControlFlow::Continue(());
        }
        if self.left == 0 || self.args.to.is_some_and(|to| finding.offset.0 >= to) {
            return ControlFlow::Break(End::Enough);
        }
        match finding.kind {
            FindingKind::Damage if !self.args.skip_damaged => {
                return ControlFlow::Break(End::Damage(finding));
            }
            FindingKind::Damage => eprintln!("tally: skipped: {}", line(&finding)),
            FindingKind::TornTail | FindingKind::LetGo => eprintln!("tally: {}", line(&finding)),
            FindingKind::Growing | FindingKind::Stray => {}
        }
        ControlFlow::Continue(())
    }
}

/// One line of the output.
struct Line<'a> {
    partition: u16,
    offset: u64,
    append_time: String,
    entry: Entry<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.entry {
            Entry::Event(record) => event(record, &mut map)?,
            Entry::Control(found) => map.serialize_entry("control", &control(found))?,
            Entry::Uncountable(bytes, reason) => {
                let (reason, record) = (reason.to_string(), hex(bytes));
                map.serialize_entry("uncountable", &Uncountable { reason, record })?;
            }
            Entry::BadControl(reason) => {
                let (reason, record) = (reason.to_string(), String::new());
                map.serialize_entry("bad_control", &Uncountable { reason, record })?;
            }
        }
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("append_time", &self.append_time)?;
        map.end()
    }
}

/// What a control record says.
fn control(control: &Control) -> serde_json::Value {
    match control {
        Control::Settings { dedup_minutes } => json!({ "dedup_minutes": dedup_minutes }),
        Control::Retention(retention) => json!({
            "retention_minute_ms": retention.minute_ms(),
            "retention_hour_ms": retention.hour_ms(),
        }),
        Control::Corrections(corrections) => json!({
            "corrections": corrections.cells.len(),
            "generation": corrections.generation,
            "known_offset": corrections.known_offset.0,
        }),
        Control::BulkObject(object) => json!({ "bulk_object": {
            "id": object.id.to_string(), "bytes": object.bytes, "object": object.object,
            "how": object.how,
        } }),
        Control::Confirmed { generation } => json!({ "confirmed_generation": generation }),
        Control::Refused(refused) => json!({ "refused": {
            "source": refused.source, "sequences": refused.ranges.iter().collect::<Vec<_>>(),
        } }),
        Control::Vacant => json!({ "vacant": true }),
    }
}

/// A record that is no event, with its bytes in hexadecimal.
#[derive(Serialize)]
struct Uncountable {
    reason: String,
    record: String,
}

/// Who sent it and its place among what they send.
#[derive(Serialize)]
struct Sender<'a> {
    name: &'a str,
    sequence: i64,
}

/// The fields of an event as the contract has them.
fn event<M: SerializeMap>(record: &Record<'_>, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("id", &record.id_text())?;
    map.serialize_entry("item", record.item)?;
    map.serialize_entry("type", record.event_type)?;
    map.serialize_entry("time", &record.time.to_string())?;
    if let Some(value) = record.value {
        map.serialize_entry("value", &DecimalNumber::from_text(value.to_string()))?;
    }
    let attributes: Vec<_> = record.attributes().collect();
    if !attributes.is_empty() {
        map.serialize_entry("attributes", &Pairs(&attributes))?;
    }
    if let Some((name, sequence)) = record.source {
        map.serialize_entry("source", &Sender { name, sequence })?;
    }
    Ok(())
}

/// Attributes as an object, in the order they were sent.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
