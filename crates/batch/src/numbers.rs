//! What a recount knows of a bucket.

use std::ops::AddAssign;

/// The numbers of a bucket, in exact integers. The last four are over events that carry a value, in
/// micro-units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Number of events.
    pub count: u64,
    /// Number of events with a value.
    pub value_count: u64,
    /// Sum of the values.
    pub sum: i128,
    /// Least value; `i64::MAX` where there is none.
    pub min: i64,
    /// Greatest value; `i64::MIN` where there is none.
    pub max: i64,
}

impl Numbers {
    /// No event.
    pub const NONE: Self = Self { count: 0, value_count: 0, sum: 0, min: i64::MAX, max: i64::MIN };

    /// Takes one event in.
    pub(crate) fn event(&mut self, micros: Option<i64>) {
        self.count += 1;
        if let Some(micros) = micros {
            self.value_count += 1;
            self.sum += i128::from(micros);
            self.min = self.min.min(micros);
            self.max = self.max.max(micros);
        }
    }
}

impl AddAssign for Numbers {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.value_count += other.value_count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}
