//! The memory of one partition: a table that counts and a frozen one that is being flushed.
//!
//! Everything is there twice. A change is made to the copy that is not shown, which is shown from then on, and
//! then to the other one. So a question never waits for a processor that was put off its core in the middle of
//! a change, and sees each change as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::aggregate::{CountedEvent, MemoryTable};
use model::control::Control;
use model::{BulkEntry, Checkpoint, DeadLetter, Horizons, Offset, SourceMark, Summary, TimeRange};
use parking_lot::{Condvar, Mutex, RwLock};

/// A table that has counted so many offsets is flushed however few cells it has: a start after `kill -9` counts
/// them again, which takes a core two seconds, and while the store is away their ids take memory. Four times as
/// often would cost a tenth of all CPU time where few items are counted.
const OFFSETS_MAX: u64 = 4_000_000;

/// A table that counts no more, with all that is flushed together with it.
pub struct Frozen {
    /// The counts of `[table.from(), checkpoint.next_offset)`.
    pub table: MemoryTable,
    /// Progress once this is in the store.
    pub checkpoint: Checkpoint,
    /// What could not be counted.
    pub dead_letters: Vec<DeadLetter>,
    /// Control records about rows, at the end of that stretch, each with its offset.
    pub controls: Vec<(Offset, Control)>,
    /// Sources that were heard of or forgotten, in the order of their names.
    pub sources: Vec<SourceMark>,
    /// Files that were named.
    pub bulk: Vec<BulkEntry>,
}

/// Sources that are to be stored, by name: of several marks of one the last holds.
pub type SourceMarks = BTreeMap<Arc<str>, SourceMark>;

/// What a chunk of records brings beside counts.
#[derive(Debug, Default)]
pub struct Beside {
    /// What could not be counted.
    pub dead_letters: Vec<DeadLetter>,
    /// Control records about rows. The table is to be frozen behind them.
    pub controls: Vec<(Offset, Control)>,
    /// Sources that were heard of or forgotten.
    pub sources: SourceMarks,
    /// Files that were named.
    pub bulk: Vec<BulkEntry>,
}

/// The tables of one partition.
pub struct Memory {
    /// Held by whoever changes the tables.
    state: Mutex<State>,
    /// Signalled when a table was frozen, when one was flushed, and when the partition stops.
    changed: Condvar,
    copies: [RwLock<Tables>; 2],
    /// Which of the copies questions look at: the other one is changed next.
    shown: AtomicUsize,
}

/// What no question asks for.
#[derive(Default)]
struct State {
    beside: Beside,
    /// Where the first table ends, whatever else would end it: a flush of it was begun before.
    ends_at: Option<Offset>,
    is_closed: bool,
}

/// What a question sees.
pub struct Tables {
    /// What counts now.
    pub active: MemoryTable,
    /// What is on its way to the store.
    pub frozen: Option<Arc<Frozen>>,
    checkpoint: Checkpoint,
    /// Files that were named since the last time.
    bulk: Vec<BulkEntry>,
    /// Whether somebody else counts: then the store has all there is to know here.
    is_following: bool,
}

impl Memory {
    /// Empty tables that count from a checkpoint on.
    pub fn new(checkpoint: Checkpoint, seed: u64) -> Self {
        Self::showing(checkpoint, seed, false)
    }

