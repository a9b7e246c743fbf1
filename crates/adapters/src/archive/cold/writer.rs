//! A file of days from its rows, in row groups of bounded size.

use std::io::Write;

use bytes::Bytes;
use model::{Day, Summary};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::super::version;
use super::schema::{GROUP_ROWS, properties, schema};

/// Version of schema and metadata.
pub(super) const FORMAT: u32 = 1;

/// What one day counted of an item and type. The order is that of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DayRow {
    pub(super) event_type: String,
    pub(super) item: String,
    pub(super) day: Day,
    pub(super) summary: Summary,
}

/// A file that is being written. The same rows give the same bytes.
pub(super) struct ColdWriter<W: Write + Send> {
    parquet: SerializedFileWriter<W>,
    rows: Vec<DayRow>,
    written: u64,
}

impl<W: Write + Send> ColdWriter<W> {
    pub(super) fn new(out: W) -> Result<Self> {
        let parquet = SerializedFileWriter::new(out, schema()?, properties()?)?;
        Ok(Self { parquet, rows: Vec::new(), written: 0 })
    }

    pub(super) fn push(&mut self, row: DayRow) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.written += rows.len() as u64;
        let mut group = self.parquet.next_row_group()?;
        write_columns(&rows, &mut group)?;
        group.close().map(drop)
    }

    /// Writes what is left and the metadata; gives back what was written to, and how many rows.
    pub(super) fn finish(mut self) -> Result<(W, u64)> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        let format = KeyValue::new(version::KEY.to_owned(), FORMAT.to_string());
        self.parquet.append_key_value_metadata(format);
        Ok((self.parquet.into_inner()?, self.written))
    }
}

fn write_columns<W: Write + Send>(
    rows: &[DayRow],
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<()> {
    let number = |number: u64| {
        i64::try_from(number).map_err(|_| ParquetError::General("a count is beyond 2^63".into()))
    };
    let counts = rows.iter().map(|row| number(row.summary.count)).collect::<Result<Vec<_>>>()?;
    let value_counts =
        rows.iter().map(|row| number(row.summary.value_count)).collect::<Result<Vec<_>>>()?;
    let with_value = || rows.iter().map(|row| &row.summary).filter(|s| s.value_count > 0);
    let levels: Vec<i16> = rows.iter().map(|row| (row.summary.value_count > 0).into()).collect();
    let mut column = Columns(group);
    column.write::<ByteArrayType>(&texts(rows.iter().map(|row| &row.event_type)), None)?;
    column.write::<ByteArrayType>(&texts(rows.iter().map(|row| &row.item)), None)?;
    let days: Vec<i32> = rows.iter().map(|row| row.day.0 as i32).collect();
    column.write::<Int32Type>(&days, None)?;
    column.write::<Int64Type>(&counts, None)?;
    column.write::<Int64Type>(&value_counts, None)?;
    let sums: Vec<_> = with_value().map(|s| decimal::<16>(s.sum)).collect();
    column.write::<FixedLenByteArrayType>(&sums, Some(&levels))?;
    for bound in [|s: &Summary| s.min, |s: &Summary| s.max] {
        let bounds: Vec<_> = with_value().map(|s| decimal::<9>(bound(s).into())).collect();
        column.write::<FixedLenByteArrayType>(&bounds, Some(&levels))?;
    }
    Ok(())
}

struct Columns<'g, 'w, W: Write + Send>(&'g mut SerializedRowGroupWriter<'w, W>);

impl<W: Write + Send> Columns<'_, '_, W> {
    fn write<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
        let too_few = || ParquetError::General("the schema has fewer columns than a row".into());
        let mut column = self.0.next_column()?.ok_or_else(too_few)?;
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()
    }
}

fn texts<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<ByteArray> {
    texts.map(|text| ByteArray::from(Bytes::copy_from_slice(text.as_bytes()))).collect()
}

/// The last `N` bytes of a number, big-endian: all that it has.
fn decimal<const N: usize>(micros: i128) -> FixedLenByteArray {
    FixedLenByteArray::from(micros.to_be_bytes()[16 - N..].to_vec())
}
