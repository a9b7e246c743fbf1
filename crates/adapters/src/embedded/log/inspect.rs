//! A partition's log as it lies on disk, for people who look into it: every batch, and every place
//! that holds none though it should. Changes nothing.
//!
//! What is damage and what a torn tail is judged by `recover`, as at a start, and told in the
//! words of the server. The server also knows the counter store's checkpoint, which is not read
//! here: a torn tail below it is damage to the next start.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use model::{Batch, Offset, PartitionId, TimestampMs};

use super::batch::{BadBatch, BatchHeader, HEADER_BYTES};
use super::open::{bad_chain, damaged};
use super::recover::{self, BadChain, Scan};
use super::segment::{
    SEGMENT_HEADER_BYTES, SegmentHeader, corrupt, file_name, parse_file_name, unreadable,
};
use crate::embedded::disk::{Disk, DiskFile};

/// How often a file that grows is read again before what is behind its end is left unjudged.
const READS_MAX: usize = 10;

/// What is looked at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The files.
    pub disk: &'a dyn Disk,
    /// The log's folder, with a folder for each partition.
    pub dir: &'a Path,
    /// Whether a server has the log open and may be writing.
    pub is_served: bool,
    /// Segments that lie wholly below are passed over.
    pub from: Offset,
}

/// What stands next in a partition's log.
#[derive(Debug)]
pub enum Piece {
    /// A segment's file begins.
    Segment {
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A batch that can be read.
    Batch {
        /// Its first byte in the segment.
        position: u64,
        /// The first byte behind it.
        end: u64,
        /// The batch.
        batch: Batch<Bytes>,
    },
    /// A place that holds no batch though it should, or something where nothing should be.
    Finding(Finding),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Acknowledged records cannot be read: the server stops there.
    Damage,
    /// The rest of a write that a crash interrupted: the next start cuts it.
    TornTail,
    /// A server is writing there.
    Growing,
    /// Retention let the segment go while it was looked at.
    LetGo,
    /// Bytes behind the end of a sealed segment, which nothing reads.
    Stray,
}

/// Something that is not as it should be, or that looks so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// The segment.
    pub path: PathBuf,
    /// Byte position in the segment.
    pub position: u64,
    /// The first offset that is concerned.
    pub offset: Offset,
    /// The first offset that can be read again; none where no more can in this segment.
    pub next_offset: Option<Offset>,
    /// File, position, offset and what to do.
    pub message: String,
    /// What is wrong with the bytes.
    pub reason: String,
}

type Visit<'v> = &'v mut dyn FnMut(Piece) -> ControlFlow<()>;

/// Gives out all pieces of a partition in order, until `visit` breaks. Batches may begin before
/// [`View::from`]. The newest ones of a log that is being served may not be durable yet.
///
/// # Errors
/// `Unavailable` where the partition's folder cannot be listed. What cannot be read within it is a
/// finding.
pub fn inspect(view: View<'_>, partition: PartitionId, visit: Visit<'_>) -> Result<(), PortError> {
    let dir = view.dir.join(partition.to_string());
    let names = match view.disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(super::meta::unavailable("list", &dir))?,
    };
    let offsets = names.iter().filter_map(|name| parse_file_name(name));
    let mut inspector = Inspector { view, dir: &dir, partition, visit };
    // The value only says whether somebody stopped it.
    let _ = inspector.segments(offsets.collect());
    Ok(())
}

struct Inspector<'a, 'v> {
    view: View<'a>,
    dir: &'a Path,
    partition: PartitionId,
    visit: Visit<'v>,
}

/// A segment that is looked at.
struct Looked<'a> {
    path: &'a Path,
    header: SegmentHeader,
    is_newest: bool,
    /// The first offset of the segment that follows, where that is certain.
    end: Option<Offset>,
}

