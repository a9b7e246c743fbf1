//! The segmented log: a folder of preallocated files for each partition, one writer each, and group
//! commit.
//!
//! A request's parts queue up at their partitions (`queue`); each partition's writer gathers what
//! queued up into record batches, writes and syncs them (`writer`, `gather`, `append`), and
//! publishes them to readers (`published`). Opening decides what a crash left (`recover`); people
//! look into it all without changing a byte (`inspect`).
//! The files are described in `segment`, `batch`, `index` and `meta`.

mod append;
mod batch;
mod copy;
#[cfg(feature = "fuzz")]
pub(super) mod fuzz;
mod gather;
mod index;
pub mod inspect;
pub(super) mod meta;
mod open;
mod published;
mod queue;
mod recover;
mod retention;
mod segment;
mod settings;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use engine::growing::Growing;
use engine::ports::{AppendPart, Clock, ErrorKind, EventLog, LogBounds, PartResult, PortError};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::control::Control;
use model::limits::PARTITIONS_MAX;
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

pub use self::batch::Codec;
pub use self::copy::{PinnedFile, PinnedLog, PinnedPartition};
pub use self::meta::stored_partitions;
pub use self::settings::LogSettings;

use self::append::{Appender, Place};
use self::batch::Compressor;
use self::meta::Meta;
use self::published::Published;
use self::queue::{Closed, Collected, Queue, QueuedPart, Reply};
use self::retention::Retention;
use self::writer::{LogClock, PartitionWriter, refuse_clock};
use super::disk::Disk;

/// The log of a data folder. Closes when it is dropped.
pub struct EmbeddedLog {
    disk: Arc<dyn Disk>,
    clock: Arc<LogClock>,
    retention: Retention,
    partitions: Growing<Partition>,
    dir: PathBuf,
    /// For partitions that are added.
    settings: LogSettings,
    growing: Mutex<Growth>,
    /// Nothing is let go of while it is above 0.
    pins: AtomicUsize,
}

struct Partition {
    queue: Arc<Queue>,
    published: Arc<Published>,
    writer: Mutex<Writer>,
    /// The segment that is being removed, by one at a time.
    leaving: Mutex<Option<PathBuf>>,
}

/// How partitions are added; held while some are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// With a writer thread each.
    Threads,
    /// Driven by [`EmbeddedLog::step`].
    Stepped,
    /// Not any more.
    Closed,
}

enum Writer {
    Thread(JoinHandle<()>),
    /// Driven by [`EmbeddedLog::step`].
    Stepped(Box<PartitionWriter>),
    Ended,
}

