//! Cold days: what the hours of days below every hour horizon counted goes to files, and then the
//! hour rows go.
//!
//! Nothing counts into the hours of such a day any more once all checkpoints have passed it; what
//! comes late goes to day rows, which stay and are added. So a day is the same whenever it is
//! written, and a repeat after a crash changes nothing: files first, then the note in the store that
//! they count, then the rows.

mod day;

use std::sync::Arc;
use std::time::Duration;

use model::{Day, PartitionId};

use crate::background::Background;
use crate::ports::{ColdCounters, CounterSnapshot, CounterStore, ErrorKind, EventLog, PortError};
use day::DayRows;

/// Wait between two looks at whether a day has become cold.
const PAUSE: Duration = Duration::from_secs(5);
/// Wait between two steps, which leaves disk and cores to others.
const PACE: Duration = Duration::from_millis(20);
/// Cold rows removed in one write.
const REMOVED_ROWS: usize = 4_096;

/// The thread that makes days cold.
pub struct ColdDays(Background);

impl ColdDays {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        store: Arc<dyn CounterStore>,
        cold: Arc<dyn ColdCounters>,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, PortError> {
        Self::start_while(store, cold, log, Box::new(|| true))
    }

    /// As [`Self::start`], where processes share store and archive: only while `is_mine` says that it is this
    /// one's turn. It may be told late that it is not any more, and does no harm then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_while(
        store: Arc<dyn CounterStore>,
        cold: Arc<dyn ColdCounters>,
        log: Arc<dyn EventLog>,
        is_mine: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<Self, PortError> {
        let thread = Background::start("cold", move |stopping| {
            while !stopping.wait(PAUSE) {
                if !is_mine() {
                    continue;
                }
                let partitions = log.partitions();
                if let Err(error) = settle(&*store, &*cold, partitions, &|| stopping.wait(PACE)) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        cause =
                            error.source.as_deref().map(|cause| cause as &dyn std::error::Error),
                        "old days cannot be moved to the archive; they stay in the store"
                    );
                }
            }
        });
        thread.map(Self)
    }

    /// Ends the thread; a day that it is at is written to its end.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// Makes cold what can be: writes days, notes them, removes their hour rows, merges files. It ends
/// early, between two steps, when `is_stopping`.
///
/// Where others do so too, what is in the archive is looked at before the store is: from a manifest that was
/// there before the rows were read, nothing can be published after somebody else has sealed those days and begun
/// to remove their rows. For the same reason days that are sealed are never written again.
///
/// # Errors
/// The ports'; a repeat goes on.
pub fn settle(
    store: &dyn CounterStore,
    cold: &dyn ColdCounters,
    partitions: u16,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(), PortError> {
    let partitions: Vec<_> = (0..partitions).map(PartitionId).collect();
    let look = || -> Result<_, PortError> {
        let snapshot = store.snapshot()?;
        let bounds = (snapshot.cold_until()?, hour_horizon(&*snapshot, &partitions)?);
        Ok((snapshot, bounds))
    };
    let (mut snapshot, (mut from, mut until)) = look()?;
    // Where nothing is to be written nobody needs to be asked.
    let is_shared = until > from && cold.refresh()?;
    if is_shared {
        (snapshot, (from, until)) = look()?;
    }
    if cold.until()? < from && !(cold.refresh()? && cold.until()? >= from) {
        let context = format!(
            "the archive has the days before {} and should have those before {}: was it emptied?",
            cold.until()?.start(),
            from.start()
        );
        return Err(PortError::new(ErrorKind::Corrupt, context));
    }
    if is_shared && cold.until()? > from {
        // Whoever sealed them had no time to say so.
        from = cold.until()?;
        store.note_cold(from)?;
    }
    let counted = counted_days(&*snapshot, &partitions, from, until.max(from))?;
    // Before anything was cold, totals are what their hours add up to, and can be checked by them.
    if from < until && (from > Day(0) || !counted.is_empty()) {
        for day in counted {
            if is_stopping() {
                return Ok(());
            }
            // One for each day: a snapshot keeps what it sees from being cleaned up.
            let snapshot = store.snapshot()?;
            cold.write(day, &mut DayRows::new(&*snapshot, &partitions, day)?)?;
            tracing::info!(day = %day.start(), "a day is in the archive");
        }
        cold.seal(until)?;
        store.note_cold(until)?;
    }
    drop(snapshot);
    for partition in partitions {
        while !is_stopping() && !store.remove_cold(partition, REMOVED_ROWS)? {}
    }
    while !is_stopping() && cold.merge(from.max(until))? {}
    Ok(())
}

/// The first day whose hours a partition may still count.
fn hour_horizon(
    snapshot: &dyn CounterSnapshot,
    partitions: &[PartitionId],
) -> Result<Day, PortError> {
    let mut least: Option<Day> = None;
    for &partition in partitions {
        let day = snapshot.checkpoint(partition)?.unwrap_or_default().horizons.hour();
        least = Some(least.map_or(day, |least| least.min(day)));
    }
    Ok(least.unwrap_or_default())
}

/// The days that have hour rows, in order.
fn counted_days(
    snapshot: &dyn CounterSnapshot,
    partitions: &[PartitionId],
    from: Day,
    until: Day,
) -> Result<std::collections::BTreeSet<Day>, PortError> {
    let mut days = std::collections::BTreeSet::new();
    for &partition in partitions {
        let hours = snapshot.hours(partition, from.0 * 24..until.0 * 24)?;
        days.extend(hours.into_iter().map(model::Hour::day));
    }
    Ok(days)
}
