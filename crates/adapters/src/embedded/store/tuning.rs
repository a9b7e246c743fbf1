//! How fjall is set up: fixed here because it keeps a keyspace's options from its first opening.

use fjall::KeyspaceCreateOptions;

/// Most bytes of journals on disk; more makes a restart slower, less makes tables smaller.
pub(super) const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Threads that write memtables to tables and merge tables.
pub(super) const WORKER_THREADS: usize = 1;

/// A flush is refused when fewer bytes are free: journals, a memtable and a merge must still fit.
pub(super) const FREE_BYTES_MIN: u64 = 256 << 20;
const _: () = assert!(FREE_BYTES_MIN >= 2 * JOURNAL_BYTES_MAX);

/// The options of the one keyspace.
pub(super) fn keyspace() -> KeyspaceCreateOptions {
    let env = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    KeyspaceCreateOptions::default().max_memtable_size(env("T_MEM", 32) << 20)
}
