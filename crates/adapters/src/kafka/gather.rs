//! Messages that follow each other, gathered into batches as the engine takes them.

use bytes::Bytes;
use model::control::Control;
use model::record::RecordBuf;
use model::{Batch, Offset, PartitionId, TimestampMs};

use super::LOG_EPOCH;
use super::message::ReadRecord;

/// Bytes of a record's length in a payload, at most, as far as records of this size go.
const LENGTH_BYTES: usize = 3;

/// Batches of one read. One batch holds records of one kind and append time.
pub(super) struct Gathered {
    partition: PartitionId,
    next_offset: Offset,
    bytes_max: usize,
    bytes: usize,
    closed: Vec<Batch<Bytes>>,
    open: Option<Open>,
}

struct Open {
    base_offset: Offset,
    append_time: TimestampMs,
    is_control: bool,
    records: RecordBuf,
}

impl Gathered {
    /// Nothing yet; the record at `next_offset` comes next.
    pub(super) fn new(partition: PartitionId, next_offset: Offset, bytes_max: usize) -> Self {
        let (closed, open) = (Vec::new(), None);
        Self { partition, next_offset, bytes_max, bytes: 0, closed, open }
    }

    /// What comes next.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes a record at or behind the next offset, or gives it back where there is no room. Places
    /// between the two hold nothing: a log gives out what it holds in order.
    pub(super) fn offer(&mut self, record: ReadRecord) -> Result<(), ReadRecord> {
        while self.next_offset < record.offset {
            let mut vacant = Vec::new();
            vacant.extend_from_slice(&Control::Vacant.payload()[1..]);
            let (offset, append_time) = (self.next_offset, record.append_time);
            let vacant = ReadRecord { offset, append_time, is_control: true, bytes: vacant };
            if self.push(vacant).is_err() {
                return Err(record);
            }
        }
        self.push(record)
    }

    fn push(&mut self, record: ReadRecord) -> Result<(), ReadRecord> {
        let bytes = record.bytes.len() + LENGTH_BYTES;
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            return Err(record);
        }
        let ReadRecord { offset, append_time, is_control, bytes: encoded } = record;
        let goes_with =
            |open: &Open| (open.append_time, open.is_control) == (append_time, is_control);
        if !self.open.as_ref().is_some_and(goes_with) {
            self.close();
        }
        let begun =
            || Open { base_offset: offset, append_time, is_control, records: RecordBuf::new() };
        self.open.get_or_insert_with(begun).records.push_encoded(&encoded);
        self.bytes += bytes;
        self.next_offset = offset.plus(1);
        Ok(())
    }

    fn close(&mut self) {
        let Some(Open { base_offset, append_time, is_control, records }) = self.open.take() else {
            return;
        };
        self.closed.push(Batch {
            partition: self.partition,
            log_epoch: LOG_EPOCH,
            base_offset,
            record_count: records.record_count(),
            append_time,
            is_control,
            payload: records.into_payload().into(),
        });
    }

    /// The batches.
    pub(super) fn finish(mut self) -> Vec<Batch<Bytes>> {
        self.close();
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, time: i64, is_control: bool) -> ReadRecord {
        let (offset, append_time) = (Offset(offset), TimestampMs(time));
        ReadRecord { offset, append_time, is_control, bytes: vec![9; 10] }
    }

    fn shape(batches: &[Batch<Bytes>]) -> Vec<(u64, u32, i64, bool)> {
        let of =
            |b: &Batch<Bytes>| (b.base_offset.0, b.record_count, b.append_time.0, b.is_control);
        batches.iter().map(of).collect()
    }

    #[test]
    fn a_batch_has_one_kind_and_time_and_offsets_have_no_gap() {
        let mut gathered = Gathered::new(PartitionId(3), Offset(5), 1_000);
        for record in [
            record(5, 1, false),
            record(6, 1, false),
            record(7, 2, false),
            record(8, 2, true),
            record(11, 4, false),
        ] {
            gathered.offer(record).expect("room");
        }
        assert_eq!(gathered.next_offset(), Offset(12));
        let batches = gathered.finish();
        let expected = [
            (5, 2, 1, false),
            (7, 1, 2, false),
            (8, 1, 2, true),
            (9, 2, 4, true),
            (11, 1, 4, false),
        ];
        assert_eq!(shape(&batches), expected);
        let vacant: Vec<_> = Control::read_all(&batches[3].payload).collect();
        assert_eq!(vacant, [Ok(Control::Vacant), Ok(Control::Vacant)]);
    }

    #[test]
    fn a_read_is_bounded_and_gives_at_least_one() {
        let mut gathered = Gathered::new(PartitionId(0), Offset(0), 1);
        assert!(gathered.is_empty());
        gathered.offer(record(0, 1, false)).expect("one always");
        let held = gathered.offer(record(1, 1, false)).expect_err("no room");
        assert_eq!((held.offset, gathered.next_offset()), (Offset(1), Offset(1)));
        // A gap of any length is filled a read at a time.
        let mut gathered = Gathered::new(PartitionId(0), Offset(1), 100);
        let held = gathered.offer(record(1 << 40, 1, false)).expect_err("no room");
        assert_eq!((held.offset, gathered.next_offset()), (Offset(1 << 40), Offset(26)));
        assert_eq!(gathered.finish()[0].payload.len(), 25 * 2);
    }
}
