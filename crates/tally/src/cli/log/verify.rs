//! `tally log verify`: reads every byte of the log and names every place that is wrong.

use std::ops::ControlFlow;

use adapters::embedded::disk::ReadOnlyDisk;
use adapters::embedded::log::inspect::{Finding, FindingKind, Piece, View, inspect};
use clap::Args;
use comfy_table::{Cell, CellAlignment};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Batch, Offset, PartitionId};
use serde::Serialize;

use super::records::{Entry, entries};
use super::{Log, Outcome, WhereArgs, line};
use crate::cli::output;

/// Check every segment, batch and record of the log
///
/// Names each damaged place with its file, byte position and offset, and says what to do. A torn
/// tail, which a crash leaves and the next start cuts, is no damage; neither is the end that a
/// running server is writing. Exit status: 0 sound, 1 damage found, 2 wrong usage.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tally log verify\n  \
    tally log verify --data-dir /backup/tally-data --partition 3 --json")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: WhereArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether there is no damage.
    sound: bool,
    /// Whether a server has the log open: its newest records may be missing here.
    served: bool,
    partitions: Vec<PartitionReport>,
    findings: Vec<FindingReport>,
}

#[derive(Debug, Default, Serialize)]
struct PartitionReport {
    partition: u16,
    segments: u64,
    bytes: u64,
    first_offset: Option<u64>,
    next_offset: Option<u64>,
    first_append_time: Option<String>,
    last_append_time: Option<String>,
    events: u64,
    control_records: u64,
    uncountable_records: u64,
    first_uncountable_offset: Option<u64>,
    damaged_places: u64,
}

#[derive(Debug, Serialize)]
struct FindingReport {
    kind: &'static str,
    /// None for the file that all partitions share.
    partition: Option<u16>,
    file: String,
    position: u64,
    offset: Option<u64>,
    next_offset: Option<u64>,
    /// File, place and what to do, in the words of the server.
    message: String,
    /// What is wrong with the bytes.
    reason: String,
    /// All of it for people.
    #[serde(skip)]
    line: String,
}

impl FindingReport {
    /// Damage that is not a batch's.
    fn damage(partition: Option<PartitionId>, file: String, message: String) -> Self {
        Self {
            kind: name(FindingKind::Damage),
            partition: partition.map(|partition| partition.0),
            file,
            position: 0,
            offset: None,
            next_offset: None,
            line: message.clone(),
            message,
            reason: String::new(),
        }
    }

    fn new(partition: PartitionId, finding: &Finding) -> Self {
        Self {
            kind: name(finding.kind),
            partition: Some(partition.0),
            file: finding.path.display().to_string(),
            position: finding.position,
            offset: Some(finding.offset.0),
            next_offset: finding.next_offset.map(|offset| offset.0),
            message: finding.message.clone(),
            reason: finding.reason.clone(),
            line: line(finding),
        }
    }
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let log = args.place.open()?;
    let report = verify(&log)?;
    if args.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(if report.sound { Outcome::Good } else { Outcome::Failed })
}

fn verify(log: &Log) -> anyhow::Result<Report> {
    let mut report =
        Report { sound: true, served: log.is_served, partitions: Vec::new(), findings: Vec::new() };
    if let Some(error) = &log.bad_meta {
        let file = log.dir.join("log.meta").display().to_string();
        report.findings.push(FindingReport::damage(None, file, error.to_string()));
    }
    let progress = ProgressBar::new(log.partitions.len() as u64);
    // Hidden by itself where standard error is no terminal.
    progress.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} partitions {msg}") {
        progress.set_style(style);
    }
    for &partition in &log.partitions {
        let (row, findings) = verify_partition(log, partition, &progress)?;
        report.partitions.push(row);
        report.findings.extend(findings);
        progress.inc(1);
    }
    progress.finish_and_clear();
    report.findings.extend(lost_folders(log, &report.partitions));
    report.sound = !report.findings.iter().any(|found| found.kind == name(FindingKind::Damage));
    Ok(report)
}

