//! Recovery, decided from facts alone: which batches stay, what is a torn tail that may be cut, and
//! what is damage that stops the partition. Reads and writes nothing.
//!
//! Bad bytes at or above the highest durable offset found anywhere are a tail: no acknowledged
//! record can be in them. Below it they are damage. Durable offsets are found in the segment's
//! header, in valid batches before and after the bad place, and in the caller's checkpoint. A batch
//! whose checksum is right is no torn one: what this program does not know of it is never cut.

use model::{Offset, PartitionId, TimestampMs};

use super::batch::{BadBatch, BatchHeader, HEADER_BYTES, MAGIC, PAYLOAD_BYTES_MAX};
use super::index::Index;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// Why the segments of a partition are not one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadChain {
    #[error("the segment's header is damaged")]
    Header,
    #[error("the segment belongs to another place than its name says")]
    Place,
    #[error("the segment before this one is missing")]
    Gap,
}

/// Checks that segments, in name order, follow each other without a gap. On error, which one is
/// bad.
pub(super) fn check_chain(
    partition: PartitionId,
    segments: &[(Offset, Option<SegmentHeader>)],
) -> Result<(), (usize, BadChain)> {
    let mut before: Option<SegmentHeader> = None;
    for (at, (named_offset, header)) in segments.iter().enumerate() {
        let header = header.ok_or((at, BadChain::Header))?;
        if header.base_offset != *named_offset || header.partition != partition {
            return Err((at, BadChain::Place));
        }
        // The oldest may follow one that was let go.
        if let Some(before) = before
            && (header.previous_base_offset != Some(before.base_offset)
                || header.log_epoch < before.log_epoch
                || header.append_time < before.append_time)
        {
            return Err((at, BadChain::Gap));
        }
        before = Some(header);
    }
    Ok(())
}

/// What is in the newest segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Next offset and position of each batch that is valid and in its place.
    pub(super) batches: Vec<(Offset, usize)>,
    /// Where the last of them ends.
    pub(super) end: usize,
    /// The first offset after them.
    pub(super) next_offset: Offset,
    /// The newest append time.
    pub(super) append_time: TimestampMs,
    /// The highest epoch, of valid batches after a bad place too.
    pub(super) log_epoch: u32,
    /// The highest durable offset that anything in the segment proves.
    pub(super) durable_offset: Offset,
    /// Places of the valid batches.
    pub(super) index: Index,
    /// What follows them where it is not only zeros.
    pub(super) bad: Option<BadTail>,
}

/// Bytes after the last batch in its place that are not zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadTail {
    /// Why they are not a batch.
    pub(super) reason: BadBatch,
    /// Where the last byte that is not zero ends.
    pub(super) written_end: usize,
}

/// Reads a whole segment whose header is known.
pub(super) fn scan(segment: &SegmentHeader, bytes: &[u8]) -> Scan {
    scan_from(segment, bytes, SEGMENT_HEADER_BYTES)
}

/// Reads a segment from a position on, as if what `segment` says were so there.
pub(super) fn scan_from(segment: &SegmentHeader, bytes: &[u8], position: usize) -> Scan {
    let mut scan = Scan {
        batches: Vec::new(),
        end: position,
        next_offset: segment.base_offset,
        append_time: segment.append_time,
        log_epoch: segment.log_epoch,
        durable_offset: segment.base_offset,
        index: Index::new(segment),
        bad: None,
    };
    let reason = loop {
        let header = match BatchHeader::read(&bytes[scan.end..]) {
            Ok((header, _)) => header,
            Err(reason) => break reason,
        };
        let follows = header.partition == segment.partition
            && header.base_offset == scan.next_offset
            && header.log_epoch >= scan.log_epoch
            && header.append_time >= scan.append_time;
        if !follows {
            break BadBatch::Order;
        }
        scan.batches.push((header.next_offset(), scan.end));
        scan.index.note(&header, scan.end as u64);
        scan.end += header.size();
        scan.next_offset = header.next_offset();
        scan.append_time = header.append_time;
        scan.log_epoch = header.log_epoch;
        scan.durable_offset = scan.durable_offset.max(header.durable_offset);
    };
    let tail = &bytes[scan.end..];
    let written = written_len(tail);
    if written > 0 {
        scan.bad = Some(BadTail { reason, written_end: scan.end + written });
        // All of it: the zeros that end a record end its batch too.
        scan.hear_later_batches(segment.partition, tail);
    }
    scan
}

