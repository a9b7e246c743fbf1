//! A record batch as it lies in a segment: what one group commit writes, behind a checksum.
//!
//! ```text
//! byte  size  all numbers little-endian
//!    0     4  magic FE 'T' 'L' 'B' (FE is in no text, so that no event looks like a batch)
//!    4     4  CRC32C of everything after it, the payload as stored included
//!    8     4  length of the payload as stored
//!   12     4  length of the payload
//!   16     8  base_offset: offset of the first record
//!   24     8  append_time in ms since 1970
//!   32     8  durable_offset known when this was written: the first offset not durable then
//!   40     4  record_count, at least 1, at most the length of the payload
//!   44     4  log_epoch
//!   48     2  partition
//!   50     1  codec of the payload: 0 none, 1 LZ4 block, 2 zstd
//!   51     1  flags: bit 0 control records, others 0
//!   52     4  0
//!   56        payload as stored, see model::record
//! ```

use bytes::Bytes;
use model::{Batch, Offset, PartitionId, TimestampMs};

/// Size of a batch header in bytes.
pub(super) const HEADER_BYTES: usize = 56;
/// How every batch begins.
pub(super) const MAGIC: [u8; 4] = [0xfe, b'T', b'L', b'B'];
/// Largest payload of a batch, in bytes, before compression: bounds what a reader allocates.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const CRC_FROM: usize = 8;
const FLAG_CONTROL: u8 = 1;

/// How the payload of a batch is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    None,
    /// LZ4 block format: the least work.
    #[default]
    Lz4,
    /// zstd, level 1: the least bytes.
    Zstd,
}

/// Everything a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) stored_len: u32,
    pub(super) payload_len: u32,
    pub(super) base_offset: Offset,
    pub(super) append_time: TimestampMs,
    pub(super) durable_offset: Offset,
    pub(super) record_count: u32,
    pub(super) log_epoch: u32,
    pub(super) partition: PartitionId,
    pub(super) codec: Codec,
    pub(super) is_control: bool,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBatch {
    #[error("no batch begins there")]
    Magic,
    #[error("the batch goes on after the end of its file")]
    Length,
    #[error("the batch's checksum is wrong")]
    Checksum,
    #[error("the batch's header has values that this version does not know")]
    Header,
    #[error("the batch's payload cannot be decompressed")]
    Payload,
    #[error("the batch does not follow the one before it")]
    Order,
}

impl BatchHeader {
    /// The first offset after the batch.
    pub(super) fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::from(self.record_count))
    }

    /// Size of the batch in its segment, in bytes.
    pub(super) fn size(&self) -> usize {
        HEADER_BYTES + self.stored_len as usize
    }

    /// Writes the header into the room in front of the stored payload, checksum last.
    pub(super) fn seal(&self, batch: &mut [u8]) {
        debug_assert_eq!(batch.len(), self.size());
        batch[..4].copy_from_slice(&MAGIC);
        batch[8..12].copy_from_slice(&self.stored_len.to_le_bytes());
        batch[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        batch[16..24].copy_from_slice(&self.base_offset.0.to_le_bytes());
        batch[24..32].copy_from_slice(&self.append_time.0.to_le_bytes());
        batch[32..40].copy_from_slice(&self.durable_offset.0.to_le_bytes());
        batch[40..44].copy_from_slice(&self.record_count.to_le_bytes());
        batch[44..48].copy_from_slice(&self.log_epoch.to_le_bytes());
        batch[48..50].copy_from_slice(&self.partition.0.to_le_bytes());
        batch[50] = match self.codec {
            Codec::None => 0,
            Codec::Lz4 => 1,
            Codec::Zstd => 2,
        };
        batch[51] = if self.is_control { FLAG_CONTROL } else { 0 };
        batch[52..56].fill(0);
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Length of the whole batch whose first bytes these are, unchecked; none where no batch
    /// begins or too few bytes are given.
    pub(super) fn claimed_size(bytes: &[u8]) -> Option<usize> {
        let header = bytes.get(..HEADER_BYTES)?;
        (header[..4] == MAGIC).then(|| HEADER_BYTES + u32_at(header, 8) as usize)
    }

    /// Reads the batch at the front of `bytes`, and checks all but what lies around it.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), BadBatch> {
        if bytes.get(..4) != Some(&MAGIC) {
            return Err(BadBatch::Magic);
        }
        let size = Self::claimed_size(bytes).ok_or(BadBatch::Length)?;
        let batch = bytes.get(..size).ok_or(BadBatch::Length)?;
        if crc32c::crc32c(&batch[CRC_FROM..]) != u32_at(batch, 4) {
            return Err(BadBatch::Checksum);
        }
        let header = Self {
            stored_len: u32_at(batch, 8),
            payload_len: u32_at(batch, 12),
            base_offset: Offset(u64_at(batch, 16)),
            append_time: TimestampMs(u64_at(batch, 24) as i64),
            durable_offset: Offset(u64_at(batch, 32)),
            record_count: u32_at(batch, 40),
            log_epoch: u32_at(batch, 44),
            partition: PartitionId(u16::from_le_bytes([batch[48], batch[49]])),
            codec: match batch[50] {
                0 => Codec::None,
                1 => Codec::Lz4,
                2 => Codec::Zstd,
                _ => return Err(BadBatch::Header),
            },
            is_control: batch[51] & FLAG_CONTROL != 0,
        };
        let is_known = batch[51] & !FLAG_CONTROL == 0
            && u32_at(batch, 52) == 0
            && header.record_count > 0
            && header.record_count <= header.payload_len
            && header.durable_offset <= header.base_offset
            && header.base_offset.0.checked_add(u64::from(header.record_count)).is_some()
            && header.payload_len as usize <= PAYLOAD_BYTES_MAX;
        if !is_known {
            return Err(BadBatch::Header);
        }
        Ok((header, &batch[HEADER_BYTES..]))
    }

    /// The batch as readers get it.
    pub(super) fn open(&self, stored: &[u8]) -> Result<Batch<Bytes>, BadBatch> {
        let payload = match self.codec {
            Codec::None => stored.to_vec(),
            Codec::Lz4 => {
                let mut payload = vec![0; self.payload_len as usize];
                let len = lz4_flex::block::decompress_into(stored, &mut payload)
                    .map_err(|_| BadBatch::Payload)?;
                payload.truncate(len);
                payload
            }
            Codec::Zstd => zstd::bulk::decompress(stored, self.payload_len as usize)
                .map_err(|_| BadBatch::Payload)?,
        };
        if payload.len() != self.payload_len as usize {
            return Err(BadBatch::Payload);
        }
        Ok(self.batch(payload.into()))
    }

    /// The batch as readers get it, around a payload that is known already.
    pub(super) fn batch(&self, payload: Bytes) -> Batch<Bytes> {
        Batch {
            partition: self.partition,
            log_epoch: self.log_epoch,
            base_offset: self.base_offset,
            record_count: self.record_count,
            append_time: self.append_time,
            is_control: self.is_control,
            payload,
        }
    }
}