    fn showing(checkpoint: Checkpoint, seed: u64, is_following: bool) -> Self {
        let tables = || Tables {
            active: MemoryTable::new(checkpoint.next_offset, seed),
            frozen: None,
            checkpoint,
            bulk: Vec::new(),
            is_following,
        };
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            copies: [RwLock::new(tables()), RwLock::new(tables())],
            shown: AtomicUsize::new(0),
        }
    }

    /// With a first table that is frozen exactly at an offset: rows of such a flush are in the store.
    #[must_use]
    pub fn ending_at(self, begun: Option<Offset>) -> Self {
        let next = self.look(|tables| tables.active.next_offset());
        self.state.lock().ends_at = begun.filter(|begun| *begun > next);
        self
    }

    /// Where the table that counts now is to end exactly; a chunk must end there too.
    pub fn ends_at(&self) -> Option<Offset> {
        self.state.lock().ends_at
    }

    /// Tables that stay empty, of a partition that somebody else counts.
    pub fn following(checkpoint: Checkpoint, seed: u64) -> Self {
        Self::showing(checkpoint, seed, true)
    }

    /// Whether somebody else counts.
    pub fn is_following(&self) -> bool {
        self.look(|tables| tables.is_following)
    }

    /// Notes how far the store is, where somebody else counts; whether that is further than known.
    pub fn follow(&self, stored: &Checkpoint) -> bool {
        let is_further = |tables: &Tables| {
            tables.is_following && stored.next_offset > tables.checkpoint.next_offset
        };
        if !self.look(is_further) {
            return false;
        }
        let state = self.state.lock();
        let is_further = self.look(is_further);
        if is_further {
            self.change(&state, |tables| {
                tables.active = tables.active.successor(stored.next_offset);
                tables.checkpoint = *stored;
            });
        }
        is_further
    }

    /// Looks at the tables as they are between two changes.
    pub fn look<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        loop {
            // What is shown is written to only once the other copy is shown.
            let shown = self.shown.load(Ordering::Acquire);
            if let Some(tables) = self.copies[shown].try_read() {
                return look(&tables);
            }
            std::hint::spin_loop();
        }
    }

    /// Makes the same change to both copies.
    fn change(&self, _state: &State, mut change: impl FnMut(&mut Tables)) {
        let shown = self.shown.load(Ordering::Relaxed);
        let hidden = 1 - shown;
        change(&mut self.copies[hidden].write());
        self.shown.store(hidden, Ordering::Release);
        change(&mut self.copies[shown].write());
    }

    /// Counts a chunk and moves on to the checkpoint that holds after it.
    pub fn commit(
        &self,
        checkpoint: &Checkpoint,
        beside: &mut Beside,
        events: &[CountedEvent<'_>],
    ) {
        let mut state = self.state.lock();
        let places = self.look(|tables| tables.active.find_all(events));
        self.change(&state, |tables| {
            tables.active.count_all(events, &places);
            tables.active.advance(checkpoint.next_offset);
            tables.checkpoint = *checkpoint;
            tables.bulk.extend_from_slice(&beside.bulk);
        });
        state.beside.dead_letters.append(&mut beside.dead_letters);
        state.beside.controls.append(&mut beside.controls);
        state.beside.sources.extend(std::mem::take(&mut beside.sources));
        beside.bulk.clear();
        debug_assert!(state.ends_at.is_none_or(|end| checkpoint.next_offset <= end));
        if state.ends_at == Some(checkpoint.next_offset) {
            // The first table of all: none is frozen.
            state.ends_at = None;
            self.freeze(&mut state);
        }
    }

    fn freeze(&self, state: &mut State) {
        let Beside { dead_letters, controls, sources, .. } = std::mem::take(&mut state.beside);
        let mut beside = Some((dead_letters, controls, sources.into_values().collect()));
        let successor = |tables: &Tables| tables.active.successor(tables.checkpoint.next_offset);
        let mut empty = self.look(|tables| [successor(tables), successor(tables)]).into_iter();
        let (mut frozen, mut left) = (None, None);
        self.change(state, |tables| {
            let Some(next) = empty.next() else { return };
            let table = std::mem::replace(&mut tables.active, next);
            let bulk = std::mem::take(&mut tables.bulk);
            match beside.take() {
                Some((dead_letters, controls, sources)) => {
                    let checkpoint = tables.checkpoint;
                    let all = Frozen { table, checkpoint, dead_letters, controls, sources, bulk };
                    frozen = Some(Arc::new(all));
                }
                // Freed once no question waits for it.
                None => left = Some(table),
            }
            tables.frozen.clone_from(&frozen);
        });
        drop(left);
        self.changed.notify_all();
    }

    /// Freezes the active table once it has `cells_max` cells or has counted [`OFFSETS_MAX`], or ends in control
    /// records; waits while the one before it is still being flushed, so that memory stays bounded.
    pub fn freeze_when_full(&self, cells_max: usize) {
        let mut state = self.state.lock();
        if !self.is_full(&state, cells_max) {
            return;
        }
        while self.frozen().is_some() && !state.is_closed {
            self.changed.wait(&mut state);
        }
        if !state.is_closed {
            self.freeze(&mut state);
        }
    }

    /// Whether the active table is to be frozen before anything else is counted.
    pub fn is_due(&self, cells_max: usize) -> bool {
        self.is_full(&self.state.lock(), cells_max)
    }

    fn is_full(&self, state: &State, cells_max: usize) -> bool {
        let (cells, offsets) = self.look(|Tables { active, .. }| {
            (active.cells(), active.next_offset().0 - active.from().0)
        });
        let is_large = cells >= cells_max || offsets >= OFFSETS_MAX;
        state.ends_at.is_none() && (is_large || !state.beside.controls.is_empty())
    }

    fn frozen(&self) -> Option<Arc<Frozen>> {
        self.look(|tables| tables.frozen.clone())
    }

    /// Freezes whatever has been counted or judged since the last time, unless a table is frozen
    /// already; the frozen table, if there is one now.
    pub fn freeze_now(&self) -> Option<Arc<Frozen>> {
        let mut state = self.state.lock();
        let has_moved = |tables: &Tables| tables.active.next_offset() > tables.active.from();
        let may_end = self.frozen().is_none() && state.ends_at.is_none();
        if may_end && self.look(has_moved) {
            self.freeze(&mut state);
        }
        self.frozen()
    }

    /// Waits until a table is frozen, the time has passed or the memory is closed; the frozen table
    /// if there is one, and whether the memory is closed.
    pub fn wait_frozen(&self, timeout: std::time::Duration) -> (Option<Arc<Frozen>>, bool) {
        let mut state = self.state.lock();
        if self.frozen().is_none() && !state.is_closed {
            self.changed.wait_for(&mut state, timeout);
        }
        (self.frozen(), state.is_closed)
    }

    /// Waits for the time to pass, or until a table is frozen or the memory is closed; whether
    /// neither came.
    pub fn stays_idle(&self, pause: std::time::Duration) -> bool {
        let (frozen, is_closed) = self.wait_frozen(pause);
        frozen.is_none() && !is_closed
    }

    /// Waits for the time to pass, or until the memory is closed; whether it is.
    pub fn wait_closed(&self, timeout: std::time::Duration) -> bool {
        let mut state = self.state.lock();
        if !state.is_closed {
            self.changed.wait_for(&mut state, timeout);
        }
        state.is_closed
    }

    /// Lets go of the frozen table, which is in the store now.
    pub fn flushed(&self) {
        let state = self.state.lock();
        // A large table is freed here and not while a copy is kept from questions.
        let frozen = self.frozen();
        self.change(&state, |tables| tables.frozen = None);
        self.changed.notify_all();
        drop(state);
        drop(frozen);
    }

    /// Whether nobody flushes any more.
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Nobody waits for a flush any more.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}