/// Length without the zeros at the end, most of which are passed over a page at a time.
fn written_len(bytes: &[u8]) -> usize {
    static ZEROS: [u8; 4096] = [0; 4096];
    let pages = bytes.rchunks(ZEROS.len());
    let zeros: usize =
        pages.take_while(|page| **page == ZEROS[..page.len()]).map(<[u8]>::len).sum();
    let rest = &bytes[..bytes.len() - zeros];
    rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

impl Scan {
    /// Takes what valid batches after a bad place prove: they were written when everything below
    /// their durable offset was durable.
    fn hear_later_batches(&mut self, partition: PartitionId, tail: &[u8]) {
        for (_, header) in later_batches(partition, self.next_offset, tail) {
            self.durable_offset = self.durable_offset.max(header.durable_offset);
            self.log_epoch = self.log_epoch.max(header.log_epoch);
        }
    }
}

/// The valid batches of a partition anywhere in the bytes behind a bad place, each with its
/// position there; `next_offset` is the first offset that the bad place may hold.
///
/// Clients choose bytes of payloads, those of UUIDs above all, and can make some that look like a
/// batch. One that says that more records lie before it than the bytes before it could hold is none.
pub(super) fn later_batches(
    partition: PartitionId,
    next_offset: Offset,
    bytes: &[u8],
) -> impl Iterator<Item = (usize, BatchHeader)> {
    valid_batches(partition, bytes).filter(move |&(position, header)| {
        let batches_max = position / HEADER_BYTES + 1;
        let records_max = batches_max as u64 * PAYLOAD_BYTES_MAX as u64;
        let before = header.base_offset.0.checked_sub(next_offset.0);
        before.is_some_and(|records| records <= records_max)
    })
}

fn valid_batches(
    partition: PartitionId,
    bytes: &[u8],
) -> impl Iterator<Item = (usize, BatchHeader)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let position = from + memchr::memmem::find(&bytes[from..], &MAGIC)?;
            match BatchHeader::read(&bytes[position..]) {
                Ok((header, _)) if header.partition == partition => {
                    from = position + header.size();
                    return Some((position, header));
                }
                _ => from = position + 1,
            }
        }
    })
}

/// What is to be done before the log may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    /// Valid batches from here on may be in the page cache only: write them again.
    pub(super) rewrite_from: usize,
    /// The bad bytes from the end of the valid batches on become zeros.
    pub(super) cut: Option<BadTail>,
}

/// Damage that must not be repaired silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where valid batches end.
    pub(super) position: usize,
    /// The first offset that is missing.
    pub(super) offset: Offset,
    /// The highest durable offset: all below it was there once.
    pub(super) durable_offset: Offset,
    /// Why the bytes there are not a batch.
    pub(super) reason: BadBatch,
}

/// Tells a torn tail from damage.
pub(super) fn decide(scan: &Scan, known_durable: Option<Offset>) -> Result<Repair, Damage> {
    let durable_offset = scan.durable_offset.max(known_durable.unwrap_or_default());
    let is_later_format = scan.bad.is_some_and(|bad| bad.reason == BadBatch::Header);
    if scan.next_offset < durable_offset || is_later_format {
        let reason = scan.bad.map_or(BadBatch::Magic, |bad| bad.reason);
        let (position, offset) = (scan.end, scan.next_offset);
        return Err(Damage { position, offset, durable_offset, reason });
    }
    let durable = scan.batches.partition_point(|&(next_offset, _)| next_offset <= durable_offset);
    let rewrite_from = scan.batches.get(durable).map_or(scan.end, |&(_, position)| position);
    Ok(Repair { rewrite_from, cut: scan.bad })
}

#[cfg(test)]
mod tests;
