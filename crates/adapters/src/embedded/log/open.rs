//! Opening a partition: reads the facts, lets `recover` decide, and does what it says.

use std::path::Path;
use std::sync::Arc;

use engine::ports::{ErrorKind, LogBounds, PortError};
use model::{Offset, TimestampMs};
use parking_lot::Mutex;

use super::append::{Active, Appender, Place};
use super::meta::{unavailable, unknown_version};
use super::published::Published;
use super::recover::{self, BadChain, Damage, Repair, Scan};
use super::segment::{REMEDY, Segment, SegmentHeader, corrupt, file_name, parse_file_name};
use crate::embedded::disk::DiskFile;

/// Zeros are written over a cut tail this much at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Opens the log of one partition, or begins it. When this returns, all of it is durable, and the
/// epoch has risen.
pub(super) fn open_partition(
    place: Place,
    known_durable: Option<Offset>,
    tail_bytes_max: usize,
) -> Result<Appender, PortError> {
    let mut segments = read_segments(&place)?;
    let opened = match segments.last() {
        None => begin(&place, known_durable)?,
        Some(newest) => recover_newest(&place, newest.clone(), known_durable)?,
    };
    // The newest one comes back with its index.
    segments.pop();
    segments.push(opened.active.segment.clone());
    let bounds = LogBounds {
        log_epoch: opened.log_epoch,
        start_offset: segments[0].header.base_offset,
        durable_offset: opened.next_offset,
    };
    let published = Published::new(place.disk.clone(), tail_bytes_max, segments, bounds);
    Ok(Appender {
        place,
        published: Arc::new(published),
        log_epoch: opened.log_epoch,
        active: opened.active,
        prepared: None,
        durable_offset: opened.next_offset,
        attempted_offset: opened.next_offset,
        append_time: opened.append_time,
        unsynced: Vec::new(),
    })
}

struct Opened {
    active: Active,
    log_epoch: u32,
    next_offset: Offset,
    append_time: TimestampMs,
}

/// Begins the log of a partition that has none.
fn begin(place: &Place, known_durable: Option<Offset>) -> Result<Opened, PortError> {
    if let Some(durable) = known_durable.filter(|durable| durable.0 > 0) {
        let context = format!(
            "{} holds no segment, but records up to offset {durable} were counted: {REMEDY}",
            place.dir.display()
        );
        return Err(PortError::new(ErrorKind::Corrupt, context));
    }
    let header = SegmentHeader {
        partition: place.partition,
        log_epoch: 1,
        base_offset: Offset(0),
        previous_base_offset: None,
        append_time: TimestampMs(0),
    };
    let active = place.begin_segment(header, None).map_err(|failed| {
        failed.to_port_error(ErrorKind::Unavailable, "the log cannot be opened")
    })?;
    let (next_offset, append_time) = (Offset(0), TimestampMs(0));
    Ok(Opened { active, log_epoch: 1, next_offset, append_time })
}

/// Reads the headers of all segments and checks that none is missing. Batches of sealed segments
/// are checked whenever they are read.
fn read_segments(place: &Place) -> Result<Vec<Arc<Segment>>, PortError> {
    let Place { disk, dir, partition, .. } = place;
    disk.create_dir(dir).map_err(unavailable("make", dir))?;
    if let Some(above) = dir.parent() {
        disk.sync_dir(above).map_err(unavailable("sync", above))?;
    }
    let names = disk.list(dir).map_err(unavailable("list", dir))?;
    for left_over in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = dir.join(left_over);
        disk.remove(&path).map_err(unavailable("remove", &path))?;
    }
    // A name that only a dead process saw must not vanish under this one.
    disk.sync_dir(dir).map_err(unavailable("sync", dir))?;
    let mut headers = Vec::new();
    let mut sizes = Vec::new();
    for base_offset in names.iter().filter_map(|name| parse_file_name(name)) {
        let path = dir.join(file_name(base_offset));
        let file = disk.open(&path).map_err(unavailable("open", &path))?;
        let header = SegmentHeader::load(&*file).map_err(unavailable("read", &path))?;
        if header.is_none() {
            let version = SegmentHeader::load_version(&*file);
            if let Some(version) = version.map_err(unavailable("read", &path))? {
                return Err(unknown_version(&path, version, super::segment::VERSION));
            }
        }
        headers.push((base_offset, header));
        sizes.push(file.size().map_err(unavailable("read", &path))?);
    }
    recover::check_chain(*partition, &headers)
        .map_err(|(at, bad)| bad_chain(dir, headers[at].0, bad))?;
    let segments = headers.into_iter().zip(sizes).map(|((base_offset, header), bytes)| {
        let header = header.expect("the chain was checked");
        let path = dir.join(file_name(base_offset));
        Arc::new(Segment { path, header, bytes, index: Mutex::new(None) })
    });
    Ok(segments.collect())
}

