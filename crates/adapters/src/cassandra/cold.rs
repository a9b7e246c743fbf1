//! Cold days: from which day on hour rows count, and how those before it go.

use std::time::Instant;

use engine::ports::PortError;
use model::bucket::TIME_MAX;
use model::{Day, PartitionId};
use scylla::value::CqlValue::{BigInt, Int, Text};

use super::flush::HOURS;
use super::rows::period;
use super::session::{Pages, Write};
use super::stamp::WriteStamp;
use super::{CassandraStore, Shared};

/// The name of the first day whose hour rows count, in `meta`.
const COLD_UNTIL: &str = "cold_until";

/// Since when this process knows of a cold day.
#[derive(Default)]
pub(super) struct ColdNote(Option<(Day, Instant)>);

impl CassandraStore {
    /// See [`engine::ports::CounterStore::note_cold`]. The write timestamp is the day itself, so that it never
    /// goes back.
    pub(super) fn note(&self, until: Day) -> Result<(), PortError> {
        let day = i64::from(until.0);
        let values = vec![Text(COLD_UNTIL.to_owned()), BigInt(day), BigInt(day)];
        self.write_all(vec![vec![(self.shared.statements.write_meta.clone(), values)]])
    }

    /// See [`engine::ports::CounterStore::remove_cold`]. Rows stay until questions have ended that may have
    /// begun before the day was noted.
    pub(super) fn remove(&self, id: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        let partition = self.partition(id)?;
        let until = self.shared.cold_until()?;
        if until == Day(0) {
            return Ok(true);
        }
        let is_due = {
            let mut note = self.cold.lock();
            let (_, since) = match &mut note.0 {
                Some(known) if known.0 == until => known,
                other => other.insert((until, Instant::now())),
            };
            since.elapsed() >= self.cold_grace
        };
        // The next round, in minutes, finds them.
        if !is_due {
            return Ok(true);
        }
        let Some(checkpoint) = self.shared.checkpoint(id)? else { return Ok(true) };
        let stamp = WriteStamp::of(&checkpoint)?;
        let mut left = rows_max;
        for (hour, event_type) in self.shared.filled(id, HOURS, 0..until.0 * 24)? {
            let values = vec![Int(id.0.into()), BigInt(hour.into()), Text(event_type.clone())];
            let mut pages = Pages::<(String,)>::new(&self.shared.statements.items_of_hour, values);
            while let Some(items) = pages.next(&self.shared.link)? {
                if items.len() > left {
                    let some = items.into_iter().take(left);
                    self.remove_rows(id, hour, &event_type, some, stamp)?;
                    return Ok(false);
                }
                left -= items.len();
                self.remove_rows(id, hour, &event_type, items, stamp)?;
            }
            let filled = (HOURS, i64::from(hour), event_type);
            partition.filled.lock().remove(&filled);
            let values = vec![
                BigInt(stamp.timestamp()),
                Int(id.0.into()),
                Int(HOURS),
                BigInt(filled.1),
                Text(filled.2),
            ];
            let statement = self.shared.statements.remove_filled.clone();
            self.write_all(vec![vec![(statement, values)]])?;
        }
        Ok(true)
    }

    fn remove_rows(
        &self,
        id: PartitionId,
        hour: u32,
        event_type: &str,
        items: impl IntoIterator<Item = (String,)>,
        stamp: WriteStamp,
    ) -> Result<(), PortError> {
        let statements = &self.shared.statements;
        let (log_partition, number) = (Int(id.0.into()), BigInt(hour.into()));
        let (mut by_item, mut by_time): (Vec<Vec<Write>>, Vec<Vec<Write>>) = Default::default();
        for (item,) in items {
            let (item, event_type) = (Text(item), Text(event_type.to_owned()));
            let timestamp = BigInt(stamp.timestamp());
            let values = vec![
                timestamp.clone(),
                item.clone(),
                event_type.clone(),
                BigInt(period(hour)),
                number.clone(),
                log_partition.clone(),
            ];
            by_item.push(vec![(statements.remove_item_hour.clone(), values)]);
            let values = vec![timestamp, log_partition.clone(), number.clone(), event_type, item];
            by_time.push(vec![(statements.remove_hour.clone(), values)]);
        }
        // Those by time last: they say which are left.
        self.write_all(by_item)?;
        self.write_all(by_time)
    }
}

impl Shared {
    /// The first day whose hour rows count.
    pub(super) fn cold_until(&self) -> Result<Day, PortError> {
        let values = vec![Text(COLD_UNTIL.to_owned())];
        let found = self.link.rows::<(Option<i64>,)>(&self.statements.meta, values)?;
        let Some(day) = found.into_iter().find_map(|row| row.0) else { return Ok(Day(0)) };
        let day = u32::try_from(day).ok().map(Day);
        day.filter(|day| *day <= TIME_MAX.minute().hour().day())
            .ok_or_else(|| super::damaged("first day that is not cold", super::Damage::Number))
    }
}
