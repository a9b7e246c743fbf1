//! Events on their way into a row group: Parquet wants them column by column.

use bytes::{Bytes, BytesMut};
use engine::ports::RawEvent;
use model::Value;
use model::record::{RecordId, uuid_digits};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedColumnWriter, SerializedRowGroupWriter};

use super::schema::VALUE_BYTES;

/// Rows of a row group at most.
const ROWS_MAX: usize = 128 << 10;
/// Bytes of texts from which a row group is closed: rows may be far larger than usual.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Rows handed to Parquet at a time.
const CHUNK: usize = 1_024;

/// Texts one after the other, of which those that are not there take nothing.
#[derive(Default)]
struct Texts {
    bytes: BytesMut,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }
}

/// The rows of a row group, by column. Levels are 1 where an optional value is there and 0 where
/// not.
#[derive(Default)]
pub(super) struct Rows {
    offsets: Vec<i64>,
    append_times: Vec<i64>,
    ids: Texts,
    items: Texts,
    types: Texts,
    times: Vec<i64>,
    values: Vec<Value>,
    value_levels: Vec<i16>,
    attributes: Texts,
    attribute_levels: Vec<i16>,
    sources: Texts,
    source_levels: Vec<i16>,
    sequences: Vec<i64>,
}

impl Rows {
    /// # Errors
    /// Where the offset is beyond what the column holds.
    pub(super) fn push(&mut self, event: &RawEvent<'_>) -> Result<()> {
        let offset = i64::try_from(event.offset.0).map_err(|_| {
            ParquetError::General(format!("the offset {} is beyond 2^63", event.offset))
        })?;
        self.offsets.push(offset);
        self.append_times.push(event.append_time.0);
        match &event.id {
            RecordId::Uuid(bytes) => self.ids.push(&uuid_digits(bytes)),
            RecordId::Text(text) => self.ids.push(text.as_bytes()),
        }
        self.items.push(event.item.as_bytes());
        self.types.push(event.event_type.as_bytes());
        self.times.push(event.time.0);
        self.values.extend(event.value);
        self.value_levels.push(event.value.is_some().into());
        if let Some(attributes) = event.attributes {
            self.attributes.push(attributes.as_bytes());
        }
        self.attribute_levels.push(event.attributes.is_some().into());
        if let Some((source, sequence)) = event.source {
            self.sources.push(source.as_bytes());
            self.sequences.push(sequence);
        }
        self.source_levels.push(event.source.is_some().into());
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether the row group is to be closed.
    pub(super) fn is_full(&self) -> bool {
        let texts = [&self.ids, &self.items, &self.types, &self.attributes, &self.sources];
        self.len() >= ROWS_MAX
            || texts.iter().map(|texts| texts.bytes.len()).sum::<usize>() >= TEXT_BYTES_MAX
    }

    /// Writes all rows as a row group, in the order of the schema's columns. Then there are none; the
    /// memory is kept for the next. Pauses between chunks.
    pub(super) fn write<W: std::io::Write + Send>(
        &mut self,
        partition: i32,
        group: &mut SerializedRowGroupWriter<'_, W>,
        pause: &dyn Fn(),
    ) -> Result<()> {
        let partitions = vec![partition; self.len()];
        let mut columns = Columns { group, pause };
        columns.write::<Int32Type>(&partitions, None)?;
        columns.write::<Int64Type>(&self.offsets, None)?;
        columns.write::<Int64Type>(&self.append_times, None)?;
        columns.write_texts(&mut self.ids, None)?;
        columns.write_texts(&mut self.items, None)?;
        columns.write_texts(&mut self.types, None)?;
        columns.write::<Int64Type>(&self.times, None)?;
        columns.write_values(&self.values, &self.value_levels)?;
        columns.write_texts(&mut self.attributes, Some(&self.attribute_levels))?;
        columns.write_texts(&mut self.sources, Some(&self.source_levels))?;
        columns.write::<Int64Type>(&self.sequences, Some(&self.source_levels))?;
        for numbers in
            [&mut self.offsets, &mut self.append_times, &mut self.times, &mut self.sequences]
        {
            numbers.clear();
        }
        self.values.clear();
        for levels in [&mut self.value_levels, &mut self.attribute_levels, &mut self.source_levels]
        {
            levels.clear();
        }
        Ok(())
    }
}

struct Columns<'g, 'w, W: std::io::Write + Send> {
    group: &'g mut SerializedRowGroupWriter<'w, W>,
    pause: &'g dyn Fn(),
}

impl<W: std::io::Write + Send> Columns<'_, '_, W> {
    fn next(&mut self) -> Result<SerializedColumnWriter<'_>> {
        let too_few = || ParquetError::General("the schema has fewer columns than a row".into());
        self.group.next_column()?.ok_or_else(too_few)
    }

    fn write<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
        self.write_all::<T>(values.len(), levels, &mut values.iter().cloned())
    }

    /// Writes the texts, of which there are none afterwards.
    fn write_texts(&mut self, texts: &mut Texts, levels: Option<&[i16]>) -> Result<()> {
        let bytes = std::mem::take(&mut texts.bytes).freeze();
        let starts = std::iter::once(0).chain(texts.ends.iter().copied());
        let mut slices =
            starts.zip(&texts.ends).map(|(start, end)| ByteArray::from(bytes.slice(start..*end)));
        self.write_all::<ByteArrayType>(texts.ends.len(), levels, &mut slices)?;
        texts.ends.clear();
        // Nobody else has it any more, and the memory is there for the next.
        texts.bytes = bytes.try_into_mut().unwrap_or_default();
        texts.bytes.clear();
        Ok(())
    }

    fn write_values(&mut self, values: &[Value], levels: &[i16]) -> Result<()> {
        let mut bytes = Vec::with_capacity(values.len() * VALUE_BYTES);
        for value in values {
            let micros = value.micros();
            bytes.push(if micros < 0 { 0xff } else { 0 });
            bytes.extend_from_slice(&micros.to_be_bytes());
        }
        let bytes = Bytes::from(bytes);
        let mut decimals = (0..values.len()).map(|n| {
            let decimal = bytes.slice(n * VALUE_BYTES..(n + 1) * VALUE_BYTES);
            FixedLenByteArray::from(ByteArray::from(decimal))
        });
        self.write_all::<FixedLenByteArrayType>(values.len(), Some(levels), &mut decimals)
    }

    /// Writes the next column a chunk of rows at a time, each with the levels that belong to it, so
    /// that there are never many values as Parquet wants them. Pauses after each.
    fn write_all<T: DataType>(
        &mut self,
        values: usize,
        levels: Option<&[i16]>,
        all: &mut impl Iterator<Item = T::T>,
    ) -> Result<()> {
        let pause = self.pause;
        let mut column = self.next()?;
        let mut chunk = Vec::with_capacity(CHUNK.min(values));
        let mut write = |there: usize, levels: Option<&[i16]>| {
            chunk.clear();
            chunk.extend(all.by_ref().take(there));
            column.typed::<T>().write_batch(&chunk, levels, None)?;
            pause();
            Ok::<(), ParquetError>(())
        };
        match levels {
            Some(levels) => {
                for levels in levels.chunks(CHUNK) {
                    let there = levels.iter().filter(|level| **level == 1).count();
                    write(there, Some(levels))?;
                }
            }
            None => {
                for from in (0..values).step_by(CHUNK) {
                    write(CHUNK.min(values - from), None)?;
                }
            }
        }
        column.close()
    }
}