/// The error that names a segment which is not one log with those before it.
pub(super) fn bad_chain(dir: &Path, base_offset: Offset, bad: BadChain) -> PortError {
    let path = dir.join(file_name(base_offset));
    let context = format!("{} at byte 0 (offset {base_offset}): {REMEDY}", path.display());
    PortError::caused(ErrorKind::Corrupt, context, bad)
}

/// Scans the newest segment, repairs its end, and makes all of it durable.
fn recover_newest(
    place: &Place,
    newest: Arc<Segment>,
    known_durable: Option<Offset>,
) -> Result<Opened, PortError> {
    let path = &newest.path;
    let file = place.disk.open(path).map_err(unavailable("open", path))?;
    let mut bytes = vec![0; newest.bytes as usize];
    file.read_at(0, &mut bytes).map_err(unavailable("read", path))?;
    let scan = recover::scan(&newest.header, &bytes);
    let repair = recover::decide(&scan, known_durable).map_err(|damage| damaged(path, damage))?;
    // No log is opened so often: what says so is damaged.
    let log_epoch = scan.log_epoch.checked_add(1).ok_or_else(|| {
        let context = format!("{}: its epoch is the last there can be: {REMEDY}", path.display());
        PortError::new(ErrorKind::Corrupt, context)
    })?;
    if let Some(cut) = repair.cut {
        tracing::warn!(
            file = %path.display(),
            position = scan.end,
            offset = %scan.next_offset,
            bytes = cut.written_end - scan.end,
            reason = %cut.reason,
            "cut a torn tail that no acknowledged record can be in"
        );
    }
    apply(&*file, &bytes, &scan, repair).map_err(unavailable("repair", path))?;
    let Scan { end, next_offset, append_time, index, .. } = scan;
    let Segment { path, header, bytes, .. } = &*newest;
    let (path, header, bytes) = (path.clone(), *header, *bytes);
    let segment = Arc::new(Segment { path, header, bytes, index: Mutex::new(Some(index)) });
    let active = Active { segment, file, position: end as u64 };
    Ok(Opened { active, log_epoch, next_offset, append_time })
}

/// Writes the uncertain batches again and zeros over what is cut. Both are the same when they are
/// done twice, so a crash in between does no harm.
fn apply(file: &dyn DiskFile, bytes: &[u8], scan: &Scan, repair: Repair) -> std::io::Result<()> {
    if repair.rewrite_from < scan.end {
        file.write_at(repair.rewrite_from as u64, &bytes[repair.rewrite_from..scan.end])?;
    }
    if let Some(cut) = repair.cut {
        let mut at = scan.end;
        while at < cut.written_end {
            let len = ZEROS.len().min(cut.written_end - at);
            file.write_at(at as u64, &ZEROS[..len])?;
            at += len;
        }
    }
    file.sync()
}

/// The error that names damage in the newest segment.
pub(super) fn damaged(path: &Path, damage: Damage) -> PortError {
    let Damage { position, offset, durable_offset, reason } = damage;
    let mut error = corrupt(path, position as u64, offset, reason);
    error.context += &format!(" (records up to offset {durable_offset} were durable)");
    error
}
