//! The memory of one partition: a table that counts and a frozen one that is being flushed.
//! Written by the processor, read by questions; each holds the lock for microseconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::aggregate::MemoryTable;
use model::control::Control;
use model::{BulkEntry, Checkpoint, DeadLetter, Horizons, Offset, SourceMark, Summary, TimeRange};
use parking_lot::{Condvar, Mutex, MutexGuard};

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
    tables: Mutex<Tables>,
    /// Signalled when a table was frozen, when one was flushed, and when the partition stops.
    changed: Condvar,
}

/// What the lock guards.
pub struct Tables {
    /// What counts now.
    pub active: MemoryTable,
    /// What is on its way to the store.
    pub frozen: Option<Arc<Frozen>>,
    checkpoint: Checkpoint,
    beside: Beside,
    /// Where the first table ends, whatever else would end it: a flush of it was begun before.
    ends_at: Option<Offset>,
    is_closed: bool,
    /// Whether somebody else counts: then the store has all there is to know here.
    is_following: bool,
}

impl Memory {
    /// Empty tables that count from a checkpoint on.
    pub fn new(checkpoint: Checkpoint, seed: u64) -> Self {
        let tables = Tables {
            active: MemoryTable::new(checkpoint.next_offset, seed),
            frozen: None,
            ends_at: None,
            checkpoint,
            beside: Beside::default(),
            is_closed: false,
            is_following: false,
        };
        Self { tables: Mutex::new(tables), changed: Condvar::new() }
    }

    /// With a first table that is frozen exactly at an offset: rows of such a flush are in the store.
    #[must_use]
    pub fn ending_at(self, begun: Option<Offset>) -> Self {
        let is_ahead = |tables: &Tables, begun: Offset| begun > tables.active.next_offset();
        let ends_at = begun.filter(|begun| is_ahead(&self.tables.lock(), *begun));
        self.tables.lock().ends_at = ends_at;
        self
    }

    /// Where the table that counts now is to end exactly; a chunk must end there too.
    pub fn ends_at(&self) -> Option<Offset> {
        self.tables.lock().ends_at
    }

    /// Tables that stay empty, of a partition that somebody else counts.
    pub fn following(checkpoint: Checkpoint, seed: u64) -> Self {
        let memory = Self::new(checkpoint, seed);
        memory.tables.lock().is_following = true;
        memory
    }

    /// Notes how far the store is, where somebody else counts; whether that is further than known.
    pub fn follow(&self, stored: &Checkpoint) -> bool {
        let mut tables = self.tables.lock();
        let is_further = tables.is_following && stored.next_offset > tables.checkpoint.next_offset;
        if is_further {
            tables.active = tables.active.successor(stored.next_offset);
            tables.checkpoint = *stored;
        }
        is_further
    }

    /// Counts a chunk and moves on to the checkpoint that holds after it.
    pub fn commit(
        &self,
        checkpoint: &Checkpoint,
        beside: &mut Beside,
        count: impl FnOnce(&mut MemoryTable),
    ) {
        let mut tables = self.tables.lock();
        count(&mut tables.active);
        tables.active.advance(checkpoint.next_offset);
        tables.checkpoint = *checkpoint;
        tables.beside.dead_letters.append(&mut beside.dead_letters);
        tables.beside.controls.append(&mut beside.controls);
        tables.beside.sources.extend(std::mem::take(&mut beside.sources));
        tables.beside.bulk.append(&mut beside.bulk);
        debug_assert!(tables.ends_at.is_none_or(|end| checkpoint.next_offset <= end));
        if tables.ends_at == Some(checkpoint.next_offset) {
            // The first table of all: none is frozen.
            tables.ends_at = None;
            self.freeze(&mut tables);
        }
        // A question that waits gets its turn before the next chunk.
        MutexGuard::unlock_fair(tables);
    }

    /// Looks at the tables; nothing is counted meanwhile.
    pub fn look<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.tables.lock())
    }

    /// Freezes the active table once it has `cells_max` cells, or ends in control records; waits while the one before it is
    /// still being flushed, so that memory stays bounded.
    pub fn freeze_when_full(&self, cells_max: usize) {
        let mut tables = self.tables.lock();
        if !tables.is_due(cells_max) {
            return;
        }
        while tables.frozen.is_some() && !tables.is_closed {
            self.changed.wait(&mut tables);
        }
        if !tables.is_closed {
            self.freeze(&mut tables);
        }
    }

    fn freeze(&self, tables: &mut Tables) {
        let checkpoint = tables.checkpoint;
        let next = tables.active.successor(checkpoint.next_offset);
        let table = std::mem::replace(&mut tables.active, next);
        let Beside { dead_letters, controls, sources, bulk } = std::mem::take(&mut tables.beside);
        let sources = sources.into_values().collect();
        let frozen = Frozen { table, checkpoint, dead_letters, controls, sources, bulk };
        tables.frozen = Some(Arc::new(frozen));
        self.changed.notify_all();
    }

    /// Freezes whatever has been counted or judged since the last time, unless a table is frozen
    /// already; the frozen table, if there is one now.
    pub fn freeze_now(&self) -> Option<Arc<Frozen>> {
        let mut tables = self.tables.lock();
        let may_end = tables.frozen.is_none() && tables.ends_at.is_none();
        if may_end && tables.active.next_offset() > tables.active.from() {
            self.freeze(&mut tables);
        }
        tables.frozen.clone()
    }

    /// Waits until a table is frozen, the time has passed or the memory is closed; the frozen table
    /// if there is one, and whether the memory is closed.
    pub fn wait_frozen(&self, timeout: std::time::Duration) -> (Option<Arc<Frozen>>, bool) {
        let mut tables = self.tables.lock();
        if tables.frozen.is_none() && !tables.is_closed {
            self.changed.wait_for(&mut tables, timeout);
        }
        (tables.frozen.clone(), tables.is_closed)
    }

    /// Waits for the time to pass, or until a table is frozen or the memory is closed; whether
    /// neither came.
    pub fn stays_idle(&self, pause: std::time::Duration) -> bool {
        let (frozen, is_closed) = self.wait_frozen(pause);
        frozen.is_none() && !is_closed
    }

    /// Waits for the time to pass, or until the memory is closed; whether it is.
    pub fn wait_closed(&self, timeout: std::time::Duration) -> bool {
        let mut tables = self.tables.lock();
        if !tables.is_closed {
            self.changed.wait_for(&mut tables, timeout);
        }
        tables.is_closed
    }

    /// Lets go of the frozen table, which is in the store now.
    pub fn flushed(&self) {
        let frozen = self.tables.lock().frozen.take();
        self.changed.notify_all();
        // A large table is freed here and not while the lock is held.
        drop(frozen);
    }

    /// Whether nobody flushes any more.
    pub fn is_closed(&self) -> bool {
        self.tables.lock().is_closed
    }

    /// Nobody waits for a flush any more.
    pub fn close(&self) {
        self.tables.lock().is_closed = true;
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
        self.frozen.iter().flat_map(|frozen| &frozen.bulk).chain(&self.beside.bulk)
    }

    /// Whether the active table is to be frozen before anything else is counted.
    pub fn is_due(&self, cells_max: usize) -> bool {
        self.ends_at.is_none()
            && (self.active.cells() >= cells_max || !self.beside.controls.is_empty())
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
