//! The frame of a container file: header, blocks, codecs, all bounded.
//!
//! ```text
//! file   = "Obj" 01 | metadata: map of bytes | sync: 16 bytes | block*
//! block  = event count (zigzag) | size (zigzag) | bytes in the codec | sync
//! codecs = null | deflate (raw) | snappy (then the CRC-32 of the data, big-endian) | zstandard
//! ```

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use model::limits::BODY_BYTES_MAX;

use super::AvroError;
use super::datum::Reader;

/// Largest schema that is read: ours has 1.5 KB, and resolving takes time.
const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Most metadata entries.
const METADATA_MAX: u64 = 1_000;
/// Decompressed bytes grow by so much at a time.
const STEP_BYTES: usize = 64 << 10;

/// A container file that is read block by block.
pub(super) struct Container<'a> {
    /// The writer's schema.
    pub(super) schema_json: &'a str,
    codec: Codec,
    sync: &'a [u8],
    rest: Reader<'a>,
    block: &'a [u8],
    /// What the block decompressed to; reused for the next.
    buffer: Vec<u8>,
    /// How many more bytes may come out of decompression.
    bytes_left: usize,
}

/// What is known of a block before it is decompressed.
pub(super) struct BlockHeader {
    /// Number of events in it.
    pub(super) count: u64,
}

enum Codec {
    Null,
    Deflate(Box<Decompress>),
    Snappy,
    Zstandard,
}

impl<'a> Container<'a> {
    /// Reads the header.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, AvroError> {
        let rest = file.strip_prefix(b"Obj\x01");
        let mut rest =
            Reader(rest.ok_or(AvroError::Malformed("not an Avro object container file"))?);
        let (mut schema, mut codec) = (None, &b"null"[..]);
        let mut entries = 0;
        loop {
            let count = rest.block_count()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                entries += 1;
                if entries > METADATA_MAX {
                    return Err(AvroError::Malformed("the header has too many entries"));
                }
                match (rest.bytes()?, rest.bytes()?) {
                    (b"avro.schema", value) => schema = Some(value),
                    (b"avro.codec", value) => codec = value,
                    _ => {}
                }
            }
        }
        let sync = rest.take(16)?;
        let schema = schema.ok_or(AvroError::Malformed("the header has no schema"))?;
        if schema.len() > SCHEMA_BYTES_MAX {
            return Err(AvroError::Schema("it is too large".into()));
        }
        let schema_json = std::str::from_utf8(schema)
            .map_err(|_| AvroError::Malformed("the schema is not UTF-8"))?;
        let codec = match codec {
            b"null" | b"" => Codec::Null,
            b"deflate" => Codec::Deflate(Box::new(Decompress::new(false))),
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstandard,
            _ => {
                return Err(AvroError::Malformed(
                    "the codec is not null, deflate, snappy or zstandard",
                ));
            }
        };
        let (block, buffer) = (&file[..0], Vec::new());
        Ok(Self { schema_json, codec, sync, rest, block, buffer, bytes_left: BODY_BYTES_MAX })
    }

    /// Moves to the next block that has an event.
    pub(super) fn next_block(&mut self) -> Result<Option<BlockHeader>, AvroError> {
        while !self.rest.0.is_empty() {
            let count = u64::try_from(self.rest.zigzag()?)
                .map_err(|_| AvroError::Malformed("a block has a negative count"))?;
            self.block = self.rest.bytes()?;
            if self.rest.take(16)? != self.sync {
                return Err(AvroError::Malformed("a block does not end with the sync marker"));
            }
            if count > 0 {
                return Ok(Some(BlockHeader { count }));
            }
        }
        Ok(None)
    }

    /// The bytes of the block, decompressed.
    pub(super) fn block_bytes(&mut self) -> Result<&[u8], AvroError> {
        self.buffer.clear();
        match &mut self.codec {
            Codec::Null => return Ok(self.block),
            Codec::Deflate(state) => {
                inflate(state, self.block, &mut self.buffer, self.bytes_left)?;
            }
            Codec::Snappy => unsnap(self.block, &mut self.buffer, self.bytes_left)?,
            Codec::Zstandard => unzstd(self.block, &mut self.buffer, self.bytes_left)?,
        }
        self.bytes_left -= self.buffer.len();
        Ok(&self.buffer)
    }
}

const TOO_LARGE: AvroError = AvroError::TooLarge(BODY_BYTES_MAX);

fn inflate(
    state: &mut Decompress,
    input: &[u8],
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(), AvroError> {
    const BAD: AvroError = AvroError::Malformed("a block does not inflate");
    state.reset(false);
    loop {
        if out.len() == out.capacity() {
            // One byte over the bound tells a block that is too large from one that just fits.
            let more = STEP_BYTES.max(out.len()).min(max + 1 - out.len());
            out.reserve_exact(more);
        }
        let at = usize::try_from(state.total_in()).map_err(|_| BAD)?;
        let before = out.len();
        let status =
            state.decompress_vec(&input[at..], out, FlushDecompress::Finish).map_err(|_| BAD)?;
        if out.len() > max {
            return Err(TOO_LARGE);
        }
        match status {
            Status::StreamEnd => return Ok(()),
            _ if out.len() < out.capacity() && out.len() == before => return Err(BAD),
            Status::Ok | Status::BufError => {}
        }
    }
}

fn unsnap(block: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), AvroError> {
    const BAD: AvroError = AvroError::Malformed("a snappy block is damaged");
    let (input, crc) = block.split_last_chunk::<4>().ok_or(BAD)?;
    let len = snap::raw::decompress_len(input).map_err(|_| BAD)?;
    if len > max {
        return Err(TOO_LARGE);
    }
    out.resize(len, 0);
    let written = snap::raw::Decoder::new().decompress(input, out).map_err(|_| BAD)?;
    let mut actual = flate2::Crc::new();
    actual.update(out);
    if written == len && actual.sum() == u32::from_be_bytes(*crc) { Ok(()) } else { Err(BAD) }
}

fn unzstd(block: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), AvroError> {
    let bad = |_| AvroError::Malformed("a block is not zstandard");
    let mut decoder = zstd::stream::read::Decoder::with_buffer(block).map_err(bad)?;
    decoder.window_log_max(super::super::ZSTD_WINDOW_LOG_MAX).map_err(bad)?;
    // Reading finds out where a frame is cut. One byte over the bound tells a block that is too
    // large from one that just fits.
    decoder.take(max as u64 + 1).read_to_end(out).map_err(bad)?;
    if out.len() > max { Err(TOO_LARGE) } else { Ok(()) }
}
