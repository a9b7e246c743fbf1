//! Whether events may be accepted and questions answered now: written by the processors and by
//! whoever stops the server, read by every request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use model::Offset;
use model::dedup::bytes_for;
use parking_lot::Mutex;

use crate::growing::Growing;
use crate::sources::SourceBook;

/// Why no event is accepted now. Each goes away by itself or with the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The dedup window has no room for more ids.
    #[error("the dedup window is near its memory bound; it has room again as ids grow old")]
    DedupFull,
    /// The clock cannot be believed.
    #[error("{0}")]
    Clock(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// A partition stopped on damage or on a failed write.
    #[error("partition {0} has stopped; the server's log says why")]
    PartitionStopped(u16),
    /// A request of the same source is under way: one that overtakes another would be lost.
    #[error("another request of this source is under way; a source sends one after the other")]
    SourceBusy,
    /// A partition knows as many sources as it can.
    #[error(
        "there is no room for another source; one is forgotten 30 days after it was last heard of"
    )]
    TooManySources,
    /// A partition remembers as many refused places of sources as it can.
    #[error(
        "there is no room to remember more stamped events that were refused for their time; send \
         them without a stamp, or raise max_event_age first"
    )]
    TooManyRefused,
    /// The partitions' state is not read yet.
    #[error("the server is starting")]
    Starting,
    /// Where events go is not known now.
    #[error("{0}")]
    Routing(String),
}

/// No partition has stopped.
const NONE: u64 = u64::MAX;

/// The state behind the verdict.
#[derive(Debug)]
pub struct Admission {
    windows: Growing<Window>,
    dedup_bytes_max: u64,
    stopping: AtomicBool,
    stopped_partition: AtomicU64,
    /// Of each partition, once it is open.
    sources: Growing<OnceLock<Arc<SourceBook>>>,
    busy_sources: Mutex<BTreeSet<String>>,
}

/// The dedup window of a partition, and what is on its way to it.
#[derive(Debug)]
struct Window {
    bytes: AtomicU64,
    ids: AtomicU64,
    /// The first offset whose id is not in it; the highest there is until that is known.
    next_offset: AtomicU64,
    /// The first offset that was not appended yet.
    appended_offset: AtomicU64,
}

impl Window {
    fn new() -> Self {
        let of = AtomicU64::new;
        Self { bytes: of(0), ids: of(0), next_offset: of(u64::MAX), appended_offset: of(0) }
    }

    /// Memory that it has, or will have once it has seen what is appended: as long as counting is
    /// held up, ids gather in the log, and none is ever forgotten early.
    fn bytes_to_come(&self) -> u64 {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let waiting = of(&self.appended_offset).saturating_sub(of(&self.next_offset));
        match waiting {
            0 => of(&self.bytes),
            waiting => of(&self.bytes).max(bytes_for(of(&self.ids).saturating_add(waiting))),
        }
    }
}

impl Admission {
    /// For so many partitions. The bound is on all dedup windows together, in bytes.
    pub fn new(partitions: u16, dedup_bytes_max: u64) -> Self {
        Self {
            windows: Growing::of_partitions((0..partitions).map(|_| Window::new())),
            dedup_bytes_max,
            stopping: AtomicBool::new(false),
            stopped_partition: AtomicU64::new(NONE),
            sources: Growing::of_partitions((0..partitions).map(|_| OnceLock::new())),
            busy_sources: Mutex::default(),
        }
    }

    /// For a process that only accepts events, of a log that others count. What they have counted is
    /// not known here: their memory is bounded by what they are given, and of sources as many are let
    /// in as one process may know, counted from its start.
    pub fn without_processors(partitions: u16) -> Self {
        let admission = Self::new(partitions, u64::MAX);
        (0..partitions).for_each(|partition| admission.know_sources(partition, Arc::default()));
        admission
    }

    /// From now on there are so many partitions. Nothing is routed to the new ones before their
    /// sources are known too.
    pub(crate) fn grow(&self, partitions: u16) {
        while self.windows.len() < usize::from(partitions) {
            // There is room for every partition there may be.
            let _ = self.windows.push(Window::new());
        }
    }

