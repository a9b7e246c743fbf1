//! Item details: what is known of items beside their counts, found by item and by channel.

use std::ops::ControlFlow;

use model::ItemDetails;

use super::error::PortError;

/// What becomes of one item's details. A list of them is what a compacted topic would carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailsChange {
    /// Which item.
    pub item: String,
    /// All that is known of it from now on; none where nothing is.
    pub details: Option<ItemDetails>,
}

/// Takes one item and what is known of it, and says whether to go on.
pub type EachItem<'a> = dyn FnMut(&str, ItemDetails) -> ControlFlow<()> + 'a;

/// Keeps the newest details of each item.
///
/// - **Atomicity and durability.** `put` writes all changes or none, and the channels with them,
///   durable when it returns. A store that several processes share does so for each item by itself:
///   others may see a part of a batch for a moment, and after `Unavailable` a part may have been written.
/// - **Ordering.** What comes later replaces what was there wholly, within a batch too.
/// - **Repeats.** A batch written again changes nothing.
/// - **Failure.** After `Unavailable` nothing was written, as far as said above, and it may be tried again. After `Corrupt`
///   all of it or nothing may have been written; nothing more is until a restart.
/// - **Consistency.** A read sees whole batches only, and those whose `put` has returned. A scan sees
///   one moment however long it takes, and holds up no write. Pages of a channel are read one by one:
///   an item that joins or leaves meanwhile may be missed or met.
pub trait ItemDetailsStore: Send + Sync {
    /// Writes changes; whether anything was known of each item before its change.
    fn put(&self, changes: &[DetailsChange]) -> Result<Vec<bool>, PortError>;

    /// The details of items, in the order asked; none where nothing is known.
    fn get(&self, items: &[&str]) -> Result<Vec<Option<ItemDetails>>, PortError>;

    /// The items of a channel behind one of them, in item order, at most `limit`.
    fn of_channel(
        &self,
        channel: &str,
        behind: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, PortError>;

    /// Calls `each` with every item, or every one of a channel, behind one of them, in the order of
    /// their bytes, until it breaks off. In memory is one of them at a time.
    fn scan(
        &self,
        channel: Option<&str>,
        behind: Option<&str>,
        each: &mut EachItem<'_>,
    ) -> Result<(), PortError>;
}
