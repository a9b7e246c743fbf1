//! What the log reads back, from any bytes. Checksums are made right first, or nothing would get
//! past them; some are left wrong, as the input says.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{AppendPart, Clock, EventLog, LogBounds};
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::record::split;
use model::{Batch, Event, Offset, PartitionId, RecordBuf, TimestampMs};
use parking_lot::Mutex;

use super::batch::{
    BadBatch, BatchHeader, Codec, Compressor, HEADER_BYTES, MAGIC, PAYLOAD_BYTES_MAX,
};
use super::index::Index;
use super::inspect::{FindingKind, Piece, View, inspect};
use super::recover::{self, Repair, Scan};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, file_name};
use super::{EmbeddedLog, LogSettings, meta};
use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::mem_disk::MemDisk;

const NOW: TimestampMs = TimestampMs(1_795_255_200_000);
const DIR: &str = "/log";
const HEADER: SegmentHeader = SegmentHeader {
    partition: PartitionId(0),
    log_epoch: 1,
    base_offset: Offset(7),
    previous_base_offset: None,
    append_time: TimestampMs(NOW.0 - 60_000),
};

/// The file of a segment with its header in front. The first byte of the input says which batches
/// keep a wrong checksum.
fn image(input: &[u8], bytes_min: usize) -> Vec<u8> {
    let (damaged, body) = input.split_first().unwrap_or((&0, &[]));
    let mut bytes = [&HEADER.to_bytes(), body].concat();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, &MAGIC).collect();
    // From the last on: a batch may lie in the payload of one before it.
    for (n, &at) in places.iter().enumerate().rev() {
        let size = BatchHeader::claimed_size(&bytes[at..]);
        if let Some(batch) = size.and_then(|size| bytes[at..].get_mut(..size))
            && (n >= 8 || damaged >> n & 1 == 0)
        {
            let crc = crc32c::crc32c(&batch[8..]);
            batch[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    bytes.resize(bytes.len().max(bytes_min), 0);
    bytes
}

/// The newest segment, as a crash may leave it: recovery, readers and people who look into it agree
/// on what is there.
pub fn segment(input: &[u8]) {
    let bytes = image(input, 0);
    let scan = recover::scan(&HEADER, &bytes);
    check_scan(&scan, &bytes);
    let opened = open_batches(&scan, &bytes);
    let repaired = check_repair(&scan, &bytes);
    check_inspection(&scan, &bytes, &opened, repaired);
    check_reading(&scan, &bytes, &opened);
}

fn check_scan(scan: &Scan, bytes: &[u8]) {
    let (mut offset, mut position) = (HEADER.base_offset, SEGMENT_HEADER_BYTES);
    for &(next_offset, at) in &scan.batches {
        assert_eq!(at, position, "batches lie side by side");
        assert!(next_offset > offset, "a batch has a record");
        let (header, _) = BatchHeader::read(&bytes[at..]).expect("the scan has read it");
        assert_eq!((header.base_offset, header.next_offset()), (offset, next_offset));
        (offset, position) = (next_offset, at + header.size());
    }
    assert_eq!((offset, position), (scan.next_offset, scan.end));
    assert!(scan.end <= bytes.len());
    if let Some(bad) = scan.bad {
        assert!(scan.end < bad.written_end && bad.written_end <= bytes.len());
        assert_ne!(bytes[bad.written_end - 1], 0);
        assert!(bytes[bad.written_end..].iter().all(|&byte| byte == 0));
    }
}

/// Every batch of a scan as readers get it; none for one that does not decompress.
fn open_batches(scan: &Scan, bytes: &[u8]) -> Vec<Option<Batch<Bytes>>> {
    let open = |&(_, at): &(Offset, usize)| {
        let (header, stored) = BatchHeader::read(&bytes[at..]).expect("the scan has read it");
        let batch = header.open(stored).ok()?;
        assert_eq!(batch.payload.len(), header.payload_len as usize);
        assert!(batch.payload.len() <= PAYLOAD_BYTES_MAX);
        assert!(split(&batch.payload).count() <= batch.payload.len(), "a record takes a byte");
        if batch.payload.len() <= 64 << 10 {
            write_again(&header, &batch);
        }
        Some(batch)
    };
    scan.batches.iter().map(open).collect()
}

/// A batch comes out of a segment as it went in, in other codecs too.
fn write_again(header: &BatchHeader, batch: &Batch<Bytes>) {
    for codec in [Codec::None, Codec::Lz4] {
        let mut compressor = Compressor::new(codec).expect("these need no memory");
        let mut plain = [&[0; HEADER_BYTES], &batch.payload[..]].concat();
        let (codec, written) = compressor.store(&mut plain);
        let stored_len = (written.len() - HEADER_BYTES) as u32;
        let header = BatchHeader { codec, stored_len, ..*header };
        header.seal(written);
        let (read, stored) = BatchHeader::read(written).expect("it was just written");
        assert_eq!(read, header);
        assert_eq!(read.open(stored).as_ref(), Ok(batch));
    }
}

/// What recovery leaves needs no more recovery, and has all that was there.
fn check_repair(scan: &Scan, bytes: &[u8]) -> Option<Repair> {
    let repair = match recover::decide(scan, None) {
        Ok(repair) => repair,
        Err(damage) => {
            assert_eq!((damage.position, damage.offset), (scan.end, scan.next_offset));
            // What was durable is missing, or a later program wrote it.
            let is_later_format = damage.reason == BadBatch::Header;
            assert!(damage.durable_offset > damage.offset || is_later_format);
            return None;
        }
    };
    assert!(repair.rewrite_from <= scan.end);
    assert_eq!(repair.cut, scan.bad);
    let mut bytes = bytes.to_vec();
    if let Some(cut) = repair.cut {
        bytes[scan.end..cut.written_end].fill(0);
    }
    let again = recover::scan(&HEADER, &bytes);
    assert_eq!((&again.batches, again.next_offset), (&scan.batches, scan.next_offset));
    assert_eq!(again.bad, None);
    assert!(recover::decide(&again, None).is_ok());
    Some(repair)
}

fn check_inspection(
    scan: &Scan,
    bytes: &[u8],
    opened: &[Option<Batch<Bytes>>],
    repair: Option<Repair>,
) {
    let disk = Shelf::with_segment(bytes);
    let view = View { disk: &disk, dir: Path::new(DIR), is_served: false, from: Offset(0) };
    let (mut batches, mut findings) = (Vec::new(), Vec::new());
    let mut next_offset = Offset(0);
    inspect(view, PartitionId(0), &mut |piece| {
        match piece {
            Piece::Batch { batch, .. } => {
                assert!(batch.base_offset >= next_offset, "batches come in order");
                next_offset = batch.next_offset();
                batches.push(batch);
            }
            Piece::Finding(finding) => {
                assert!(finding.next_offset.is_none_or(|next| next >= finding.offset));
                findings.push(finding.kind);
            }
            Piece::Segment { .. } => {}
        }
        ControlFlow::Continue(())
    })
    .expect("the folder can be listed");
    let readable: Vec<&Batch<Bytes>> = opened.iter().flatten().collect();
    assert!(batches.len() >= readable.len());
    assert!(batches.iter().zip(&readable).all(|(inspected, opened)| inspected == *opened));
    let damaged = findings.contains(&FindingKind::Damage);
    assert_eq!(damaged, repair.is_none() || readable.len() < opened.len());
    if let Some(Repair { cut: None, .. }) = repair
        && !damaged
    {
        assert_eq!((findings.len(), batches.len()), (0, scan.batches.len()));
    }
}

/// Readers get what recovery has seen, with an index and without.
fn check_reading(scan: &Scan, bytes: &[u8], opened: &[Option<Batch<Bytes>>]) {
    let disk = Shelf::with_segment(bytes);
    let end = scan.next_offset;
    let all: Option<Vec<Batch<Bytes>>> = opened.iter().cloned().collect();
    for index in [None, Some(scan.index.clone())] {
        let segment = segment_on(bytes, index);
        assert_eq!(segment.read(&disk, HEADER.base_offset, end, usize::MAX).ok(), all);
        for batch in all.iter().flatten().take(4) {
            let last = Offset(batch.next_offset().0 - 1);
            let read = segment.read(&disk, last, end, 1).expect("all of it can be read");
            assert_eq!(read[0], *batch);
            let found = segment.offset_at(&disk, batch.append_time, end);
            assert!(found.expect("all of it can be read") <= batch.base_offset);
        }
    }
}

fn segment_on(bytes: &[u8], index: Option<Index>) -> Segment {
    let path = Path::new(DIR).join("0").join(file_name(HEADER.base_offset));
    Segment { path, header: HEADER, bytes: bytes.len() as u64, index: Mutex::new(index) }
}

/// An index that says anything: it is a cache, so a reader finds out, and gives no wrong batch.
pub fn index(input: &[u8]) {
    let mut bytes = input.to_vec();
    if bytes.len() < 32 {
        return;
    }
    bytes[..8].copy_from_slice(b"TALLYIDX");
    bytes[12..14].copy_from_slice(&1u16.to_le_bytes());
    bytes[14..16].copy_from_slice(&HEADER.partition.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&HEADER.base_offset.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    let Some(index) = Index::read(&bytes, &HEADER) else { return };
    assert_eq!(index.to_bytes(&HEADER), bytes);
    let image = image(&two_batches(), 256);
    let disk = Shelf::with_segment(&image);
    let segment = segment_on(&image, Some(index));
    for from in 7..11 {
        if let Ok(read) = segment.read(&disk, Offset(from), Offset(11), usize::MAX) {
            let place = |batch: &Batch<Bytes>| (batch.base_offset.0, batch.next_offset().0);
            let places: Vec<_> = read.iter().map(place).collect();
            let expected: &[(u64, u64)] = if from < 9 { &[(7, 9), (9, 11)] } else { &[(9, 11)] };
            assert!(expected.ends_with(&places), "{places:?}");
        }
        // Any answer will do but a panic.
        let _ = segment.offset_at(&disk, TimestampMs(NOW.0 + from as i64), Offset(11));
    }
}

/// Two batches of two records each, as an input of [`image`].
fn two_batches() -> Vec<u8> {
    let mut input = vec![0];
    for base_offset in [7, 9] {
        let payload = [1, 0, 1, 0];
        let header = BatchHeader {
            stored_len: payload.len() as u32,
            payload_len: payload.len() as u32,
            base_offset: Offset(base_offset),
            append_time: TimestampMs(NOW.0 + base_offset as i64),
            durable_offset: Offset(7),
            record_count: 2,
            log_epoch: 1,
            partition: PartitionId(0),
            codec: Codec::None,
            is_control: false,
        };
        let mut batch = [&[0; HEADER_BYTES][..], &payload].concat();
        header.seal(&mut batch);
        input.extend_from_slice(&batch);
    }
    input
}

/// The small files: the header of a segment and `log.meta`.
pub fn files(input: &[u8]) {
    let mut bytes = input.to_vec();
    bytes.resize(bytes.len().max(SEGMENT_HEADER_BYTES), 0);
    bytes[..8].copy_from_slice(b"TALLYSEG");
    bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    if let Some(header) = SegmentHeader::read(&bytes) {
        assert_eq!(SegmentHeader::read(&header.to_bytes()), Some(header));
        let named = [(header.base_offset, Some(header))];
        assert!(recover::check_chain(header.partition, &named).is_ok());
        let _ = recover::scan(&header, &bytes);
    }
    if let Some(partitions) = meta::read(input) {
        assert_eq!(meta::to_bytes(partitions), input);
    }
}

/// A whole log: it opens or says why not, takes a record, and has the same in it when it is opened
/// again.
pub fn log(input: &[u8]) {
    let settings = LogSettings {
        segment_bytes: 16 << 10,
        batch_bytes_max: 8 << 10,
        queue_bytes_max: 64 << 10,
        ..LogSettings::new(1)
    };
    let disk = Arc::new(MemDisk::new(1));
    disk.set_free_bytes(1 << 20);
    let dir = Path::new(DIR);
    let bytes = image(input, 1 << 10);
    let prepared = disk.create_dir(&dir.join("0")).and_then(|()| {
        let path = dir.join("0").join(file_name(HEADER.base_offset));
        disk.create(&path, bytes.len() as u64)?.write_at(0, &bytes)
    });
    prepared.expect("the disk has room");
    let open = |known: &[Option<Offset>]| {
        EmbeddedLog::open_stepped(disk.clone(), dir, &settings, Arc::new(StillClock), known)
    };
    let Ok(opened) = open(&[]) else { return };
    let before = read_all(&opened);
    let mut records = RecordBuf::new();
    records.push(&event());
    let part = AppendPart { partition: PartitionId(0), records, is_control: false };
    let appended = opened.append(vec![part]).map(|answer| {
        while opened.step(PartitionId(0)) {}
        block_on(answer)
    });
    let after = read_all(&opened);
    if let (Some(before), Some(after)) = (&before, &after) {
        assert!(after.starts_with(before), "what was there stays");
        let is_in = appended.is_ok_and(|results| results.iter().all(Result::is_ok));
        assert_eq!(after.len(), before.len() + usize::from(is_in));
    }
    let LogBounds { durable_offset: durable, log_epoch, .. } = opened.bounds(PartitionId(0));
    drop(opened);
    if log_epoch == u32::MAX {
        assert!(open(&[Some(durable)]).is_err(), "there is no epoch after the last");
        return;
    }
    let again = open(&[Some(durable)]).expect("what was opened once opens again");
    if let Some(after) = after {
        let again = read_all(&again).expect("what was read once is read again");
        assert!(again.starts_with(&after), "a restart changes nothing");
    }
}

/// Every batch of the log; none where one cannot be read.
fn read_all(log: &EmbeddedLog) -> Option<Vec<Batch<Bytes>>> {
    let bounds = log.bounds(PartitionId(0));
    let (mut offset, mut all) = (bounds.start_offset, Vec::new());
    while offset < bounds.durable_offset {
        let batches = block_on(log.read(PartitionId(0), offset, usize::MAX)).ok()?;
        for batch in batches {
            assert_eq!(batch.base_offset, offset, "no gap and no overlap");
            offset = batch.next_offset();
            all.push(batch);
        }
    }
    assert_eq!(offset, bounds.durable_offset);
    Some(all)
}

fn event() -> Event<'static> {
    Event {
        id: "1".into(),
        item: "a".into(),
        event_type: "view".into(),
        time: NOW,
        value: None,
        attributes: Vec::new(),
    }
}

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> ClockReading {
        ClockReading { wall: NOW, monotonic_ms: 0 }
    }
}

/// A disk with files that can only be read.
struct Shelf(BTreeMap<PathBuf, Arc<[u8]>>);

impl Shelf {
    fn with_segment(bytes: &[u8]) -> Self {
        let path = Path::new(DIR).join("0").join(file_name(HEADER.base_offset));
        Self([(path, bytes.into())].into())
    }
}

struct Book(Arc<[u8]>);

impl Disk for Shelf {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Book(bytes.clone())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.0.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(0)
    }
}

impl DiskFile for Book {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(position).unwrap_or(usize::MAX);
        let end = from.saturating_add(buf.len());
        buf.copy_from_slice(self.0.get(from..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
