//! Group commit: what has queued up for a partition becomes record batches, one write and one sync.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::ports::{Appended, Clock, ErrorKind, PortError};
use model::TimestampMs;
use model::append_time::{AppendClock, ImplausibleClock};
use model::control::Control;
use parking_lot::Mutex;

use super::append::{Appender, WriteError};
use super::batch::{BatchHeader, Compressor, HEADER_BYTES};
use super::gather::{Gathered, gather};
use super::queue::{Closed, Queue, QueuedPart};

/// Most bytes that are made durable together: beyond it the disk takes longer than it saves.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// The append clock, shared by all partitions.
pub(super) struct LogClock {
    clock: Arc<dyn Clock>,
    append: Mutex<AppendClock>,
}

impl LogClock {
    pub(super) fn new(clock: Arc<dyn Clock>, newest: TimestampMs) -> Self {
        let append = Mutex::new(AppendClock::start(newest, clock.now()));
        Self { clock, append }
    }

    pub(super) fn now(&self) -> Result<TimestampMs, ImplausibleClock> {
        let mut append = self.append.lock();
        append.now(self.clock.now())
    }
}

/// The error while the clock cannot be believed.
pub(super) fn refuse_clock(error: ImplausibleClock) -> PortError {
    PortError::caused(ErrorKind::Unavailable, "no append time can be given", error)
}

/// So many parts in one group come from clients that send at the same time.
const CROWD_PARTS: usize = 4;
/// What the next group waits for each part of the one before.
const LINGER_A_PART: Duration = Duration::from_micros(50);

/// Writes one partition. There is one for each, used by one thread at a time.
pub(super) struct PartitionWriter {
    pub(super) appender: Appender,
    pub(super) compressor: Compressor,
    pub(super) clock: Arc<LogClock>,
    pub(super) queue: Arc<Queue>,
    pub(super) batch_bytes_max: usize,
    pub(super) linger: Duration,
}

impl PartitionWriter {
    /// Writes what comes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let closes = ClosesAtEnd(self.queue.clone());
        let mut linger = Duration::ZERO;
        while let Some(group) = self.queue.wait(GROUP_BYTES_MAX, linger) {
            // Where many wait for one sync, a moment more gathers more of them and costs fewer
            // syncs; somebody alone would only wait longer.
            linger = match group.len() {
                ..CROWD_PARTS => Duration::ZERO,
                parts => self.linger.min(LINGER_A_PART * parts as u32),
            };
            self.commit(group);
        }
        drop(closes);
    }

    /// Writes one group of what is queued; whether there was any.
    pub(super) fn step(&mut self) -> bool {
        let group = self.queue.poll(GROUP_BYTES_MAX);
        let is_some = group.is_some();
        group.into_iter().for_each(|group| self.commit(group));
        is_some
    }

    /// Makes a group durable and tells whoever waits for its parts.
    fn commit(&mut self, group: Vec<QueuedPart>) {
        let append_time = match self.clock.now() {
            Ok(now) => now,
            Err(error) => return refuse(group, || refuse_clock(error)),
        };
        let base_offset = self.appender.durable_offset;
        let batches = gather(&group, self.batch_bytes_max);
        let failed = self.write(batches, append_time).err();
        self.answer(group, base_offset, append_time, failed.as_ref());
        match failed {
            Some(WriteError { poisons: true, act, error }) => {
                let partition = self.appender.place.partition;
                tracing::error!(%partition, %act, %error, "partition stopped until a restart");
                let closed = Closed::Poisoned(act);
                refuse(self.queue.close(closed.clone()), || closed.refusal());
            }
            _ => self.appender.prepare_ahead(),
        }
    }

    /// Appends control records of the log's own, before anybody can append.
    pub(super) fn commit_control(&mut self, controls: &[Control]) -> Result<(), PortError> {
        // A clock that is not believed yet must not keep the log from being read.
        let newest = self.appender.append_time;
        let append_time = self.clock.now().unwrap_or(newest).max(newest);
        let payload = controls.iter().flat_map(|control| control.payload());
        let plain = [0; HEADER_BYTES].into_iter().chain(payload).collect();
        let record_count = controls.len() as u32;
        let batch = Gathered { plain, record_count, is_control: true };
        self.write(vec![batch], append_time).map_err(|failed| {
            failed.to_port_error(ErrorKind::Unavailable, "the log cannot be opened")
        })
    }

    fn write(
        &mut self,
        batches: Vec<Gathered>,
        append_time: TimestampMs,
    ) -> Result<(), WriteError> {
        for Gathered { mut plain, record_count, is_control } in batches {
            let payload_len = (plain.len() - HEADER_BYTES) as u32;
            let (codec, stored) = self.compressor.store(&mut plain);
            self.appender.make_room(stored.len())?;
            let header = BatchHeader {
                stored_len: (stored.len() - HEADER_BYTES) as u32,
                payload_len,
                base_offset: self.appender.next_offset(),
                append_time,
                durable_offset: self.appender.durable_offset,
                record_count,
                log_epoch: self.appender.log_epoch,
                partition: self.appender.place.partition,
                codec,
                is_control,
            };
            self.appender.put(&header, stored)?;
            let payload = Bytes::from(plain).slice(HEADER_BYTES..);
            self.appender.unsynced.push(header.batch(payload));
        }
        self.appender.sync()
    }

    /// Tells what became of each part: durable, surely not written, or unknown.
    fn answer(
        &self,
        group: Vec<QueuedPart>,
        mut base_offset: model::Offset,
        append_time: TimestampMs,
        failed: Option<&WriteError>,
    ) {
        let Appender { durable_offset, attempted_offset, place, .. } = &self.appender;
        for part in group {
            let next_offset = base_offset.plus(u64::from(part.record_count));
            let result = match failed {
                Some(failed) if next_offset > *durable_offset => {
                    let is_untouched = base_offset >= *attempted_offset;
                    Err(match is_untouched {
                        true => failed.to_port_error(ErrorKind::Unavailable, "nothing was written"),
                        false => failed.to_port_error(
                            ErrorKind::Conflict,
                            "whether it was written is known after a restart",
                        ),
                    })
                }
                _ => {
                    let partition = place.partition;
                    Ok(Appended { partition, base_offset, next_offset, append_time })
                }
            };
            part.reply.send(result);
            base_offset = next_offset;
        }
    }
}

fn refuse(parts: Vec<QueuedPart>, error: impl Fn() -> PortError) {
    for part in parts {
        part.reply.send(Err(error()));
    }
}

/// Closes the queue when the writer ends in any way: nobody may wait for a thread that is gone.
struct ClosesAtEnd(Arc<Queue>);

impl Drop for ClosesAtEnd {
    fn drop(&mut self) {
        let writer: Arc<str> = "the writer thread".into();
        drop(self.0.close(Closed::Poisoned(writer)));
    }
}
