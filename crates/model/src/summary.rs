//! What is known of a bucket: exact integers, so that adding is associative.

use crate::value::{Value, average_micros};

/// The numbers of one counter. The four value fields are over the events that carry a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Number of events.
    pub count: u64,
    /// Number of events with a value.
    pub value_count: u64,
    /// Sum of the values, in micro-units.
    pub sum: i128,
    /// Least value in micro-units; `i64::MAX` where there is none.
    pub min: i64,
    /// Greatest value in micro-units; `i64::MIN` where there is none.
    pub max: i64,
}

impl Default for Summary {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Summary {
    /// No event: the neutral element of adding.
    pub const EMPTY: Self = Self { count: 0, value_count: 0, sum: 0, min: i64::MAX, max: i64::MIN };

    /// One event.
    pub fn of(value: Option<Value>) -> Self {
        match value {
            None => Self { count: 1, ..Self::EMPTY },
            Some(value) => {
                let micros = value.micros();
                let sum = i128::from(micros);
                Self { count: 1, value_count: 1, sum, min: micros, max: micros }
            }
        }
    }

    /// Adds the numbers of other events. A count of 2^64 or a sum of 2^127 cannot be reached.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.value_count += other.value_count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Sum over number of values in micro-units, half to even; none where no event has a value.
    pub fn average(&self) -> Option<i128> {
        (self.value_count > 0).then(|| average_micros(self.sum, self.value_count))
    }
}

impl<'a> std::iter::Sum<&'a Summary> for Summary {
    fn sum<I: Iterator<Item = &'a Summary>>(summaries: I) -> Self {
        summaries.fold(Self::EMPTY, |mut total, summary| {
            total.add(summary);
            total
        })
    }
}