fn verify_partition(
    log: &Log,
    partition: PartitionId,
    progress: &ProgressBar,
) -> anyhow::Result<(PartitionReport, Vec<FindingReport>)> {
    let mut row = PartitionReport { partition: partition.0, ..PartitionReport::default() };
    let mut findings = Vec::new();
    let mut file = String::new();
    let from = Offset(0);
    let view = View { disk: &ReadOnlyDisk, dir: &log.dir, is_served: log.is_served, from };
    inspect(view, partition, &mut |piece| {
        match piece {
            Piece::Segment { path, bytes } => {
                file = path.display().to_string();
                progress.set_message(file.clone());
                row.segments += 1;
                row.bytes += bytes;
            }
            Piece::Batch { position, batch, .. } => {
                let bad_controls = row.take(&batch).into_iter();
                findings.extend(bad_controls.map(|bad| bad.report(partition, &file, position)));
            }
            Piece::Finding(finding) => findings.push(FindingReport::new(partition, &finding)),
        }
        ControlFlow::Continue(())
    })?;
    let is_damage = |found: &&FindingReport| found.kind == name(FindingKind::Damage);
    row.damaged_places = findings.iter().filter(is_damage).count() as u64;
    Ok((row, findings))
}

/// A control record that cannot be read.
struct BadControl {
    offset: Offset,
    reason: String,
}

impl BadControl {
    fn report(self, partition: PartitionId, file: &str, position: u64) -> FindingReport {
        let Self { offset, reason } = self;
        let message = format!(
            "{file} at byte {position} (offset {offset}): the control record cannot be read, so \
             that what follows cannot be judged: was the log written by a newer version? Start \
             that one, or restore the data folder from a backup"
        );
        let line = format!("{message}: {reason}");
        let damage = FindingReport::damage(Some(partition), file.to_owned(), message);
        FindingReport { position, offset: Some(offset.0), reason, line, ..damage }
    }
}

impl PartitionReport {
    /// Adds a batch; gives its control records that cannot be read.
    fn take<B: AsRef<[u8]>>(&mut self, batch: &Batch<B>) -> Vec<BadControl> {
        self.first_offset.get_or_insert(batch.base_offset.0);
        self.next_offset = Some(batch.next_offset().0);
        self.first_append_time.get_or_insert_with(|| batch.append_time.to_string());
        self.last_append_time = Some(batch.append_time.to_string());
        let mut bad_controls = Vec::new();
        for (offset, entry) in entries(batch) {
            match entry {
                Entry::Event(_) => self.events += 1,
                Entry::Control(_) => self.control_records += 1,
                Entry::Uncountable(..) => {
                    self.uncountable_records += 1;
                    self.first_uncountable_offset.get_or_insert(offset.0);
                }
                Entry::BadControl(reason) => {
                    bad_controls.push(BadControl { offset, reason: reason.to_string() });
                }
            }
        }
        bad_controls
    }
}

/// Partitions without a segment though others hold records: all get theirs before the first record
/// is written.
fn lost_folders(log: &Log, rows: &[PartitionReport]) -> Vec<FindingReport> {
    let is_begun = rows.iter().any(|row| row.first_offset.is_some());
    let lost = rows.iter().filter(|row| is_begun && row.segments == 0 && row.damaged_places == 0);
    let report = |row: &PartitionReport| {
        let folder = log.dir.join(row.partition.to_string()).display().to_string();
        let message = format!(
            "{folder} holds no segment, but other partitions hold records: check the disk, and \
             restore the data folder from a backup"
        );
        FindingReport::damage(Some(PartitionId(row.partition)), folder, message)
    };
    lost.map(report).collect()
}

/// A stable name, for scripts.
fn name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Damage => "damage",
        FindingKind::TornTail => "torn_tail",
        FindingKind::Growing => "growing",
        FindingKind::LetGo => "let_go",
        FindingKind::Stray => "stray_bytes",
    }
}