    /// Whether events may be accepted.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        match self.stopped_partition.load(Ordering::Relaxed) {
            NONE => {}
            partition => return Err(Refusal::PartitionStopped(partition as u16)),
        }
        if self.dedup_bytes_to_come() > self.dedup_bytes_bound() {
            return Err(Refusal::DedupFull);
        }
        Ok(())
    }

    /// How full the dedup windows are, as they will be once all that is appended is counted: at 1 no
    /// event is accepted.
    pub fn dedup_fill(&self) -> f64 {
        self.dedup_bytes_to_come() as f64 / self.dedup_bytes_bound() as f64
    }

    fn dedup_bytes_to_come(&self) -> u64 {
        self.windows.iter().map(Window::bytes_to_come).fold(0, u64::saturating_add)
    }

    /// An eighth is left for requests that are under way.
    fn dedup_bytes_bound(&self) -> u64 {
        (self.dedup_bytes_max / 8 * 7).max(1)
    }

    /// Memory of all dedup windows, in bytes.
    pub fn dedup_bytes(&self) -> u64 {
        self.windows.iter().map(|window| window.bytes.load(Ordering::Relaxed)).sum()
    }

    /// From now on no event is accepted.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The partition whose processor has stopped, if any.
    pub fn stopped_partition(&self) -> Option<u16> {
        match self.stopped_partition.load(Ordering::Relaxed) {
            NONE => None,
            partition => Some(partition as u16),
        }
    }

    /// Takes a source's turn, until it is dropped.
    ///
    /// # Errors
    /// Where another request has it, or there is no room for a source.
    pub(crate) fn take_turn(self: &Arc<Self>, source: String) -> Result<SourceTurn, Refusal> {
        for book in self.sources.iter() {
            if !book.get().ok_or(Refusal::Starting)?.has_room_for(&source) {
                return Err(Refusal::TooManySources);
            }
        }
        if !self.busy_sources.lock().insert(source.clone()) {
            return Err(Refusal::SourceBusy);
        }
        Ok(SourceTurn { admission: Arc::clone(self), source })
    }

    pub(crate) fn know_sources(&self, partition: u16, sources: Arc<SourceBook>) {
        // A partition is opened once in the life of an admission.
        let _ = match self.sources.get(usize::from(partition)) {
            Some(unknown) => unknown.set(sources),
            // One that was added while others take turns is known as soon as it is there.
            None => self.sources.push(OnceLock::from(sources)).map_err(|_| Arc::default()),
        };
    }

    /// Says how large a partition's window is, and the first offset whose id is not in it.
    pub(crate) fn set_window(&self, partition: u16, (ids, bytes): (u64, u64), next: Offset) {
        let window = &self.windows[usize::from(partition)];
        window.ids.store(ids, Ordering::Relaxed);
        window.bytes.store(bytes, Ordering::Relaxed);
        window.next_offset.store(next.0, Ordering::Relaxed);
    }

    /// Says that a partition's log holds everything below an offset.
    pub(crate) fn note_appended(&self, partition: u16, next: Offset) {
        let window = &self.windows[usize::from(partition)];
        window.appended_offset.fetch_max(next.0, Ordering::Relaxed);
    }

    pub(crate) fn partition_stopped(&self, partition: u16) {
        self.stopped_partition.store(u64::from(partition), Ordering::Relaxed);
    }
}

/// The right of one request to send for a source.
#[derive(Debug)]
pub(crate) struct SourceTurn {
    admission: Arc<Admission>,
    source: String,
}

impl SourceTurn {
    /// Whose turn it is.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Keeps room in a partition for ranges of the source that were refused.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn announce_refused(&self, partition: u16, ranges: usize) -> Result<(), Refusal> {
        self.announce(partition);
        match self.admission.sources[usize::from(partition)].get() {
            Some(book) if !book.announce_refused(ranges) => Err(Refusal::TooManyRefused),
            _ => Ok(()),
        }
    }

    /// Keeps a place for the source in a partition that its records go to.
    pub(crate) fn announce(&self, partition: u16) {
        if let Some(book) = self.admission.sources[usize::from(partition)].get() {
            book.announce(&self.source);
        }
    }
}

impl Drop for SourceTurn {
    fn drop(&mut self) {
        self.admission.busy_sources.lock().remove(&self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_wait_in_the_log_fill_the_window_too() {
        let million = bytes_for(1_000_000);
        let admission = Admission::new(2, 3 * million);
        // Nothing is known of the other partition yet.
        admission.note_appended(1, Offset(u64::MAX));
        admission.set_window(0, (0, 0), Offset(5_000_000));
        admission.note_appended(0, Offset(6_000_000));
        assert_eq!((admission.check(), admission.dedup_bytes()), (Ok(()), 0));
        // Counting is held up, and events go on to come.
        admission.note_appended(0, Offset(13_000_000));
        admission.note_appended(0, Offset(7_000_000));
        assert_eq!(admission.check(), Err(Refusal::DedupFull));
        // They were repeats: what is counted is known.
        admission.set_window(0, (1_000_000, million), Offset(13_000_000));
        assert_eq!((admission.check(), admission.dedup_bytes()), (Ok(()), million));
        admission.set_window(0, (1_000_000, 3 * million), Offset(13_000_000));
        assert_eq!(admission.check(), Err(Refusal::DedupFull));
    }

    #[test]
    fn without_processors_sources_have_their_turns_and_room_for_so_many() {
        let admission = Arc::new(Admission::without_processors(2));
        admission.note_appended(0, Offset(1 << 40));
        assert_eq!(admission.check(), Ok(()), "what others count fills no memory here");
        for n in 0..model::limits::SOURCES_MAX {
            admission.take_turn(n.to_string()).expect("room").announce(1);
        }
        assert_eq!(admission.take_turn("new".into()).err(), Some(Refusal::TooManySources));
        let turn = admission.take_turn("0".into()).expect("it is known");
        assert_eq!(admission.take_turn("0".into()).err(), Some(Refusal::SourceBusy));
        drop(turn);
    }

    #[test]
    fn a_source_has_one_turn_at_a_time_once_the_partitions_are_known() {
        let admission = Arc::new(Admission::new(2, u64::MAX));
        let turn = |source: &str| admission.take_turn(source.to_owned());
        assert_eq!(turn("a").err(), Some(Refusal::Starting));
        admission.know_sources(0, Arc::default());
        assert_eq!(turn("a").err(), Some(Refusal::Starting));
        let book: Arc<SourceBook> = Arc::default();
        admission.know_sources(1, book.clone());
        let first = turn("a").expect("its turn");
        assert_eq!(turn("a").err(), Some(Refusal::SourceBusy));
        let other = turn("b").expect("another source has its own turn");
        other.announce(1);
        drop((first, other));
        turn("a").expect("its turn again");
        // A partition that has no room refuses new ones and no others.
        for n in 1..model::limits::SOURCES_MAX {
            book.announce(&n.to_string());
        }
        assert_eq!(turn("c").err(), Some(Refusal::TooManySources));
        turn("b").expect("it is announced");
        assert!(admission.busy_sources.lock().is_empty(), "a refused turn is not kept");
    }
}
