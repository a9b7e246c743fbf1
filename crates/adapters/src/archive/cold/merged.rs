//! Files of days as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use engine::ports::PortError;
use model::{Day, Summary};

use super::reader::Rows;
use super::writer::DayRow;
use super::{ColdFiles, Opened};

/// The rows of several files, in the order of one.
pub(super) struct Merged<'a> {
    cold: &'a ColdFiles,
    files: Vec<(&'a str, Rows<'a>)>,
    /// The next row of each: type, item, day, which file.
    next: BinaryHeap<Reverse<(String, String, Day, usize)>>,
    /// The numbers of each file's next row.
    summaries: Vec<Summary>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(cold: &'a ColdFiles, opened: &'a [Arc<Opened>]) -> Result<Self, PortError> {
        use parquet::file::reader::FileReader;
        let rows = |open: &'a Arc<Opened>| {
            (&*open.name, Rows::of(&open.file, 0..open.file.num_row_groups()))
        };
        let files = opened.iter().map(rows).collect();
        let summaries = vec![Summary::EMPTY; opened.len()];
        let mut merged = Self { cold, files, next: BinaryHeap::new(), summaries };
        for at in 0..opened.len() {
            merged.advance(at)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, at: usize) -> Result<(), PortError> {
        let (name, rows) = &mut self.files[at];
        let row = rows.next_row().map_err(|error| self.cold.unreadable(name, error))?;
        if let Some(DayRow { event_type, item, day, summary }) = row {
            self.summaries[at] = summary;
            self.next.push(Reverse((event_type, item, day, at)));
        }
        Ok(())
    }

    pub(super) fn next_row(&mut self) -> Result<Option<DayRow>, PortError> {
        let Some(Reverse((event_type, item, day, at))) = self.next.pop() else { return Ok(None) };
        let summary = self.summaries[at];
        self.advance(at)?;
        Ok(Some(DayRow { event_type, item, day, summary }))
    }
}