fn text(report: &Report) -> String {
    let mut table = output::table();
    table.set_header([
        "partition",
        "segments",
        "bytes",
        "offsets",
        "appended",
        "events",
        "control",
        "uncountable",
        "damaged",
    ]);
    for row in &report.partitions {
        let right =
            |number: u64| Cell::new(output::thousands(number)).set_alignment(CellAlignment::Right);
        let range = |from: Option<String>, to: Option<String>| match (from, to) {
            (Some(from), Some(to)) => Cell::new(format!("{from} to {to}")),
            _ => Cell::new("-"),
        };
        let (first, next) = (row.first_offset, row.next_offset);
        table.add_row([
            right(row.partition.into()),
            right(row.segments),
            right(row.bytes),
            range(first.map(|n| n.to_string()), next.map(|n| n.to_string())),
            range(row.first_append_time.clone(), row.last_append_time.clone()),
            right(row.events),
            right(row.control_records),
            right(row.uncountable_records),
            right(row.damaged_places),
        ]);
    }
    let mut out = format!("{table}\n\n");
    for found in &report.findings {
        let partition = found.partition.map(|n| format!("partition {n}: ")).unwrap_or_default();
        out += &format!("{}: {partition}{}\n", found.kind.replace('_', " "), found.line);
    }
    for row in report.partitions.iter().filter(|row| row.uncountable_records > 0) {
        out += &format!(
            "partition {}: {} records cannot be counted and are dead letters, the first at offset \
             {}: `tally log dump` shows them\n",
            row.partition,
            row.uncountable_records,
            row.first_uncountable_offset.unwrap_or_default()
        );
    }
    if report.served {
        out += "a server has this folder open; what it appends meanwhile is not in this table, \
                which is no damage\n";
    }
    let count = |kind| report.findings.iter().filter(|found| found.kind == name(kind)).count();
    out += &match (count(FindingKind::Damage), count(FindingKind::TornTail)) {
        (0, 0) => "the log is sound\n".to_owned(),
        (0, _) => {
            "the log is sound but for the torn tail, which is no damage by itself\n".to_owned()
        }
        (n, _) => format!("the log is damaged at {n} place{}\n", if n == 1 { "" } else { "s" }),
    };
    out
}

#[cfg(test)]
mod tests {
    use model::control::Control;
    use model::{RecordBuf, TimestampMs};

    use super::*;

    fn batch(base: u64, payload: Vec<u8>, record_count: u32, is_control: bool) -> Batch<Vec<u8>> {
        Batch {
            partition: PartitionId(0),
            log_epoch: 1,
            base_offset: Offset(base),
            record_count,
            append_time: TimestampMs(1_795_255_200_000 + base as i64),
            is_control,
            payload,
        }
    }

    #[test]
    fn records_of_each_kind_are_told_apart() {
        let mut records = RecordBuf::new();
        records.push(&model::Event {
            id: "1".into(),
            item: "a".into(),
            event_type: "view".into(),
            time: TimestampMs(1_795_255_200_000),
            value: None,
            attributes: Vec::new(),
        });
        let settings = Control::Settings { dedup_minutes: 10 }.payload();
        let mut row = PartitionReport::default();
        assert!(row.take(&batch(0, settings, 1, true)).is_empty());
        let payload = [&[1, 9], records.payload()].concat();
        assert!(row.take(&batch(1, payload, 2, false)).is_empty());
        let bad = row.take(&batch(3, vec![1, 9], 1, true));
        assert_eq!((row.events, row.control_records, row.uncountable_records), (1, 1, 1));
        assert_eq!((row.first_offset, row.next_offset), (Some(0), Some(4)));
        assert_eq!(row.first_uncountable_offset, Some(1));
        let found = bad.into_iter().map(|bad| bad.report(PartitionId(0), "f.log", 77));
        let findings: Vec<_> = found.collect();
        let report = Report { sound: false, served: true, partitions: vec![row], findings };
        let shown = text(&report);
        for part in [
            "damage: partition 0: f.log at byte 77 (offset 3): the control record cannot be read",
            "1 records cannot be counted and are dead letters, the first at offset 1",
            "a server has this folder open",
            "damaged at 1 place\n",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }
}
