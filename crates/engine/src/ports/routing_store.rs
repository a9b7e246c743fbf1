//! Where the versions of the routing table are kept.

use std::sync::Arc;

use model::{RoutingChange, RoutingTable, RoutingVersion, TimestampMs};

use super::error::{ErrorKind, PortError};

/// Versions of the routing table, the same for all who route by them.
///
/// - **Order.** Versions are published one after the other; nobody ever sees two orders.
/// - **Durability.** `publish` returns when its version is durable. After an error it may or may
///   not be there later, as a whole; until that is certain `confirmed_at` stays where it was.
/// - **Lead.** A version is stamped with the time of its publication on a clock that never goes
///   back, over restarts too, and takes effect more than [`model::limits::ROUTING_LEAD_MS`] later.
///   So who routes nothing beyond `confirmed_at` and that lead never misses a version.
pub trait RoutingStore: Send + Sync {
    /// Every version that is known here. Asked with every request: it answers from memory.
    ///
    /// # Errors
    /// `Unavailable` while nothing is known.
    fn table(&self) -> Result<Arc<RoutingTable>, PortError>;

    /// Every version that was published before this time is in what [`Self::table`] gives from now
    /// on: on the clock by which versions are published, whatever that of this node says. Asked
    /// with every request.
    ///
    /// # Errors
    /// `Unavailable` where that clock cannot be believed.
    fn confirmed_at(&self) -> Result<TimestampMs, PortError>;

    /// Publishes a version that follows version `after`, in effect as early as can be, and gives
    /// the table with it.
    ///
    /// # Errors
    /// `Conflict` where `after` is not the newest, `Invalid` where the version cannot follow it;
    /// then nothing was published. `Unavailable` where it may have been or not.
    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError>;
}

/// The table with a version that follows version `after`, published at a time and in effect as early
/// as can be: what every [`RoutingStore`] publishes.
///
/// # Errors
/// `Conflict` where `after` is not the newest of the table, `Invalid` where the version cannot follow.
pub fn next_table(
    table: &RoutingTable,
    after: u32,
    published: TimestampMs,
    partitions: u16,
    changes: Vec<RoutingChange>,
) -> Result<RoutingTable, PortError> {
    let newest = table.version();
    if after != newest {
        let context = format!("version {newest} is the newest, and not {after}");
        return Err(PortError::new(ErrorKind::Conflict, context));
    }
    let effective = table.earliest(published);
    table
        .with(RoutingVersion { published, effective, partitions, changes })
        .map_err(|error| PortError::caused(ErrorKind::Invalid, error.to_string(), error))
}
