//! The counter store: absolute rows, each stamped with the log prefix it counts.

use std::ops::ControlFlow;

use model::{
    BulkEntry, Checkpoint, Corrections, Day, DeadLetter, Hour, Offset, PartitionId, RowKey,
    SourceMark, SourceState, StoredRow, TimestampMs,
};

use super::error::PortError;
use super::letter_state::LetterState;

/// A row with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow<'a> {
    /// Which row of the partition.
    pub key: RowKey<'a>,
    /// The numbers; they replace what is stored.
    pub row: StoredRow,
}

/// The rows of a flush, in key order, no key twice. They are made while they are taken, so that
/// they are never in memory all at once.
pub type Rows<'a> = dyn Iterator<Item = Result<CounterRow<'a>, PortError>> + 'a;

/// What one partition writes in one go, beside rows.
#[derive(Clone, Debug)]
pub struct Flush<'a> {
    /// Which partition.
    pub partition: PartitionId,
    /// What could not be counted among the records of this flush.
    pub dead_letters: &'a [DeadLetter],
    /// Sources that were heard of or forgotten, none twice.
    pub sources: &'a [SourceMark],
    /// Files that were named.
    pub bulk: &'a [BulkEntry],
    /// What corrections among the records of this flush have done.
    pub repairs: &'a [RepairNote],
    /// Progress after this flush.
    pub checkpoint: Checkpoint,
}

/// Corrections that were applied, as they are kept until somebody confirms them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Where their control record stands.
    pub offset: Offset,
    /// Number of cells that were not corrected, because they had changed or were out of date.
    pub refused: u64,
    /// The others, with what they were.
    pub corrections: Corrections,
}

/// What a flush notes about corrections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairNote {
    /// Some were applied, or at least met.
    Keep(Repair),
    /// What is kept of a generation is no longer needed.
    Forget {
        /// Which generation.
        generation: u64,
    },
}

impl RepairNote {
    /// Takes the note into what is known of a partition.
    pub fn apply(&self, repairs: &mut Repairs) {
        let (Self::Keep(Repair { corrections: Corrections { generation, .. }, .. })
        | Self::Forget { generation }) = self;
        match self {
            Self::Keep(repair) => {
                repairs.newest = Some((repair.offset, *generation));
                // A flush that is repeated notes it again.
                repairs.kept.retain(|kept| kept.offset != repair.offset);
                repairs.kept.push(repair.clone());
            }
            Self::Forget { .. } => {
                repairs.kept.retain(|kept| kept.corrections.generation != *generation);
            }
        }
    }
}

/// The corrections of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Where the newest of all stood and its generation, confirmed ones too.
    pub newest: Option<(Offset, u64)>,
    /// Those that nobody has confirmed yet, by generation.
    pub kept: Vec<Repair>,
}

/// What one turn of folding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Rows that became shorter.
    pub rows: u64,
    /// Whether all rows below the horizon are folded.
    pub is_done: bool,
}

/// A partition as whoever claims it finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How far the partition is; none when it never flushed.
    pub checkpoint: Option<Checkpoint>,
    /// Where a flush ends that was begun from the checkpoint on and not finished: some of its rows are
    /// written, and the next flush must end exactly there. None in a store that writes flushes whole.
    pub begun: Option<Offset>,
}

/// Keeps counter rows and checkpoints.
///
/// - **Durability.** All of a flush is durable when `flush` returns.
/// - **Ownership.** A partition is flushed by whoever claimed it last; flushes of those before are refused
///   with `Conflict`. Of a flush that one before had begun, rows may still be written: exactly those that
///   the new owner's first flush writes too.
/// - **Ordering.** A flush whose checkpoint is not above the stored one is refused with `Conflict`
///   and changes nothing: a writer that wakes up late cannot take anything back.
/// - **Failure.** After `Unavailable` or `Overloaded` nothing or a part of it was written: each row is as
///   it was or as it is to be. The next flush of the partition, whoever makes it, is that one repeated:
///   it begins at the stored checkpoint, ends at the same offset and has the same rows; another one is
///   refused with `Conflict`. What [`CounterSnapshot::checkpoint`] and [`CounterSnapshot::sources`] say
///   does not change before all of it is written. After `Conflict` or `Invalid` nothing was written. After
///   `Corrupt` all of it or nothing may have been written; the store takes no more flushes, and a
///   restart shows which.
/// - **Concurrency.** Partitions flush side by side. Reads do not wait for a flush.
/// - **Consistency.** What a flush that returned has written is seen wholly by snapshots taken afterwards.
///   A store on one machine gives snapshots that see whole flushes only, and the same ones for their
///   whole life. A store over many machines promises less: each row by itself is as some flush left it,
///   either one at or below the snapshot's checkpoint or one that was begun since, and its stamp tells
///   which; checkpoint and cold days stay as they were first asked for. A snapshot keeps what it
///   sees from being cleaned up, so it is let go of after seconds at most.
pub trait CounterStore: Send + Sync {
    /// Makes this process the partition's owner, durable when it returns, and says where to go on. Costs
    /// nothing where there can be only one process. It fails as a mark does; a repeat is harmless.
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError>;

