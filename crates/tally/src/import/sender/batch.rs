//! Cuts a file into bodies of a request, on a thread of its own.

use tokio::sync::mpsc;

use super::super::lanes::{Lanes, lane_of, left_of_lane};
use super::super::reader::Reader;
use super::super::report::{FileReport, Piece};

/// A body is closed at this size, far below the contract's 16 MiB.
const BODY_BYTES: usize = 4 << 20;

/// Some records of a file, in its order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Its place among the batches of the file, from 0.
    pub(super) index: u64,
    /// How many records of the file come before it.
    pub(super) first_record: u64,
    /// How many events come before it: what its events are stamped from.
    pub(super) first_event: u64,
    /// Events, one a line; none where an earlier run has settled all of it.
    pub(super) body: Vec<u8>,
    /// The line of the file of each event.
    pub(super) lines: Vec<u64>,
    /// The records so far, those refused here included.
    pub(super) report: FileReport,
}

/// Reads everything behind the first `skip` records but what is settled ahead; ends early when
/// nobody listens any more.
pub(super) fn read_batches(
    mut reader: Reader,
    skip: u64,
    ahead: Vec<Piece>,
    batch_events: usize,
    to: &mpsc::Sender<Batch>,
) -> anyhow::Result<()> {
    let first_event = skip_records(&mut reader, skip)?;
    let mut ahead = ahead.into_iter().peekable();
    let mut batch = Batch { first_record: skip, first_event, ..Batch::default() };
    loop {
        let place = batch.first_record + batch.report.records;
        if let Some(piece) = ahead.next_if(|piece| piece.first_record == place) {
            let events = skip_records(&mut reader, piece.report.records)?;
            let next = batch.next();
            let settled = Batch { report: piece.report, ..next };
            let next = settled.next();
            let next = Batch { first_event: next.first_event + events, ..next };
            if !send(batch, to) || !send(settled, to) {
                return Ok(());
            }
            batch = next;
            continue;
        }
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
        let room = left_of_lane(batch.first_event).min(batch_events.max(1) as u64);
        let is_full = batch.lines.len() as u64 >= room
            || batch.body.len() >= BODY_BYTES
            || batch.report.records >= 100_000;
        if is_full {
            let next = batch.next();
            if !send(std::mem::replace(&mut batch, next), to) {
                return Ok(());
            }
        }
    }
    send(batch, to);
    Ok(())
}

impl Batch {
    /// Which of the file's sources it goes with; none where there is nothing to send.
    pub(super) fn lane(&self, lanes: Option<&Lanes>) -> Option<usize> {
        lanes.filter(|_| !self.lines.is_empty()).map(|_| lane_of(self.first_event))
    }

    /// The one behind it. An empty batch is never sent and leaves its index to the next.
    fn next(&self) -> Self {
        Self {
            index: self.index + u64::from(self.report.records > 0),
            first_record: self.first_record + self.report.records,
            first_event: self.first_event + self.lines.len() as u64,
            ..Self::default()
        }
    }
}

/// Gives the number of events among them.
fn skip_records(reader: &mut Reader, records: u64) -> anyhow::Result<u64> {
    let (mut skipped, mut events) = (Vec::new(), 0);
    for _ in 0..records {
        skipped.clear();
        let Some(record) = reader.next(&mut skipped)? else { break };
        events += u64::from(record.result.is_ok());
    }
    Ok(events)
}

fn send(batch: Batch, to: &mpsc::Sender<Batch>) -> bool {
    batch.report.records == 0 || to.blocking_send(batch).is_ok()
}
