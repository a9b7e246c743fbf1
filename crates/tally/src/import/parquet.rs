//! Parquet: a row is a record, columns are named as those of CSV. Timestamps in milliseconds or
//! microseconds are times, decimals keep their digits; nested columns cannot be mapped.
//!
//! A file is read where its footer says, so it must be one that can be read anywhere.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

use super::csv::with_known;
use super::ids::IdDeriver;
use super::plan::{Mapping, Plan};
use super::reader::{Record, Refusal};

/// What such a file begins with.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// Bytes fetched at a time where a page is read bit by bit.
const STEP_BYTES: u64 = 256 << 10;
/// A column chunk beyond this is not decoded: memory holds a page of each column, and whoever
/// writes larger ones writes no usual file.
const COLUMN_BYTES_MAX: i64 = 4 << 30;

/// Something that can be read anywhere.
pub(crate) trait ReadAt: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Exactly so many bytes from a place on.
    fn read_at(&self, from: u64, len: usize) -> io::Result<Bytes>;
}

impl ReadAt for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, from: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        std::os::unix::fs::FileExt::read_exact_at(self, &mut bytes, from)?;
        Ok(bytes.into())
    }
}

impl ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, from: u64, len: usize) -> io::Result<Bytes> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let end = from.checked_add(len).filter(|end| *end <= self.len());
        end.map(|end| self.slice(from..end)).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

pub(super) struct ParquetReader {
    rows: RowIter<'static>,
    plan: Plan,
    ids: IdDeriver,
    position: u64,
}

impl ParquetReader {
    /// Reads the footer. The outer error is one of reading, the inner one of the mapping.
    pub(super) fn new(
        file: Arc<dyn ReadAt>,
        ids: IdDeriver,
        mapping: &Mapping,
    ) -> io::Result<Result<Self, String>> {
        let reader = SerializedFileReader::new(Chunks(file)).map_err(into_io)?;
        let metadata = reader.metadata();
        let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
        if columns.map(|column| column.uncompressed_size()).any(|size| size > COLUMN_BYTES_MAX) {
            let error = "a column of a row group is over 4 GiB: write smaller row groups";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let fields = metadata.file_metadata().schema().get_fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = Plan::new(&with_known(mapping, &names), &names);
        Ok(plan.map(|plan| {
            let rows = RowIter::from_file_into(Box::new(reader));
            Self { rows, plan, ids, position: 0 }
        }))
    }

    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Record>> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let row = row.map_err(into_io)?;
        self.position += 1;
        let length = out.len();
        let result = self.event(&row, out);
        if result.is_err() {
            out.truncate(length);
        }
        Ok(Some(Record { line: self.position, result, is_odd: false }))
    }

    fn event(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let texts: Vec<String> = row.get_column_iter().map(|(_, field)| text_of(field)).collect();
        let field = |index: usize| texts.get(index).map_or("", String::as_str);
        let derive = || self.ids.derive(self.position, texts.iter().map(String::as_bytes));
        self.plan.write_event(field, &[], derive, out)
    }
}

/// A value as CSV would have it; what is absent or nested is the empty text.
fn text_of(field: &Field) -> String {
    match field {
        Field::Null | Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            String::new()
        }
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => {
            std::str::from_utf8(bytes.data()).map(str::to_owned).unwrap_or_default()
        }
        Field::TimestampMillis(millis) => millis.to_string(),
        Field::TimestampMicros(micros) => micros.div_euclid(1_000).to_string(),
        Field::Float(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        other => other.to_string(),
    }
}

fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::new(io::ErrorKind::InvalidData, other),
        },
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// A file as the Parquet reader wants it.
struct Chunks(Arc<dyn ReadAt>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = Chunk;

    fn get_read(&self, start: u64) -> Result<Chunk, ParquetError> {
        Ok(Chunk { file: self.0.clone(), at: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A length from damaged bytes is not believed.
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.size()) {
            return Err(ParquetError::EOF("a part lies beyond the end of the file".into()));
        }
        self.0.read_at(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads a file on from a place.
struct Chunk {
    file: Arc<dyn ReadAt>,
    at: u64,
    ahead: Bytes,
}

impl Read for Chunk {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            let left = self.file.size().saturating_sub(self.at);
            if left == 0 {
                return Ok(0);
            }
            self.ahead = self.file.read_at(self.at, left.min(STEP_BYTES) as usize)?;
            self.at += self.ahead.len() as u64;
        }
        let taken = self.ahead.split_to(out.len().min(self.ahead.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::reader::{Format, ReadOptions, read_all};
    use super::super::source;
    use super::*;

    /// A row for each number: item, timestamp in microseconds, value where it is even, a note.
    pub(crate) fn file(rows: i64, codec: Compression) -> Vec<u8> {
        let schema = "message rows { required binary item (STRING); \
                      required int64 ts (TIMESTAMP(MICROS,true)); \
                      optional double value; required binary note (STRING); }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("memory");
        let texts = |text: &dyn Fn(i64) -> String| {
            (0..rows).map(|n| ByteArray::from(text(n).as_str())).collect::<Vec<_>>()
        };
        let mut group = writer.next_row_group().expect("memory");
        let items = texts(&|n| format!("v{}", n % 3));
        let mut column = group.next_column().expect("memory").expect("item");
        column.typed::<ByteArrayType>().write_batch(&items, None, None).expect("memory");
        column.close().expect("memory");
        let times: Vec<i64> = (0..rows).map(|n| (1_795_255_200_000 + n) * 1_000 + 999).collect();
        let mut column = group.next_column().expect("memory").expect("ts");
        column.typed::<Int64Type>().write_batch(&times, None, None).expect("memory");
        column.close().expect("memory");
        let values: Vec<f64> = (0..rows).filter(|n| n % 2 == 0).map(|n| n as f64 + 0.5).collect();
        let levels: Vec<i16> = (0..rows).map(|n| i16::from(n % 2 == 0)).collect();
        let mut column = group.next_column().expect("memory").expect("value");
        column.typed::<DoubleType>().write_batch(&values, Some(&levels), None).expect("memory");
        column.close().expect("memory");
        let mut column = group.next_column().expect("memory").expect("note");
        let notes = texts(&|n| if n == 1 { String::new() } else { format!("n{n}") });
        column.typed::<ByteArrayType>().write_batch(&notes, None, None).expect("memory");
        column.close().expect("memory");
        group.close().expect("memory");
        writer.into_inner().expect("memory")
    }

    fn options(map: &[&str]) -> ReadOptions {
        let map: Vec<String> = map.iter().map(ToString::to_string).collect();
        let mapping = Mapping::parse(&map, &[], 0).expect("a mapping");
        ReadOptions { format: None, mapping, ..Default::default() }
    }

    #[test]
    fn rows_become_events_whatever_their_compression() {
        let mut first = None;
        for codec in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(Default::default()),
            Compression::GZIP(Default::default()),
        ] {
            let (events, records) = read_all(&file(5, codec), &options(&["attr.note=note"]));
            assert_eq!((events.len(), records.len(), records[4].line), (5, 5, 5));
            assert_eq!(events[4]["item"], "v1");
            assert_eq!(events[4]["time"], 1_795_255_200_004_u64);
            assert_eq!(events[4]["value"], 4.5);
            assert_eq!(events[4]["attributes"]["note"], "n4");
            assert!(events[1].get("value").is_none() && events[1].get("attributes").is_none());
            let ids: std::collections::BTreeSet<_> =
                events.iter().map(|event| event["id"].as_str().expect("an id")).collect();
            assert_eq!(ids.len(), 5);
            let without_ids: Vec<_> = events.iter().map(|e| e["time"].clone()).collect();
            assert_eq!(first.get_or_insert_with(|| without_ids.clone()), &without_ids);
        }
    }

    #[test]
    fn damaged_files_and_wrong_mappings_are_errors_and_never_panic() {
        use super::super::reader::Reader;
        let whole = file(50, Compression::SNAPPY);
        let open = |bytes: &[u8], map: &[&str]| {
            let options = ReadOptions { format: Some(Format::Parquet), ..options(map) };
            Reader::new(source::from_bytes(bytes.to_vec()), &options)
        };
        let read = |bytes: &[u8]| -> anyhow::Result<u64> {
            let (mut reader, mut out, mut rows) = (open(bytes, &[])?, Vec::new(), 0);
            while reader.next(&mut out)?.is_some() {
                rows += 1;
            }
            Ok(rows)
        };
        assert_eq!(read(&whole).expect("whole"), 50);
        for cut in [0, 3, 8, 100, whole.len() - 1] {
            read(&whole[..cut]).expect_err("cut short");
        }
        let error = open(&whole, &["item=nothing"]).err().expect("no such column").to_string();
        assert!(error.contains("nothing") && error.contains("item, ts, value, note"), "{error}");
    }
}
