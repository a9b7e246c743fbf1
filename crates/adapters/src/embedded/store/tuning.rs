//! How fjall is set up. Fixed here and not in the settings: fjall keeps the options of a keyspace
//! as they were when it was made.
//!
//! Tried with `examples/store_bench` and left at fjall's own: hash indexes in blocks, pinned
//! filters, no compression. One run each showed no difference above the noise.

use std::sync::Arc;

use fjall::KeyspaceCreateOptions;
use fjall::compaction::Leveled;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};

/// Most bytes of journals on disk: more makes a restart slower.
pub(super) const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// From so many bytes of journals on a flush writes a memtable out that is not full: tables that are made
/// at once take the rows of a memtable with them, so that it may never be, and only then is a journal
/// let go. fjall begins a new one at that moment where the one before has more than 64 MB.
pub(super) const JOURNAL_BYTES: u64 = 80 << 20;

/// Threads that write memtables out and merge tables. With two or more, the first only writes out,
/// and spins on a queue of merges that it does not take (fjall's `worker_pool.rs`).
pub(super) const WORKER_THREADS: usize = 1;

/// A flush that finds a memtable of this size begins a new one. Up to four wait to be written out
/// and each can be larger by one flush; in memory a row takes half as much again as is counted.
pub(super) const MEMTABLE_BYTES: u64 = 32 << 20;

/// Size of a table on disk. Together with [`TABLES_MERGED`] it bounds a merge of new tables to some
/// 250 MB, so that memtables do not wait long for the one worker.
const TABLE_BYTES: u64 = 8 << 20;

/// New tables that are merged at once, of all partitions; a flush of a long tail makes two. Each merge rewrites
/// what it meets, which is nearly all of the next level: half as many merges take a tenth of all CPU time less,
/// and questions take as long.
const TABLES_MERGED: u8 = 16;

/// From so many changes on that are written together, they become tables at once.
pub(super) const INGESTED_MIN: usize = 16 << 10;

/// Such tables wait while there are so many runs that are not merged. Those of several partitions can be in
/// one run.
pub(super) const RUNS_MAX: usize = 16;

/// Nearly every first read of an hour row finds none: a filter in every level, the last too, tells
/// so without a read in all but one case in a hundred.
const FILTER_BITS_PER_ROW: f32 = 10.0;

/// A flush is refused when fewer bytes are free: journals, memtables and a merge must still fit,
/// for fjall cannot go on after a write that failed halfway.
pub const FREE_BYTES_MIN: u64 = 576 << 20;
const _: () = assert!(
    FREE_BYTES_MIN
        >= JOURNAL_BYTES_MAX + 2 * TABLES_MERGED as u64 * TABLE_BYTES + 5 * MEMTABLE_BYTES
);

/// The options of the one keyspace.
pub(super) fn keyspace() -> KeyspaceCreateOptions {
    let bloom = BloomConstructionPolicy::BitsPerKey(FILTER_BITS_PER_ROW);
    let leveled =
        Leveled::default().with_l0_threshold(TABLES_MERGED).with_table_target_size(TABLE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(bloom)))
        .compaction_strategy(Arc::new(leveled))
}
