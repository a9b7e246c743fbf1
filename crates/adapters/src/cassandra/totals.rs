//! All totals of a partition in key order: they lie in buckets by item, each in order, and are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use engine::ports::PortError;
use model::{PartitionId, StoredRow};
use scylla::value::CqlValue::Int;

use super::Shared;
use super::schema::TOTAL_BUCKETS;
use super::session::Pages;
use super::snapshot::read_row;

type Total = (String, String, Option<Vec<u8>>);

/// A page of each bucket.
pub(super) struct MergedTotals<'a> {
    shared: &'a Shared,
    buckets: Vec<Bucket>,
}

struct Bucket {
    pages: Pages<Total>,
    page: std::vec::IntoIter<Total>,
}

impl<'a> MergedTotals<'a> {
    pub(super) fn new(shared: &'a Shared, partition: PartitionId) -> Self {
        let bucket = |bucket: u32| {
            let values = vec![Int(partition.0.into()), Int(bucket as i32)];
            let pages = Pages::new(&shared.statements.totals_of_bucket, values);
            Bucket { pages, page: Vec::new().into_iter() }
        };
        Self { shared, buckets: (0..TOTAL_BUCKETS).map(bucket).collect() }
    }

    /// Calls `each` with item, type and row, until it says that this is enough.
    pub(super) fn for_each(
        mut self,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        // The next of each bucket.
        let mut next = BinaryHeap::with_capacity(self.buckets.len());
        for at in 0..self.buckets.len() {
            next.extend(
                self.next_of(at)?.map(|(item, of, counts)| Reverse((item, of, at, counts))),
            );
        }
        while let Some(Reverse((item, event_type, at, counts))) = next.pop() {
            if let Some(row) = read_row(counts)?
                && each(&item, &event_type, row).is_break()
            {
                break;
            }
            next.extend(
                self.next_of(at)?.map(|(item, of, counts)| Reverse((item, of, at, counts))),
            );
        }
        Ok(())
    }

    fn next_of(&mut self, at: usize) -> Result<Option<Total>, PortError> {
        let bucket = &mut self.buckets[at];
        loop {
            if let Some(total) = bucket.page.next() {
                return Ok(Some(total));
            }
            match bucket.pages.next(&self.shared.link)? {
                Some(page) => bucket.page = page.into_iter(),
                None => return Ok(None),
            }
        }
    }
}