impl EmbeddedLog {
    /// Opens the log in a folder, or begins it; a writer thread for each partition. All that can be
    /// read afterwards is durable. `known_durable` holds for each partition up to which offset the
    /// caller has proof that it was durable (its checkpoint), or is empty.
    ///
    /// # Errors
    /// `Invalid` where the settings contradict each other or the folder, `Corrupt` where
    /// acknowledged records are damaged or missing, `Unavailable` where the disk fails or is full.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: &LogSettings,
        clock: Arc<dyn Clock>,
        known_durable: &[Option<Offset>],
    ) -> Result<Self, PortError> {
        let log = Self::open_stepped(disk, dir, settings, clock, known_durable)?;
        for (n, partition) in (0..).zip(log.partitions.iter()) {
            partition.start_writer(PartitionId(n))?;
        }
        *log.growing.lock() = Growth::Threads;
        Ok(log)
    }

    /// Like [`Self::open`], but nothing is written until [`Self::step`] is called: no threads, so
    /// that the same calls give the same bytes.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: &LogSettings,
        clock: Arc<dyn Clock>,
        known_durable: &[Option<Offset>],
    ) -> Result<Self, PortError> {
        settings.check()?;
        check_partitions(&*disk, dir, settings.partitions, known_durable)?;
        let mut appenders = Vec::with_capacity(usize::from(settings.partitions));
        for n in 0..settings.partitions {
            let place = place(&disk, dir, settings, PartitionId(n));
            let place = Place { reserve_bytes: 0, ..place };
            let known_durable = known_durable.get(usize::from(n)).copied().flatten();
            appenders.push(open::open_partition(place, known_durable, settings.tail_bytes_max)?);
        }
        let newest = appenders.iter().map(|appender| appender.append_time).max();
        let clock = Arc::new(LogClock::new(clock, newest.unwrap_or_default()));
        let mut partitions = Vec::with_capacity(appenders.len());
        for appender in appenders {
            partitions.push(Partition::begin(appender, settings, &clock)?);
        }
        let retention =
            Retention { age_ms: settings.retention_ms, bytes: settings.retention_bytes };
        Ok(Self {
            disk,
            clock,
            retention,
            partitions: Growing::of_partitions(partitions),
            dir: dir.to_owned(),
            settings: settings.clone(),
            growing: Mutex::new(Growth::Stepped),
            pins: AtomicUsize::new(0),
        })
    }

    /// Writes one group of what is queued for a partition, in the caller's thread; whether there
    /// was any. Only for a log from [`Self::open_stepped`]; false for others.
    pub fn step(&self, partition: PartitionId) -> bool {
        match &mut *self.partitions[usize::from(partition.0)].writer.lock() {
            Writer::Stepped(writer) => writer.step(),
            Writer::Thread(_) | Writer::Ended => false,
        }
    }

    /// Takes no more appends, makes durable what is queued, ends the writers, and ends every `read`
    /// that waits.
    pub fn close(&self) {
        *self.growing.lock() = Growth::Closed;
        for partition in self.partitions.iter() {
            partition.queue.close(Closed::Closing);
        }
        for partition in self.partitions.iter() {
            let writer = std::mem::replace(&mut *partition.writer.lock(), Writer::Ended);
            match writer {
                // A writer that panicked has said so, and its parts were answered.
                Writer::Thread(thread) => drop(thread.join()),
                Writer::Stepped(mut writer) => while writer.step() {},
                Writer::Ended => {}
            }
            partition.published.close();
        }
    }

    /// The first offset of a partition whose record was appended at or after a time; the durable
    /// offset where none was.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes are wrong.
    pub fn offset_at(
        &self,
        partition: PartitionId,
        time: TimestampMs,
    ) -> Result<Offset, PortError> {
        self.partition(partition)?.published.offset_at(time)
    }

    fn partition(&self, partition: PartitionId) -> Result<&Partition, PortError> {
        self.partitions.get(usize::from(partition.0)).ok_or_else(|| {
            let context = format!("there is no partition {partition}");
            PortError::new(ErrorKind::Invalid, context)
        })
    }

    /// Removes a segment that readers no longer see, for good: of two segments a crash must not
    /// bring back only the older one, which would leave a gap. Tried again after an error.
    fn finish_removal(&self, leaving: &mut Option<PathBuf>) -> Result<(), PortError> {
        let Some(segment) = &*leaving else { return Ok(()) };
        for path in [segment.with_extension("index"), segment.clone()] {
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(meta::unavailable("remove", &path)(error));
                }
                _ => {}
            }
        }
        let dir = segment.parent().expect("a segment lies in a folder");
        self.disk.sync_dir(dir).map_err(meta::unavailable("sync", dir))?;
        tracing::info!(file = %segment.display(), "segment let go");
        *leaving = None;
        Ok(())
    }

    fn append_one(
        &self,
        part: AppendPart,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        let queue = &self.partition(part.partition)?.queue;
        let (sender, receiver) = oneshot::channel();
        let mut state = queue.lock();
        queue.check(&state, part.records.len(), 1)?;
        queue.push(&mut state, queued(part, Reply::Only(sender)));
        drop(state);
        Ok(receiver.map(|result| vec![result.unwrap_or_else(|_| Err(unanswered()))]).boxed())
    }

    fn append_many(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        // All queues are locked, in partition order, before any is filled.
        let mut needs: Vec<(PartitionId, usize, usize)> = Vec::with_capacity(parts.len());
        for part in &parts {
            needs.push((part.partition, part.records.len(), 1));
        }
        needs.sort_unstable_by_key(|need| need.0);
        needs.dedup_by(|next, first| {
            let is_same = next.0 == first.0;
            if is_same {
                *first = (first.0, first.1 + next.1, first.2 + next.2);
            }
            is_same
        });
        let mut locked = Vec::with_capacity(needs.len());
        for (partition, bytes, count) in needs {
            let queue = &self.partition(partition)?.queue;
            let state = queue.lock();
            queue.check(&state, bytes, count)?;
            locked.push((partition, queue, state));
        }
        let (sender, receiver) = oneshot::channel();
        let count = parts.len();
        let collected = Arc::new(Mutex::new(Collected {
            results: std::iter::repeat_with(|| None).take(count).collect(),
            missing: count,
            sender: Some(sender),
        }));
        for (at, part) in parts.into_iter().enumerate() {
            let found = locked.iter_mut().find(|(partition, ..)| *partition == part.partition);
            let (_, queue, state) = found.expect("every partition of a part is locked");
            queue.push(state, queued(part, Reply::OneOf(collected.clone(), at)));
        }
        let answer = move |results: Result<Vec<PartResult>, _>| {
            results.unwrap_or_else(|_| (0..count).map(|_| Err(unanswered())).collect())
        };
        Ok(receiver.map(answer).boxed())
    }
}

impl Partition {
    /// A partition whose control records are durable; nothing else is written before it is stepped
    /// or its writer starts.
    fn begin(
        appender: Appender,
        settings: &LogSettings,
        clock: &Arc<LogClock>,
    ) -> Result<Self, PortError> {
        let queue = Arc::new(Queue::new(settings.queue_bytes_max, settings.queue_parts_max));
        let published = appender.published.clone();
        let mut writer = PartitionWriter {
            appender,
            compressor: Compressor::new(settings.codec).map_err(|error| {
                PortError::caused(ErrorKind::Unavailable, "no zstd compressor", error)
            })?,
            clock: clock.clone(),
            queue: queue.clone(),
            batch_bytes_max: settings.batch_bytes_max,
            linger: Duration::from_micros(settings.linger_us),
        };
        writer.commit_control(&[
            Control::Settings { dedup_minutes: settings.dedup_minutes },
            Control::Retention(settings.counters),
        ])?;
        writer.appender.place.reserve_bytes = settings.reserve_bytes;
        let writer = Mutex::new(Writer::Stepped(Box::new(writer)));
        Ok(Self { queue, published, writer, leaving: Mutex::default() })
    }