    /// Writes the rows, dead letters, sources and checkpoint of a partition. A row that is an error ends it
    /// with that error, as the store being away would. A partition that nobody claimed is claimed.
    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError>;

    /// Moves a dead letter on from one state to the next, durable when it returns.
    ///
    /// `Conflict` where the letter is not in the state `from`, `Invalid` where there is no such
    /// letter; otherwise it fails as a flush does. Snapshots taken afterwards see it.
    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError>;

    /// Goes on folding: makes one cell of the minutes of hour rows that lie below the stored
    /// checkpoint's minute horizon, and looks at `rows_max` rows at most. Sums and stamps stay.
    ///
    /// It fails as a flush does, and a repeat goes on where the last one that succeeded ended, after
    /// a restart too; what was folded is not looked at again. Snapshots taken afterwards see it. The
    /// caller does not flush the partition meanwhile.
    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError>;

    /// Notes that the hours of all days before this one are in cold files: they say what those days
    /// count from now on, and no longer the hour rows. Durable when it returns; a day that is not
    /// after the noted one changes nothing. It fails as a flush does.
    fn note_cold(&self, until: Day) -> Result<(), PortError>;

    /// Removes hour rows of days that are noted as cold, at most `rows_max`; whether none is left.
    /// It fails as a flush does. Snapshots that were taken before keep them.
    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError>;

    /// Pins what is stored now.
    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError>;
}

/// An event type, an item and their row.
pub type NamedRow = (String, String, StoredRow);

/// The store as it was at one moment.
pub trait CounterSnapshot: Send + Sync {
    /// How far the partition is; none when it never flushed.
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError>;

    /// The rows of these keys, in the order asked; none where there is no row. Fastest in key
    /// order.
    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError>;

    /// Calls `each` for every hour row of the item and type whose hour lies in the range, in hour
    /// order. Costs a look-up for each hour in which the partition counted anything at all.
    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: std::ops::Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError>;

    /// Calls `each` with the item and row of every row of one hour and type, in item order.
    fn scan_hour(
        &self,
        partition: PartitionId,
        hour: Hour,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError>;

    /// Calls `each` with hour, type, item and row of every hour row in the range, in key order.
    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: std::ops::Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError>;

    /// Calls `each` with item, type and row of every total, in key order, until it says that this is enough.
    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError>;

    /// Calls `each` with type and row of every total of an item, in the order of types.
    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError>;

    /// The hours within the range in which the partition has any row, in order; an hour without a
    /// row may be among them.
    fn hours(
        &self,
        partition: PartitionId,
        hours: std::ops::Range<u32>,
    ) -> Result<Vec<Hour>, PortError>;

    /// The corrections of a partition.
    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError>;
    /// Calls `each` with the item and row of every row of one day and type, in item order.
    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError>;

    /// Calls `each` with day, type, item and row of every day row in the range, in key order.
    fn scan_days(
        &self,
        partition: PartitionId,
        days: std::ops::Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError>;

    /// The days within the range of which the partition has a day row, in order; a day without one
    /// may be among them.
    fn days(
        &self,
        partition: PartitionId,
        days: std::ops::Range<u32>,
    ) -> Result<Vec<Day>, PortError>;

    /// The first day whose hour rows count: the hours of days before it are in cold files.
    fn cold_until(&self) -> Result<Day, PortError>;

    /// Rows of an hour in the order of type and item, behind a type and item, at most `limit`.
    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError>;

    /// Dead letters from an offset on, at most `limit`, in offset order.
    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError>;

    /// All sources of a partition, in the order of their names.
    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError>;

    /// All files that were named, in the order of their ids; of an id named again the newest.
    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError>;
}

/// A dead letter as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Where it stands in the log.
    pub offset: Offset,
    /// When it was appended.
    pub append_time: TimestampMs,
    /// Why it was not counted.
    pub reason: String,
    /// The record's bytes.
    pub record: Vec<u8>,
    /// What became of it since.
    pub state: LetterState,
}