impl Inspector<'_, '_> {
    fn segments(&mut self, offsets: Vec<Offset>) -> ControlFlow<()> {
        let mut headers = Vec::with_capacity(offsets.len());
        for base_offset in offsets {
            let path = self.dir.join(file_name(base_offset));
            match self.view.disk.open(&path).and_then(|file| SegmentHeader::load(&*file)) {
                Ok(header) => headers.push((base_offset, header)),
                Err(error) => self.unreadable(&path, base_offset, error)?,
            }
        }
        let bad = bad_links(self.partition, &headers);
        for (at, &(base_offset, header)) in headers.iter().enumerate() {
            let next = headers.get(at + 1).map(|next| next.0);
            if next.is_some_and(|next| next <= self.view.from) {
                continue;
            }
            let path = self.dir.join(file_name(base_offset));
            if let Some(&why) = bad.get(&at) {
                let error = bad_chain(self.dir, base_offset, why);
                self.find(FindingKind::Damage, &path, 0, (base_offset, None), &error)?;
                if why == BadChain::Place {
                    continue;
                }
            }
            let is_end_certain =
                !matches!(bad.get(&(at + 1)), Some(BadChain::Gap | BadChain::Place));
            // What follows a damaged header is read as the file's name says.
            let header = header.unwrap_or(SegmentHeader {
                partition: self.partition,
                log_epoch: 0,
                base_offset,
                previous_base_offset: None,
                append_time: TimestampMs(0),
            });
            let end = next.filter(|_| is_end_certain);
            self.segment(&Looked { path: &path, header, is_newest: next.is_none(), end })?;
        }
        ControlFlow::Continue(())
    }

