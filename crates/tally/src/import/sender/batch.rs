//! Cuts a file into bodies of a request, on a thread of its own.

use tokio::sync::mpsc;

use super::super::reader::Reader;
use super::super::report::FileReport;

/// A body is closed at this size, far below the contract's 16 MiB.
const BODY_BYTES: usize = 4 << 20;

/// Some records of a file, in its order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Its place among the batches of the file, from 0.
    pub(super) index: u64,
    /// Events, one a line.
    pub(super) body: Vec<u8>,
    /// The line of the file of each event.
    pub(super) lines: Vec<u64>,
    /// The records so far, those refused here included; none accepted yet.
    pub(super) report: FileReport,
}

/// Reads everything behind the first `skip` records; ends early when nobody listens any more.
pub(super) fn read_batches(
    mut reader: Reader,
    skip: u64,
    batch_events: usize,
    to: &mpsc::Sender<Batch>,
) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    for _ in 0..skip {
        if reader.next(&mut skipped)?.is_none() {
            break;
        }
        skipped.clear();
    }
    let mut batch = Batch::default();
    loop {
        let record = match reader.next(&mut batch.body) {
            Ok(record) => record,
            Err(error) => {
                // What was read before the damage is good.
                send(batch, to);
                return Err(error);
            }
        };
        let Some(record) = record else { break };
        batch.report.records += 1;
        batch.report.line = record.line;
        batch.report.odd += u64::from(record.is_odd);
        match record.result {
            Ok(()) => batch.lines.push(record.line),
            Err(refusal) => batch.report.refused.add(refusal.code, record.line, refusal.detail),
        }
        // A file of nothing but refused lines moves on too.
        let is_full = batch.lines.len() >= batch_events.max(1)
            || batch.body.len() >= BODY_BYTES
            || batch.report.records >= 100_000;
        if is_full {
            let next = Batch { index: batch.index + 1, ..Batch::default() };
            if !send(std::mem::replace(&mut batch, next), to) {
                return Ok(());
            }
        }
    }
    send(batch, to);
    Ok(())
}

fn send(batch: Batch, to: &mpsc::Sender<Batch>) -> bool {
    batch.report.records == 0 || to.blocking_send(batch).is_ok()
}
