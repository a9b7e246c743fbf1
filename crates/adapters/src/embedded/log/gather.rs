//! Gathers the parts of a group into payloads of record batches, bounded in size.

use super::batch::HEADER_BYTES;
use super::queue::QueuedPart;

/// The payload of a batch, behind room for its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) plain: Vec<u8>,
    pub(super) record_count: u32,
    pub(super) is_control: bool,
}

/// Puts the records of all parts, in order, into as few batches as keep each at or below
/// `batch_bytes_max` of payload, and control records apart from events. A part is divided only where it alone is larger, and then between
/// records; a record larger than the bound gets a batch of its own.
pub(super) fn gather(parts: &[QueuedPart], batch_bytes_max: usize) -> Vec<Gathered> {
    let mut left = parts.iter().map(|part| part.payload.len()).sum();
    let mut batches = Vec::with_capacity(1);
    let mut open = Open::new(batch_bytes_max, left);
    for part in parts {
        let payload = &part.payload[..];
        if part.is_control != open.batch.is_control {
            batches.extend(open.close(left));
            open.batch.is_control = part.is_control;
        }
        if payload.len() <= batch_bytes_max {
            open.add(payload, part.record_count, left, &mut batches);
        } else {
            let mut left_of_part = left;
            for (records, record_count) in divide(payload, batch_bytes_max) {
                open.add(records, record_count, left_of_part, &mut batches);
                left_of_part -= records.len();
            }
        }
        left -= payload.len();
    }
    batches.extend(open.close(0));
    batches
}

/// A batch that is being filled.
struct Open {
    batch: Gathered,
    bytes_max: usize,
}

impl Open {
    fn new(bytes_max: usize, left: usize) -> Self {
        // Exactly the room that is needed where all of it fits, as it nearly always does.
        let mut plain = Vec::with_capacity(HEADER_BYTES + left.min(bytes_max));
        plain.resize(HEADER_BYTES, 0);
        Self { batch: Gathered { plain, record_count: 0, is_control: false }, bytes_max }
    }

    /// Adds records; `left` bytes are still to come, these included.
    fn add(&mut self, records: &[u8], count: u32, left: usize, done: &mut Vec<Gathered>) {
        if self.batch.plain.len() - HEADER_BYTES + records.len() > self.bytes_max {
            done.extend(self.close(left));
        }
        self.batch.plain.extend_from_slice(records);
        self.batch.record_count += count;
    }

    fn close(&mut self, left: usize) -> Option<Gathered> {
        let is_control = self.batch.is_control;
        let full = std::mem::replace(self, Self::new(self.bytes_max, left)).batch;
        self.batch.is_control = is_control;
        (full.record_count > 0).then_some(full)
    }
}

/// Divides a payload between records into runs of at most `bytes_max`, each with its count.
fn divide(payload: &[u8], bytes_max: usize) -> impl Iterator<Item = (&[u8], u32)> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (mut end, mut count) = (0, 0);
        while end < rest.len() {
            let next = end + record_size(&rest[end..]);
            if count > 0 && next > bytes_max {
                break;
            }
            end = next;
            count += 1;
        }
        let (run, after) = rest.split_at(end);
        rest = after;
        (count > 0).then_some((run, count))
    })
}

/// Size of the first record, its length included.
fn record_size(payload: &[u8]) -> usize {
    let mut len = 0;
    for (at, &byte) in payload.iter().enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return at + 1 + len;
        }
    }
    unreachable!("a RecordBuf holds whole records");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::log::queue::Reply;
    use proptest::prelude::*;

    fn part(records: &[Vec<u8>]) -> QueuedPart {
        let mut payload = Vec::new();
        for record in records {
            if record.len() < 0x80 {
                payload.push(record.len() as u8);
            } else {
                payload.extend([(record.len() & 0x7f) as u8 | 0x80, (record.len() >> 7) as u8]);
            }
            payload.extend_from_slice(record);
        }
        let reply = Reply::Only(futures::channel::oneshot::channel().0);
        QueuedPart { payload, record_count: records.len() as u32, is_control: false, reply }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_batches_are_bounded(
            parts in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
                1..20,
            ),
            bytes_max in 310usize..2_000,
        ) {
            let parts: Vec<QueuedPart> = parts.iter().map(|records| part(records)).collect();
            let batches = gather(&parts, bytes_max);
            let payloads = batches.iter().flat_map(|batch| &batch.plain[HEADER_BYTES..]);
            prop_assert!(payloads.eq(parts.iter().flat_map(|part| &part.payload)));
            for batch in &batches {
                let payload = &batch.plain[HEADER_BYTES..];
                prop_assert!(payload.len() <= bytes_max);
                let records = model::record::split(payload).map(|record| record.unwrap());
                prop_assert_eq!(records.count(), batch.record_count as usize);
            }
            // No two neighbours would have fitted into one, unless a large part came between.
            prop_assert!(batches.windows(2).all(|pair| pair[0].plain.len() > HEADER_BYTES));
        }
    }
}
