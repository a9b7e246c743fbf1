//! Cold counters in memory, with failures on order.

use std::collections::BTreeMap;
use std::ops::Range;

use model::{Day, Summary};
use parking_lot::Mutex;

use crate::ports::{ColdCounters, ColdRow, ColdRows, ErrorKind, PortError};

/// See the module.
#[derive(Debug, Default)]
pub struct MemCold(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: Day,
    days: BTreeMap<Day, Vec<ColdRow>>,
    /// Writes that succeed before one fails, and whether that one takes effect.
    failure: Option<(u32, bool)>,
}

impl MemCold {
    /// Lets the write or seal fail that comes after `skip` others, after or before it took effect.
    pub fn fail(&self, skip: u32, takes_effect: bool) {
        self.0.lock().failure = Some((skip, takes_effect));
    }

    /// Takes back an order that has not struck.
    pub fn call_off(&self) {
        self.0.lock().failure = None;
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), PortError> {
        let mut state = self.0.lock();
        let now = state.failure.take_if(|(skip, _)| *skip == 0);
        if let Some((skip, _)) = &mut state.failure {
            *skip -= 1;
        }
        if now.is_none_or(|(_, takes_effect)| takes_effect) {
            change(&mut state);
        }
        match now {
            Some(_) => Err(PortError::new(ErrorKind::Unavailable, "it fails as ordered")),
            None => Ok(()),
        }
    }
}

impl ColdCounters for MemCold {
    fn until(&self) -> Result<Day, PortError> {
        Ok(self.0.lock().until)
    }

    fn write(&self, day: Day, rows: &mut ColdRows<'_>) -> Result<(), PortError> {
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let name = |row: &ColdRow| (row.event_type.clone(), row.item.clone());
        assert!(rows.is_sorted_by(|a, b| name(a) < name(b)), "rows are in order, none twice");
        self.change(|state| drop(state.days.insert(day, rows)))
    }

    fn seal(&self, until: Day) -> Result<(), PortError> {
        self.change(|state| state.until = state.until.max(until))
    }

    fn merge(&self, _: Day) -> Result<bool, PortError> {
        Ok(false)
    }

    fn scan_item(
        &self,
        item: &str,
        event_type: &str,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &Summary),
    ) -> Result<(), PortError> {
        for (day, rows) in self.0.lock().days.range(Day(days.start)..Day(days.end)) {
            let mine = rows.iter().filter(|r| r.item == item && r.event_type == event_type);
            mine.for_each(|row| each(*day, &row.summary));
        }
        Ok(())
    }

    fn scan_type(
        &self,
        event_type: &str,
        days: Range<u32>,
        each: &mut dyn FnMut(&str, &Summary),
    ) -> Result<(), PortError> {
        for (_, rows) in self.0.lock().days.range(Day(days.start)..Day(days.end)) {
            let mine = rows.iter().filter(|row| row.event_type == event_type);
            mine.for_each(|row| each(&row.item, &row.summary));
        }
        Ok(())
    }
}
