//! Settings that judge records, told to a log that has many writers: there nobody begins it with
//! them, so whoever counts a partition says what holds from now on, where that is not so already.

use futures::executor::block_on;
use model::control::Control;
use model::{PartitionId, RecordBuf, Retention};

use crate::ports::{AppendPart, CounterStore, ErrorKind, EventLog, PortError};

/// Writes the length of the dedup window and how long counters are kept into the log of each
/// partition whose checkpoint has other ones, or none. Blocks: not for async threads.
///
/// # Errors
/// The log's and the store's.
pub fn tell_settings(
    log: &dyn EventLog,
    store: &dyn CounterStore,
    partitions: impl IntoIterator<Item = PartitionId>,
    dedup_minutes: u32,
    retention: Retention,
) -> Result<(), PortError> {
    let snapshot = store.snapshot()?;
    let mut parts = Vec::new();
    for partition in partitions {
        let told = snapshot.checkpoint(partition)?;
        let told = told.map(|checkpoint| (checkpoint.window_minutes, checkpoint.retention));
        if told != Some((dedup_minutes, retention)) {
            let mut records = RecordBuf::new();
            Control::Settings { dedup_minutes }.push_to(&mut records);
            Control::Retention(retention).push_to(&mut records);
            parts.push(AppendPart { partition, records, is_control: true });
        }
    }
    block_on(log.append(parts)?).into_iter().try_for_each(|result| {
        result.map(drop).map_err(|error| {
            let context = "the settings could not be written into the log";
            PortError::caused(ErrorKind::Unavailable, context, error)
        })
    })
}
