//! Rows of a file of days: one after the other, or those of an item.

use std::ops::Range;

use model::bucket::TIME_MAX;
use model::{Day, Summary};
use parquet::bloom_filter::Sbbf;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, RowGroupReader};

use super::file::{Chunks, OpenFile};
use super::schema::{COUNT, DAY, ITEM, MAX, MIN, SUM, TYPE, VALUE_COUNT};
use super::writer::DayRow;

/// Rows read at a time.
const CHUNK: usize = 1_024;

/// The rows of an item and type, by day.
pub(super) fn find(
    chunks: &Chunks,
    file: &OpenFile,
    (event_type, item): (&str, &str),
    each: &mut dyn FnMut(Day, &Summary),
) -> Result<()> {
    for group in 0..file.num_row_groups() {
        if !may_hold(chunks, file, group, event_type, Some(item))? {
            continue;
        }
        let rows = candidates(file, group, event_type, item)?;
        if rows.is_empty() {
            continue;
        }
        let reader = file.get_row_group(group)?;
        let names = |column| -> Result<Vec<ByteArray>> {
            let mut column = Column::<ByteArrayType>::new(&*reader, column)?;
            column.skip(rows.start)?;
            column.read(rows.len()).map(|(values, _)| values)
        };
        let (types, items) = (names(TYPE)?, names(ITEM)?);
        let is_it = |at: &usize| {
            types[*at].data() == event_type.as_bytes() && items[*at].data() == item.as_bytes()
        };
        // They lie side by side.
        let Some(first) = (0..types.len().min(items.len())).find(is_it) else { continue };
        let count = (first..types.len().min(items.len())).take_while(is_it).count();
        let mut numbers = Numbers::open(&*reader)?;
        numbers.skip(rows.start + first)?;
        numbers.read(count)?.into_iter().for_each(|(day, summary)| each(day, &summary));
    }
    Ok(())
}

/// Whether a row group can hold a type, and an item of it.
pub(super) fn may_hold(
    chunks: &Chunks,
    file: &OpenFile,
    group: usize,
    event_type: &str,
    item: Option<&str>,
) -> Result<bool> {
    let metadata = file.metadata().row_group(group);
    let is_within = |column: usize, text: &str| {
        let Some(statistics) = metadata.column(column).statistics() else { return true };
        let bounds = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
        contains(bounds, text)
    };
    if !is_within(TYPE, event_type) {
        return Ok(false);
    }
    let Some(item) = item else { return Ok(true) };
    if !is_within(ITEM, item) {
        return Ok(false);
    }
    let filter = Sbbf::read_from_column_chunk(metadata.column(ITEM), chunks)?;
    Ok(filter.is_none_or(|filter| filter.check(item.as_bytes())))
}

fn contains(bounds: (Option<&[u8]>, Option<&[u8]>), text: &str) -> bool {
    let text = text.as_bytes();
    bounds.0.is_none_or(|min| min <= text) && bounds.1.is_none_or(|max| text <= max)
}

/// The rows of a group among which an item and type can be, by the bounds of its pages.
fn candidates(file: &OpenFile, group: usize, event_type: &str, item: &str) -> Result<Range<usize>> {
    let rows = count(file.metadata().row_group(group).num_rows())?;
    let mut found = 0..rows;
    for (column, text) in [(TYPE, event_type), (ITEM, item)] {
        let (Some(columns), Some(offsets)) =
            (file.metadata().column_index(), file.metadata().offset_index())
        else {
            continue;
        };
        let bounds = columns.get(group).and_then(|columns| columns.get(column));
        let pages = offsets.get(group).and_then(|columns| columns.get(column));
        let (Some(ColumnIndexMetaData::BYTE_ARRAY(bounds)), Some(pages)) = (bounds, pages) else {
            continue;
        };
        let pages = pages.page_locations();
        let mut within = rows..0;
        for (at, page) in pages.iter().enumerate().take(bounds.num_pages() as usize) {
            if contains((bounds.min_value(at), bounds.max_value(at)), text) {
                let next =
                    pages.get(at + 1).map_or(Ok(rows), |next| count(next.first_row_index))?;
                within = within.start.min(count(page.first_row_index)?)..within.end.max(next);
            }
        }
        found = found.start.max(within.start)..found.end.min(within.end);
    }
    Ok(found)
}

fn count(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| damaged("a number of rows"))
}

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(format!("{what} is not what was written"))
}

/// All rows of a file, one after the other.
pub(super) struct Rows<'a> {
    file: &'a OpenFile,
    groups: Range<usize>,
    open: Option<Group>,
    ready: std::vec::IntoIter<DayRow>,
}

struct Group {
    types: Column<ByteArrayType>,
    items: Column<ByteArrayType>,
    numbers: Numbers,
    left: usize,
}

impl<'a> Rows<'a> {
    /// The rows of some row groups.
    pub(super) fn of(file: &'a OpenFile, groups: Range<usize>) -> Self {
        Self { file, groups, open: None, ready: Vec::new().into_iter() }
    }

    /// The next row; none behind the last.
    pub(super) fn next_row(&mut self) -> Result<Option<DayRow>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            match self.open.as_mut().filter(|group| group.left > 0) {
                Some(group) => self.ready = group.read()?.into_iter(),
                None => match self.groups.next() {
                    Some(group) => self.open = Some(Group::open(self.file, group)?),
                    None => return Ok(None),
                },
            }
        }
    }
}

