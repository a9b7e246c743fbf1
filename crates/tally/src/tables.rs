//! How much of the memory is for counters: those that are not flushed yet, and rows that a flush adds to.

/// Bytes that a cell takes: in the table that is counted into and in the one that is being flushed, and in
/// both twice, so that questions do not wait.
const CELL_BYTES: u64 = 610;
/// The ids of the dedup window may take so many times what the tables may.
const IDS_TO_TABLES: u64 = 20;
/// They may take so many times what is known of rows may.
const IDS_TO_KNOWN: u64 = 8;
/// However little memory there is.
const CELLS_MIN: u64 = 90_000;
/// However much there is: a larger one is not flushed sooner than its time has come.
const CELLS_MAX: u64 = 250_000;

/// With so many cells a partition's memory table is flushed at once. On a long tail every flush becomes a run
/// of tables, and the fewer of them a row is looked for in, and the fewer are merged, the better.
pub(crate) fn cells_max(dedup_bytes: u64, partitions: u16) -> usize {
    let share = dedup_bytes / IDS_TO_TABLES / (CELL_BYTES * u64::from(partitions.max(1)));
    share.clamp(CELLS_MIN, CELLS_MAX) as usize
}

/// So many bytes of the rows of a partition are known, so that a flush need not ask the store for them. On a long
/// tail an item takes some sixty.
pub(crate) fn known_bytes_max(dedup_bytes: u64, partitions: u16) -> usize {
    let share = dedup_bytes / IDS_TO_KNOWN / u64::from(partitions.max(1));
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// What all of that takes at most in all partitions.
pub(crate) fn bytes_max(dedup_bytes: u64, partitions: u16) -> u64 {
    let tables = cells_max(dedup_bytes, partitions) as u64 * CELL_BYTES * u64::from(partitions);
    tables + dedup_bytes / IDS_TO_KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_share_what_there_is() {
        assert_eq!(cells_max(6 << 30, 2), 250_000);
        assert_eq!(cells_max(6 << 30, 4), 132_017);
        assert_eq!(cells_max(6 << 30, 512), 90_000);
        assert_eq!(cells_max(64 << 20, 1), 90_000);
        assert_eq!(cells_max(u64::MAX, 0), 250_000);
        assert_eq!(known_bytes_max(6 << 30, 3), 256 << 20);
        assert_eq!(bytes_max(2 << 30, 2), 109_800_000 + (256 << 20));
    }
}
