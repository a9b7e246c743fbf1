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
    use fjall::config::*;
    let bits = env("T_BITS", 10) as f32;
    let mut o = KeyspaceCreateOptions::default()
        .max_memtable_size(env("T_MEM", 32) << 20)
        .data_block_size_policy(BlockSizePolicy::all((env("T_BLOCK", 4) << 10) as u32))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(
            BloomConstructionPolicy::BitsPerKey(bits),
        )))
        .compaction_strategy(std::sync::Arc::new(
            fjall::compaction::Leveled::default()
                .with_l0_threshold(env("T_L0", 4) as u8)
                .with_table_target_size(env("T_TABLE", 64) << 20),
        ));
    if env("T_PIN", 0) == 1 {
        o = o
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .index_block_pinning_policy(PinningPolicy::all(true));
    }
    if env("T_LZ", 2) == 0 {
        o = o.data_block_compression_policy(CompressionPolicy::disabled());
    }
    if env("T_LZ", 2) == 1 {
        o = o.data_block_compression_policy(CompressionPolicy::all(fjall::CompressionType::Lz4));
    }
    if env("T_HASH", 0) > 0 {
        o = o.data_block_hash_ratio_policy(HashRatioPolicy::all(env("T_HASH", 0) as f32));
    }
    o.data_block_restart_interval_policy(RestartIntervalPolicy::all(env("T_RESTART", 16) as u8))
}

pub(super) fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