impl Group {
    fn open(file: &OpenFile, group: usize) -> Result<Self> {
        let left = count(file.metadata().row_group(group).num_rows())?;
        let reader = file.get_row_group(group)?;
        Ok(Self {
            types: Column::new(&*reader, TYPE)?,
            items: Column::new(&*reader, ITEM)?,
            numbers: Numbers::open(&*reader)?,
            left,
        })
    }

    fn read(&mut self) -> Result<Vec<DayRow>> {
        let rows = self.left.min(CHUNK);
        self.left -= rows;
        let (types, items) = (self.types.read(rows)?.0, self.items.read(rows)?.0);
        let text = |bytes: &ByteArray| {
            let text = std::str::from_utf8(bytes.data()).map_err(|_| damaged("a text"))?;
            Ok::<_, ParquetError>(text.to_owned())
        };
        let names = types.iter().zip(&items).zip(self.numbers.read(rows)?);
        names
            .map(|((event_type, item), (day, summary))| {
                Ok(DayRow { event_type: text(event_type)?, item: text(item)?, day, summary })
            })
            .collect()
    }
}

/// The columns of numbers, side by side.
struct Numbers {
    days: Column<Int32Type>,
    counts: Column<Int64Type>,
    value_counts: Column<Int64Type>,
    sums: Column<FixedLenByteArrayType>,
    mins: Column<FixedLenByteArrayType>,
    maxs: Column<FixedLenByteArrayType>,
}

impl Numbers {
    fn open(group: &dyn RowGroupReader) -> Result<Self> {
        Ok(Self {
            days: Column::new(group, DAY)?,
            counts: Column::new(group, COUNT)?,
            value_counts: Column::new(group, VALUE_COUNT)?,
            sums: Column::new(group, SUM)?,
            mins: Column::new(group, MIN)?,
            maxs: Column::new(group, MAX)?,
        })
    }

    fn skip(&mut self, rows: usize) -> Result<()> {
        self.days.skip(rows)?;
        self.counts.skip(rows)?;
        self.value_counts.skip(rows)?;
        self.sums.skip(rows)?;
        self.mins.skip(rows)?;
        self.maxs.skip(rows)
    }

    fn read(&mut self, rows: usize) -> Result<Vec<(Day, Summary)>> {
        let last = TIME_MAX.minute().hour().day();
        let days = self.days.read(rows)?.0;
        let (counts, value_counts) = (self.counts.read(rows)?.0, self.value_counts.read(rows)?.0);
        let (sums, mins) = (self.sums.read_optional(rows)?, self.mins.read_optional(rows)?);
        let maxs = self.maxs.read_optional(rows)?;
        let mut read = Vec::with_capacity(rows);
        for at in 0..rows {
            let day = u32::try_from(days[at]).map(Day).ok().filter(|day| *day <= last);
            let number = |number: i64| u64::try_from(number).map_err(|_| damaged("a count"));
            let (count, value_count) = (number(counts[at])?, number(value_counts[at])?);
            let mut summary = Summary { count, value_count, ..Summary::EMPTY };
            if let (Some(sum), Some(min), Some(max)) = (&sums[at], &mins[at], &maxs[at]) {
                let bound = |bytes| i64::try_from(micros(bytes)?).map_err(|_| damaged("a value"));
                (summary.sum, summary.min, summary.max) = (micros(sum)?, bound(min)?, bound(max)?);
            } else if value_count > 0 {
                return Err(damaged("a sum"));
            }
            read.push((day.ok_or_else(|| damaged("a day"))?, summary));
        }
        Ok(read)
    }
}

fn micros(bytes: &FixedLenByteArray) -> Result<i128> {
    let bytes = bytes.data();
    let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 };
    let mut all = [sign; 16];
    let start = all.len().checked_sub(bytes.len()).ok_or_else(|| damaged("a decimal"))?;
    all[start..].copy_from_slice(bytes);
    Ok(i128::from_be_bytes(all))
}

/// One column of a row group.
struct Column<T: DataType>(ColumnReaderImpl<T>);

impl<T: DataType> Column<T> {
    fn new(group: &dyn RowGroupReader, column: usize) -> Result<Self> {
        let described = group.metadata().column(column).column_descr();
        if described.physical_type() != T::get_physical_type() {
            return Err(damaged("the schema"));
        }
        Ok(Self(get_typed_column_reader(group.get_column_reader(column)?)))
    }

    fn skip(&mut self, rows: usize) -> Result<()> {
        match self.0.skip_records(rows)? {
            skipped if skipped == rows => Ok(()),
            _ => Err(damaged("a column")),
        }
    }

    /// So many rows: the values that are there, and for each row whether its is.
    fn read(&mut self, rows: usize) -> Result<(Vec<T::T>, Vec<i16>)> {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (read, there, _) = self.0.read_records(rows, Some(&mut levels), None, &mut values)?;
        let is_whole = read == rows && there == values.len();
        if !is_whole || (levels.is_empty() && there != rows) {
            return Err(damaged("a column"));
        }
        Ok((values, levels))
    }

    fn read_optional(&mut self, rows: usize) -> Result<Vec<Option<T::T>>> {
        let (values, levels) = self.read(rows)?;
        let mut values = values.into_iter();
        let all = levels.iter().map(|level| if *level > 0 { values.next() } else { None });
        let all: Vec<_> = all.collect();
        if all.len() == rows { Ok(all) } else { Err(damaged("a column")) }
    }
}