/// Compresses payloads, with tables and room that are used again.
pub(super) struct Compressor {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Room for a header and a compressed payload.
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(codec: Codec) -> std::io::Result<Self> {
        let zstd = match codec {
            Codec::Zstd => Some(zstd::bulk::Compressor::new(1)?),
            Codec::None | Codec::Lz4 => None,
        };
        Ok(Self { codec, zstd, out: Vec::new() })
    }

    /// The header's room with the stored payload behind it, for [`BatchHeader::seal`]: of `plain`,
    /// which has the same form, or compressed where that is smaller.
    pub(super) fn store<'a>(&'a mut self, plain: &'a mut [u8]) -> (Codec, &'a mut [u8]) {
        let payload = &plain[HEADER_BYTES..];
        let bound = match self.codec {
            Codec::None => return (Codec::None, plain),
            Codec::Lz4 => lz4_flex::block::get_maximum_output_size(payload.len()),
            Codec::Zstd => zstd::zstd_safe::compress_bound(payload.len()),
        };
        if self.out.len() < HEADER_BYTES + bound {
            self.out.resize(HEADER_BYTES + bound, 0);
        }
        let room = &mut self.out[HEADER_BYTES..];
        let len = match &mut self.zstd {
            None => lz4_flex::block::compress_into(payload, room).ok(),
            Some(zstd) => zstd.compress_to_buffer(payload, room).ok(),
        };
        match len {
            Some(len) if len < payload.len() => (self.codec, &mut self.out[..HEADER_BYTES + len]),
            _ => (Codec::None, plain),
        }
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(payload: &[u8]) -> BatchHeader {
        BatchHeader {
            stored_len: payload.len() as u32,
            payload_len: payload.len() as u32,
            base_offset: Offset(7),
            append_time: TimestampMs(1_795_255_200_123),
            durable_offset: Offset(5),
            record_count: 1,
            log_epoch: 3,
            partition: PartitionId(1),
            codec: Codec::None,
            is_control: true,
        }
    }

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut batch = [&[0; HEADER_BYTES], payload].concat();
        header(payload).seal(&mut batch);
        batch
    }

    #[test]
    fn golden_bytes() {
        let hex: String = sealed(&[5, 1, 10, 0, 0, 0]).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "fe544c4215d1b8aa060000000600000007000000000000007b698cfda10100000500000000000000\
             0100000003000000010000010000000005010a000000"
        );
    }

    #[test]
    fn a_batch_has_no_more_records_than_bytes() {
        for (record_count, expected) in [(7, true), (8, false), (u32::MAX, false)] {
            let mut batch = sealed(b"payload");
            BatchHeader { record_count, ..header(b"payload") }.seal(&mut batch);
            assert_eq!(BatchHeader::read(&batch).is_ok(), expected, "{record_count}");
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let batch = sealed(b"payload");
        assert_eq!(BatchHeader::read(&batch), Ok((header(b"payload"), &b"payload"[..])));
        for bit in 0..batch.len() * 8 {
            let mut batch = batch.clone();
            batch[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchHeader::read(&batch).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn every_codec_gives_the_payload_back(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..2000),
                proptest::collection::vec(0u8..3, 1..2000),
            ],
        ) {
            for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
                let mut compressor = Compressor::new(codec).unwrap();
                let mut plain = [&[0; HEADER_BYTES], &payload[..]].concat();
                let (codec, batch) = compressor.store(&mut plain);
                let stored_len = (batch.len() - HEADER_BYTES) as u32;
                prop_assert!(stored_len as usize <= payload.len());
                let header = BatchHeader { codec, stored_len, ..header(&payload) };
                header.seal(batch);
                let (read, stored) = BatchHeader::read(batch).unwrap();
                prop_assert_eq!(&read.open(stored).unwrap().payload[..], &payload[..]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&MAGIC[..], &bytes].concat();
            prop_assert!(BatchHeader::read(&bytes).is_err());
        }
    }
}
