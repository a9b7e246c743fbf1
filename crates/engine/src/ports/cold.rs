//! Cold counters: days that are over, in files that never change.

use model::{Day, Summary};

use super::error::PortError;

/// What the hours of a day counted of an item and type, over all partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdRow {
    /// The event type.
    pub event_type: String,
    /// The item.
    pub item: String,
    /// The numbers.
    pub summary: Summary,
}

/// The rows of a day by type and item, none twice.
pub type ColdRows<'a> = dyn Iterator<Item = Result<ColdRow, PortError>> + 'a;

/// Keeps what the hours of old days counted.
///
/// - **Atomicity and durability.** A day is there whole or not at all, durable when `write` returns.
/// - **Repeats.** Writing a day again puts it in the place of what was there.
/// - **Failure.** After `Unavailable` anything may be tried again.
/// - **Concurrency.** One caller writes; others read meanwhile, and see a day before or after. Where processes
///   share an archive each may think that it is the one: what is written and sealed by one that has not seen all
///   that was before fails with `Conflict` and changes nothing, and [`Self::refresh`] shows what there is.
pub trait ColdCounters: Send + Sync {
    /// Hears of what others have written, where any others write at all: whether they do. What is written from
    /// now on is written on top of that, or not at all.
    fn refresh(&self) -> Result<bool, PortError> {
        Ok(false)
    }

    /// The first day that is not sealed.
    fn until(&self) -> Result<Day, PortError>;

    /// Writes a day. A row that is an error ends it with that error, and nothing is written.
    fn write(&self, day: Day, rows: &mut ColdRows<'_>) -> Result<(), PortError>;

    /// Says that all days before this one are there, those that nothing was counted in left out.
    fn seal(&self, until: Day) -> Result<(), PortError>;

    /// Merges files of days before this one, for questions to look into fewer; whether there may be
    /// more to do. Numbers stay.
    fn merge(&self, before: Day) -> Result<bool, PortError>;

    /// Calls `each` with the days within the range on which an item and type were counted, in no
    /// order.
    fn scan_item(
        &self,
        item: &str,
        event_type: &str,
        days: std::ops::Range<u32>,
        each: &mut dyn FnMut(Day, &Summary),
    ) -> Result<(), PortError>;

    /// Calls `each` with the items of a type that were counted on a day within the range, in no
    /// order, an item for each of its days.
    fn scan_type(
        &self,
        event_type: &str,
        days: std::ops::Range<u32>,
        each: &mut dyn FnMut(&str, &Summary),
    ) -> Result<(), PortError>;
}