/// What one table has of an item and type.
#[derive(Clone, Copy, Debug)]
pub struct TableTotal {
    /// The first offset counted in it.
    pub from: Offset,
    /// The first offset not counted in it.
    pub next_offset: Offset,
    /// Of all time.
    pub summary: Summary,
}

impl Tables {
    /// What each table has of an item and type, oldest first.
    pub fn totals(&self, item: &str, event_type: &str) -> Vec<TableTotal> {
        let frozen = self.frozen.as_deref().map(|frozen| &frozen.table);
        let of_table = |table: &MemoryTable| TableTotal {
            from: table.from(),
            next_offset: table.next_offset(),
            summary: table.summary(item, event_type, TimeRange::ALL),
        };
        frozen.into_iter().chain([&self.active]).map(of_table).collect()
    }

    /// Files that were named and are not known to be in the store.
    pub fn bulk(&self) -> impl Iterator<Item = &BulkEntry> {
        self.frozen.iter().flat_map(|frozen| &frozen.bulk).chain(&self.bulk)
    }

    /// The horizons by which the newest event was judged.
    pub fn horizons(&self) -> Horizons {
        self.checkpoint.horizons
    }

    /// The tables that hold what a store with this checkpoint lacks, oldest first; none when the
    /// checkpoint is older than what memory still has, and a newer snapshot is to be taken. A store that
    /// somebody else counts into lacks nothing that is known here.
    pub fn since(&self, checkpoint: Offset) -> Option<Vec<&MemoryTable>> {
        if self.is_following {
            return Some(Vec::new());
        }
        let frozen = self.frozen.as_deref().map(|frozen| &frozen.table);
        let tables: Vec<&MemoryTable> = frozen
            .into_iter()
            .chain([&self.active])
            .filter(|table| table.from() >= checkpoint)
            .collect();
        (tables.first().map(|table| table.from()) == Some(checkpoint)).then_some(tables)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// A processor may be put off its core in the middle of a change: that is as long as its closure waits here.
    #[test]
    fn a_question_sees_every_change_as_a_whole_and_waits_for_none() {
        let memory = Memory::new(Checkpoint::default(), 7);
        let mut seen = Vec::new();
        let to = |offset| Checkpoint { next_offset: Offset(offset), ..Checkpoint::default() };
        for offset in 1..4 {
            let state = memory.state.lock();
            memory.change(&state, |tables| {
                tables.checkpoint = to(offset);
                std::thread::scope(|scope| {
                    let (answer, answered) = channel();
                    let memory = &memory;
                    scope.spawn(move || {
                        let _ = answer.send(memory.look(|tables| tables.checkpoint.next_offset.0));
                    });
                    seen.push(answered.recv_timeout(Duration::from_secs(60)).ok());
                });
                tables.active.advance(Offset(offset));
            });
        }
        assert_eq!(seen, [0, 1, 1, 2, 2, 3].map(Some));
    }

    #[test]
    fn a_table_of_few_cells_and_many_events_is_full() {
        let memory = Memory::new(Checkpoint::default(), 7);
        let count_to = |offset| {
            let checkpoint = Checkpoint { next_offset: Offset(offset), ..Checkpoint::default() };
            memory.commit(&checkpoint, &mut Beside::default(), &[]);
            memory.freeze_when_full(1);
            memory.frozen().map(|frozen| frozen.table.next_offset().0)
        };
        assert_eq!(count_to(OFFSETS_MAX - 1), None);
        assert_eq!(count_to(OFFSETS_MAX + 5), Some(OFFSETS_MAX + 5));
        assert!(!memory.is_due(1), "the next one begins there");
    }
}