    fn start_writer(&self, id: PartitionId) -> Result<(), PortError> {
        let mut writer = self.writer.lock();
        if let Writer::Stepped(stepped) = std::mem::replace(&mut *writer, Writer::Ended) {
            let thread = Builder::new().name(format!("log-{id}")).spawn(|| stepped.run());
            let thread = thread.map_err(|error| {
                PortError::caused(ErrorKind::Unavailable, "no thread for the log", error)
            })?;
            *writer = Writer::Thread(thread);
        }
        Ok(())
    }
}

fn place(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    settings: &LogSettings,
    partition: PartitionId,
) -> Place {
    Place {
        disk: disk.clone(),
        dir: dir.join(partition.to_string()),
        partition,
        segment_bytes: settings.segment_bytes,
        reserve_bytes: settings.reserve_bytes,
    }
}

fn queued(part: AppendPart, reply: Reply) -> QueuedPart {
    let record_count = part.records.record_count();
    let is_control = part.is_control;
    QueuedPart { payload: part.records.into_payload(), record_count, is_control, reply }
}

/// The error for a part whose writer ended before it answered.
fn unanswered() -> PortError {
    PortError::new(ErrorKind::Conflict, "the log's writer ended; whether it wrote is unknown")
}

fn check_partitions(
    disk: &dyn Disk,
    dir: &Path,
    partitions: u16,
    known_durable: &[Option<Offset>],
) -> Result<(), PortError> {
    if !known_durable.is_empty() && known_durable.len() != usize::from(partitions) {
        let context =
            format!("{} checkpoints were given for {partitions} partitions", known_durable.len());
        return Err(PortError::new(ErrorKind::Invalid, context));
    }
    disk.create_dir(dir).map_err(meta::unavailable("make", dir))?;
    match stored_partitions(disk, dir)? {
        None => meta::store(disk, dir, Meta { partitions, is_routed: false }),
        Some(stored) if stored == partitions => Ok(()),
        Some(stored) => {
            let context = format!(
                "the log in {} has {stored} partitions and not {partitions}: their number is fixed \
                 at the first start; set partitions to {stored}",
                dir.display()
            );
            Err(PortError::new(ErrorKind::Invalid, context))
        }
    }
}

impl EventLog for EmbeddedLog {
    fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        let growth = self.growing.lock();
        let had = self.partitions();
        if partitions <= had {
            return Ok(());
        }
        if partitions > PARTITIONS_MAX {
            return Err(PortError::new(ErrorKind::Invalid, "partitions must be 1 to 1024"));
        }
        if *growth == Growth::Closed {
            return Err(PortError::new(ErrorKind::Unavailable, "the log is closing"));
        }
        // Folders first: what a crash leaves of them is taken up by the next attempt, and a start
        // knows only those that the number speaks of.
        let mut added = Vec::with_capacity(usize::from(partitions - had));
        for id in (had..partitions).map(PartitionId) {
            let place = place(&self.disk, &self.dir, &self.settings, id);
            let appender = open::open_partition(place, None, self.settings.tail_bytes_max)?;
            added.push(Partition::begin(appender, &self.settings, &self.clock)?);
        }
        let stored = meta::stored(&*self.disk, &self.dir)?;
        let is_routed = stored.is_some_and(|meta| meta.is_routed);
        meta::store(&*self.disk, &self.dir, Meta { partitions, is_routed })?;
        for (id, partition) in (had..partitions).map(PartitionId).zip(added) {
            if *growth == Growth::Threads {
                partition.start_writer(id)?;
            }
            if self.partitions.push(partition).is_err() {
                return Err(PortError::new(ErrorKind::Invalid, "there are no such partitions"));
            }
        }
        Ok(())
    }

    fn append(
        &self,
        mut parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        if parts.iter().any(|part| part.records.is_empty()) {
            return Err(PortError::new(ErrorKind::Invalid, "a part has no records"));
        }
        self.clock.now().map_err(refuse_clock)?;
        match parts.len() {
            0 => Ok(futures::future::ready(Vec::new()).boxed()),
            1 => self.append_one(parts.remove(0)),
            _ => self.append_many(parts),
        }
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        async move { self.partition(partition)?.published.read(from, bytes_max).await }.boxed()
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        self.partitions[usize::from(partition.0)].published.bounds()
    }

    fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), PortError> {
        let Partition { published, leaving, .. } = self.partition(partition)?;
        let mut leaving = leaving.lock();
        if self.pins.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let (sealed, active_bytes) = published.sealed();
        let now = self.append_time().ok();
        for _ in 0..self.retention.removable(&sealed, active_bytes, before, now) {
            self.finish_removal(&mut leaving)?;
            *leaving = Some(published.forget_oldest());
        }
        self.finish_removal(&mut leaving)?;
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        self.clock.now()
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
