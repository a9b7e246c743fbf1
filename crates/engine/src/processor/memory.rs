//! The memory of one partition: a table that counts and a frozen one that is being flushed.
//! Written by the processor, read by questions; each holds the lock for microseconds.

use std::sync::Arc;

use model::aggregate::MemoryTable;
use model::{Checkpoint, DeadLetter, Horizons, Offset};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// A table that counts no more, with all that is flushed together with it.
pub struct Frozen {
    /// The counts of `[table.from(), checkpoint.next_offset)`.
    pub table: MemoryTable,
    /// Progress once this is in the store.
    pub checkpoint: Checkpoint,
    /// What could not be counted in that stretch.
    pub dead_letters: Vec<DeadLetter>,
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
    dead_letters: Vec<DeadLetter>,
    is_closed: bool,
}

impl Memory {
    /// Empty tables that count from a checkpoint on.
    pub fn new(checkpoint: Checkpoint, seed: u64) -> Self {
        let tables = Tables {
            active: MemoryTable::new(checkpoint.next_offset, seed),
            frozen: None,
            checkpoint,
            dead_letters: Vec::new(),
            is_closed: false,
        };
        Self { tables: Mutex::new(tables), changed: Condvar::new() }
    }

    /// Counts a chunk and moves on to the checkpoint that holds after it.
    pub fn commit(
        &self,
        checkpoint: &Checkpoint,
        dead_letters: &mut Vec<DeadLetter>,
        count: impl FnOnce(&mut MemoryTable),
    ) {
        let mut tables = self.tables.lock();
        count(&mut tables.active);
        tables.active.advance(checkpoint.next_offset);
        tables.checkpoint = *checkpoint;
        tables.dead_letters.append(dead_letters);
        // A question that waits gets its turn before the next chunk.
        MutexGuard::unlock_fair(tables);
    }

    /// Looks at the tables; nothing is counted meanwhile.
    pub fn look<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.tables.lock())
    }

    /// Freezes the active table once it has `cells_max` cells; waits while the one before it is
    /// still being flushed, so that memory stays bounded.
    pub fn freeze_when_full(&self, cells_max: usize) {
        let mut tables = self.tables.lock();
        if tables.active.cells() < cells_max {
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
        let dead_letters = std::mem::take(&mut tables.dead_letters);
        tables.frozen = Some(Arc::new(Frozen { table, checkpoint, dead_letters }));
        self.changed.notify_all();
    }

    /// Freezes whatever has been counted or judged since the last time, unless a table is frozen
    /// already; the frozen table, if there is one now.
    pub fn freeze_now(&self) -> Option<Arc<Frozen>> {
        let mut tables = self.tables.lock();
        if tables.frozen.is_none() && tables.active.next_offset() > tables.active.from() {
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

impl Tables {
    /// The horizons by which the newest event was judged.
    pub fn horizons(&self) -> Horizons {
        self.checkpoint.horizons
    }

    /// The tables that hold what a store with this checkpoint lacks, oldest first; none when the
    /// checkpoint is older than what memory still has, and a newer snapshot is to be taken.
    pub fn since(&self, checkpoint: Offset) -> Option<Vec<&MemoryTable>> {
        let frozen = self.frozen.as_deref().map(|frozen| &frozen.table);
        let tables: Vec<&MemoryTable> = frozen
            .into_iter()
            .chain([&self.active])
            .filter(|table| table.from() >= checkpoint)
            .collect();
        (tables.first().map(|table| table.from()) == Some(checkpoint)).then_some(tables)
    }
}