    fn segment(&mut self, looked: &Looked<'_>) -> ControlFlow<()> {
        let read = self.view.disk.open(looked.path).and_then(|file| {
            let bytes = read_all(&*file)?;
            Ok((file, bytes))
        });
        let (file, mut bytes) = match read {
            Ok(read) => read,
            Err(error) => return self.unreadable(looked.path, looked.header.base_offset, error),
        };
        let size = bytes.len() as u64;
        (self.visit)(Piece::Segment { path: looked.path.to_owned(), bytes: size })?;
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return ControlFlow::Continue(());
        }
        let mut scan = recover::scan(&looked.header, &bytes);
        if looked.is_newest && scan.bad.is_some() {
            match settle(&file, &looked.header, scan) {
                Ok((settled, again)) => (scan, bytes) = (settled, again),
                Err(error) => {
                    return self.unreadable(looked.path, looked.header.base_offset, error);
                }
            }
        }
        loop {
            self.batches(looked, &bytes, &scan)?;
            let Some((position, header)) = self.judge(looked, &bytes, &scan)? else { break };
            let BatchHeader { base_offset, append_time, log_epoch, .. } = header;
            let resumed = SegmentHeader { base_offset, append_time, log_epoch, ..looked.header };
            scan = recover::scan_from(&resumed, &bytes, position);
        }
        ControlFlow::Continue(())
    }

    /// Gives out the batches of a run.
    fn batches(&mut self, looked: &Looked<'_>, bytes: &[u8], scan: &Scan) -> ControlFlow<()> {
        for &(next_offset, position) in &scan.batches {
            let read = BatchHeader::read(&bytes[position..]);
            let end = read.as_ref().map_or(0, |(_, stored)| HEADER_BYTES + stored.len());
            let opened = read.and_then(|(header, stored)| header.open(stored));
            let (position, end) = (position as u64, (position + end) as u64);
            match opened {
                Ok(batch) => (self.visit)(Piece::Batch { position, end, batch })?,
                Err(reason) => {
                    let (header, _) = read.expect("the scan has read it");
                    let offset = header.base_offset;
                    let error = corrupt(looked.path, position, offset, reason);
                    let offsets = (offset, Some(next_offset));
                    self.find(FindingKind::Damage, looked.path, position, offsets, &error)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Judges the end of a run: where reading can go on behind damage, if anywhere.
    fn judge(
        &mut self,
        looked: &Looked<'_>,
        bytes: &[u8],
        scan: &Scan,
    ) -> ControlFlow<(), Option<(usize, BatchHeader)>> {
        let (path, position) = (looked.path, scan.end as u64);
        let damage = if looked.is_newest {
            recover::decide(scan, None).err().map(|damage| damaged(path, damage))
        } else if looked.end.map_or(scan.bad.is_none(), |end| scan.next_offset == end) {
            None
        } else {
            let reason = scan.bad.map_or(BadBatch::Magic, |bad| bad.reason);
            Some(corrupt(path, position, scan.next_offset, reason))
        };
        let Some(error) = damage else {
            self.leftover(looked, scan)?;
            return ControlFlow::Continue(None);
        };
        let tail = &bytes[scan.end..];
        let resumed = recover::later_batches(self.partition, scan.next_offset, tail)
            .map(|(found, header)| (scan.end + found, header))
            .find(|(_, header)| {
                header.append_time >= scan.append_time
                    && looked.end.is_none_or(|end| header.next_offset() <= end)
            });
        let next_offset = resumed.map(|(_, header)| header.base_offset).or(looked.end);
        let offsets = (scan.next_offset, next_offset);
        self.find(FindingKind::Damage, path, position, offsets, &error)?;
        ControlFlow::Continue(resumed)
    }

    /// Tells of bytes after the last batch that no acknowledged record can be in.
    fn leftover(&mut self, looked: &Looked<'_>, scan: &Scan) -> ControlFlow<()> {
        let Some(bad) = scan.bad else { return ControlFlow::Continue(()) };
        let len = bad.written_end - scan.end;
        let (kind, what) = match (looked.is_newest, self.view.is_served) {
            (true, true) => (FindingKind::Growing, "a server is writing there; this is no damage"),
            (true, false) => (
                FindingKind::TornTail,
                "a torn tail that no acknowledged record can be in: the next start cuts it, unless \
                 the counter store has counted past this offset; then the start stops and names \
                 this place as damage",
            ),
            (false, _) => (
                FindingKind::Stray,
                "bytes behind the end of a sealed segment, which nothing reads: check the disk",
            ),
        };
        let (position, offset) = (scan.end as u64, scan.next_offset);
        let place = format!("{} at byte {position} (offset {offset})", looked.path.display());
        let finding = Finding {
            kind,
            path: looked.path.to_owned(),
            position,
            offset,
            next_offset: None,
            message: format!("{place}: {len} bytes: {what}"),
            reason: bad.reason.to_string(),
        };
        (self.visit)(Piece::Finding(finding))
    }

    /// Tells of a segment that cannot be read, or that is there no more.
    fn unreadable(&mut self, path: &Path, offset: Offset, error: io::Error) -> ControlFlow<()> {
        let is_gone = error.kind() == io::ErrorKind::NotFound && self.view.is_served;
        let (kind, error) = if is_gone {
            let context = format!("{}: retention let it go meanwhile", path.display());
            (FindingKind::LetGo, PortError::caused(ErrorKind::Invalid, context, error))
        } else {
            (FindingKind::Damage, unreadable(path, error))
        };
        self.find(kind, path, 0, (offset, None), &error)
    }

    fn find(
        &mut self,
        kind: FindingKind,
        path: &Path,
        position: u64,
        (offset, next_offset): (Offset, Option<Offset>),
        error: &PortError,
    ) -> ControlFlow<()> {
        (self.visit)(Piece::Finding(Finding {
            kind,
            path: path.to_owned(),
            position,
            offset,
            next_offset,
            message: error.to_string(),
            reason: error.source.as_ref().map_or_else(String::new, ToString::to_string),
        }))
    }
}

/// Which segments do not follow the one before, and why.
fn bad_links(
    partition: PartitionId,
    headers: &[(Offset, Option<SegmentHeader>)],
) -> BTreeMap<usize, BadChain> {
    let mut bad = BTreeMap::new();
    let mut start = 0;
    while let Err((at, why)) = recover::check_chain(partition, &headers[start..]) {
        let at = start + at;
        bad.insert(at, why);
        start = if why == BadChain::Gap { at } else { at + 1 };
    }
    bad
}

fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.size()? as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Reads a newest segment with a bad place again until that place stands still. A writer may have
/// been behind the reader at one place and ahead of it at the next, which leaves a hole that was
/// never on disk.
fn settle(
    file: &Arc<dyn DiskFile>,
    header: &SegmentHeader,
    mut scan: Scan,
) -> io::Result<(Scan, Vec<u8>)> {
    for _ in 0..READS_MAX {
        let bytes = read_all(&**file)?;
        let again = recover::scan(header, &bytes);
        if again.bad.is_none() || again.end == scan.end {
            return Ok((again, bytes));
        }
        scan = again;
    }
    // It grows faster than it is read: what is behind the end that it had is for another time.
    let mut bytes = read_all(&**file)?;
    bytes.truncate(scan.end);
    Ok((recover::scan(header, &bytes), bytes))
}
