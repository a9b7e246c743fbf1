//! What readers may see of a partition: its segments, the newest batches in memory, and how far all
//! of it is durable.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use engine::ports::{ErrorKind, LogBounds, PortError};
use model::{Batch, Offset, TimestampMs};
use parking_lot::Mutex;

use super::retention::Sealed;
use super::segment::Segment;
use crate::embedded::disk::Disk;

/// See the module. Shared by the writer and all readers of a partition.
pub(super) struct Published {
    disk: Arc<dyn Disk>,
    tail_bytes_max: usize,
    state: Mutex<State>,
    /// As the state has them. Questions ask for them, and shall not wait for a reader that was put off its core
    /// with the state in its hands.
    bounds: Mutex<LogBounds>,
}

struct State {
    log_epoch: u32,
    durable_offset: Offset,
    /// Oldest first, never empty; the last one grows.
    segments: Vec<Arc<Segment>>,
    /// The newest durable batches, without a gap up to the durable offset.
    tail: VecDeque<Batch<Bytes>>,
    tail_bytes: usize,
    wakers: Vec<Waker>,
    is_closing: bool,
}

/// Where the batches that are asked for are.
enum Source {
    Memory(Vec<Batch<Bytes>>),
    /// A segment that holds the offset, and where its durable batches end.
    Segment(Arc<Segment>, Offset),
}

impl Published {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        tail_bytes_max: usize,
        segments: Vec<Arc<Segment>>,
        bounds: LogBounds,
    ) -> Self {
        let state = State {
            log_epoch: bounds.log_epoch,
            durable_offset: bounds.durable_offset,
            segments,
            tail: VecDeque::new(),
            tail_bytes: 0,
            wakers: Vec::new(),
            is_closing: false,
        };
        Self { disk, tail_bytes_max, state: Mutex::new(state), bounds: Mutex::new(bounds) }
    }

    pub(super) fn bounds(&self) -> LogBounds {
        *self.bounds.lock()
    }

    /// A new segment grows from here on.
    pub(super) fn begin_segment(&self, segment: Arc<Segment>) {
        self.state.lock().segments.push(segment);
    }

    /// Batches have become durable; wakes who waits for them.
    pub(super) fn publish(&self, batches: impl Iterator<Item = Batch<Bytes>>) {
        let mut state = self.state.lock();
        for batch in batches {
            debug_assert_eq!(batch.base_offset, state.durable_offset);
            state.durable_offset = batch.next_offset();
            state.tail_bytes += batch.payload.len();
            state.tail.push_back(batch);
        }
        *self.bounds.lock() = state.bounds();
        while state.tail_bytes > self.tail_bytes_max {
            let Some(oldest) = state.tail.pop_front() else { break };
            state.tail_bytes -= oldest.payload.len();
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends every wait with an error.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closing = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// See [`engine::ports::EventLog::read`]. Waits without a thread, but a batch that is no longer
    /// in memory is read from its file within the poll.
    pub(super) async fn read(
        &self,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch<Bytes>>, PortError> {
        match poll_fn(|cx| self.poll_source(from, bytes_max, cx)).await? {
            Source::Memory(batches) => Ok(batches),
            Source::Segment(segment, end) => segment.read(&*self.disk, from, end, bytes_max),
        }
    }

    fn poll_source(
        &self,
        from: Offset,
        bytes_max: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Source, PortError>> {
        let mut state = self.state.lock();
        let (start, durable) = (state.start_offset(), state.durable_offset);
        if from < start || from > durable {
            let context =
                format!("offset {from} is not in the log, which holds {start} to {durable}");
            return Poll::Ready(Err(PortError::new(ErrorKind::Invalid, context)));
        }
        if from < durable {
            return Poll::Ready(Ok(state.source(from, bytes_max)));
        }
        if state.is_closing {
            let closing = PortError::new(ErrorKind::Unavailable, "the log is closing");
            return Poll::Ready(Err(closing));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The first offset whose record was appended at or after a time; the durable offset where
    /// none was.
    pub(super) fn offset_at(&self, time: TimestampMs) -> Result<Offset, PortError> {
        let (segment, end) = {
            let state = self.state.lock();
            // A segment's header has the newest append time before it.
            let after = state.segments.partition_point(|s| s.header.append_time < time);
            state.segment(after.saturating_sub(1))
        };
        segment.offset_at(&*self.disk, time, end)
    }

    /// The sealed segments, oldest first, and the size of the one that grows.
    pub(super) fn sealed(&self) -> (Vec<Sealed>, u64) {
        let state = self.state.lock();
        let pairs = state.segments.windows(2).map(|pair| Sealed {
            next_offset: pair[1].header.base_offset,
            append_time: pair[1].header.append_time,
            bytes: pair[0].bytes,
        });
        (pairs.collect(), state.segments[state.segments.len() - 1].bytes)
    }

    /// All segments, oldest first, and what is durable of them, of one moment.
    pub(super) fn all(&self) -> (Vec<Arc<Segment>>, LogBounds) {
        let state = self.state.lock();
        (state.segments.clone(), state.bounds())
    }

    /// Forgets the oldest segment; gives its file, which no new reader will open.
    pub(super) fn forget_oldest(&self) -> PathBuf {
        let mut state = self.state.lock();
        assert!(state.segments.len() > 1, "the segment that grows stays");
        let oldest = state.segments.remove(0);
        *self.bounds.lock() = state.bounds();
        let start = state.start_offset();
        while state.tail.front().is_some_and(|batch| batch.base_offset < start) {
            let batch = state.tail.pop_front().expect("there is a front");
            state.tail_bytes -= batch.payload.len();
        }
        oldest.path.clone()
    }
}

impl State {
    fn bounds(&self) -> LogBounds {
        LogBounds {
            log_epoch: self.log_epoch,
            start_offset: self.start_offset(),
            durable_offset: self.durable_offset,
        }
    }

    fn start_offset(&self) -> Offset {
        self.segments[0].header.base_offset
    }

    /// Where to read from an offset that is kept and durable.
    fn source(&self, from: Offset, bytes_max: usize) -> Source {
        if self.tail.front().is_some_and(|oldest| oldest.base_offset <= from) {
            let first = self.tail.partition_point(|batch| batch.next_offset() <= from);
            let mut bytes = 0;
            let batches = self.tail.range(first..).take_while(|batch| {
                let is_first = bytes == 0;
                bytes += batch.payload.len();
                is_first || bytes <= bytes_max
            });
            return Source::Memory(batches.cloned().collect());
        }
        let after = self.segments.partition_point(|s| s.header.base_offset <= from);
        let (segment, end) = self.segment(after - 1);
        Source::Segment(segment, end)
    }

    fn segment(&self, at: usize) -> (Arc<Segment>, Offset) {
        let next = self.segments.get(at + 1);
        let end = next.map_or(self.durable_offset, |next| next.header.base_offset);
        (self.segments[at].clone(), end)
    }
}
