//! Who counts which partitions, where several processes share them.

use std::sync::Arc;

use model::{Offset, PartitionId};

use super::error::PortError;

/// What counts partitions while they are its own. Calls come one after the other.
pub trait Owner: Send + Sync {
    /// These are to be counted from now on.
    fn assigned(&self, partitions: &[PartitionId]);

    /// These go to somebody else, who begins when this returns: what was counted is flushed before.
    fn revoked(&self, partitions: &[PartitionId]);

    /// These went to somebody else, who may have begun already.
    fn lost(&self, partitions: &[PartitionId]);
}

/// A share in the partitions of a log.
///
/// - **Exclusion.** A partition is assigned to one member at a time, as far as its members hear of
///   changes in time. One that hears too late, as a process that was stopped for long, finds its
///   flushes refused or without effect: exactness never depends on this port.
/// - **Failure.** Where nobody says who owns what, members keep what they have.
pub trait Membership: Send + Sync {
    /// Takes part, and tells the owner from now on what is its own.
    ///
    /// # Errors
    /// Where the group cannot be joined, or was joined before.
    fn join(&self, owner: Arc<dyn Owner>) -> Result<(), PortError>;

    /// Notes how far partitions are counted and flushed: for people to look at, never for counting.
    fn note_progress(&self, progress: &[(PartitionId, Offset)]);

    /// Gives up all partitions, which the owner hears before this returns, and takes part no more.
    fn leave(&self);
}
