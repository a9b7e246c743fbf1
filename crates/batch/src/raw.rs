//! Reads raw files.

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use crate::error::Error;
use crate::files::{Archive, RawFile};

/// An event as it was appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place in the log.
    pub offset: u64,
    /// When it was appended, in milliseconds since 1970.
    pub append_ms: i64,
    /// With item and type, what a repeat is known by.
    pub id: &'a str,
    /// What it happened to.
    pub item: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// Its value in micro-units.
    pub micros: Option<i64>,
    /// Who may repeat it late, and its place among what they send.
    pub source: Option<(&'a str, i64)>,
}

/// A control record: it says how to judge the events after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its place in the log.
    pub offset: u64,
    /// When it was appended, in milliseconds since 1970.
    pub append_ms: i64,
    /// Its kind and what it says.
    pub bytes: Vec<u8>,
}

/// What a raw file says beside its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawHead {
    /// Length of the dedup window at the first offset, in append minutes.
    pub(crate) window_minutes: u32,
    /// Control records, in order.
    pub(crate) controls: Vec<Control>,
    /// Number of records that became dead letters.
    pub(crate) dead_letters: u64,
}

/// An open raw file.
pub(crate) struct RawReader<'a> {
    file: &'a RawFile,
    reader: SerializedFileReader<Bytes>,
    /// What it says beside its events.
    pub(crate) head: RawHead,
}

impl<'a> RawReader<'a> {
    /// Opens a file.
    ///
    /// # Errors
    /// `Archive` where it cannot be read, `Damaged` where its bytes are wrong, `Format` where a later
    /// program wrote it.
    pub(crate) fn open(archive: &dyn Archive, file: &'a RawFile) -> Result<Self, Error> {
        let reader = SerializedFileReader::new(archive.bytes(&file.name)?);
        let reader = reader.map_err(|error| damaged(file, &error))?;
        if let Some(format) = other_format(reader.metadata()) {
            return Err(Error::Format { name: file.name.clone(), format });
        }
        let head = read_head(reader.metadata()).map_err(|reason| damaged(file, &reason))?;
        Ok(Self { file, reader, head })
    }

    /// Calls `each` with every event, in order.
    ///
    /// # Errors
    /// `Damaged` where bytes are wrong, or events and what the head says are not as many as the
    /// file has offsets; what `each` returns.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(&Event<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let file = self.file;
        let wrong = |error: ParquetError| damaged(file, &error);
        let mut next = file.from;
        let mut events = 0;
        for at in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(at).map_err(wrong)?;
            let columns = Columns::read(&*group).map_err(wrong)?;
            for row in 0..columns.offset.len() {
                let event = columns.event(row).map_err(|reason| damaged(file, &reason))?;
                if event.offset < next || event.offset >= file.to {
                    let reason = format!("offset {} is out of order", event.offset);
                    return Err(damaged(file, &reason));
                }
                next = event.offset + 1;
                events += 1;
                each(&event)?;
            }
        }
        let beside = self.head.controls.len() as u64 + self.head.dead_letters;
        let offsets = file.to - file.from;
        if events + beside != offsets {
            let reason = format!("{events} events and {beside} other records are not {offsets}");
            return Err(damaged(file, &reason));
        }
        Ok(())
    }
}

impl RawReader<'_> {
    /// Calls `each` with offset, (source, sequence) and append time of every event that has a
    /// source.
    ///
    /// # Errors
    /// `Damaged` where bytes are wrong; what `each` returns.
    pub(crate) fn for_each_source(
        &self,
        mut each: impl FnMut(u64, (&str, i64), i64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wrong = |error: ParquetError| damaged(self.file, &error);
        for at in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(at).map_err(wrong)?;
            let sources = sources(&*group).map_err(wrong)?;
            let times = required::<Int64Type>(&*group, "append_time").map_err(wrong)?;
            let offsets = required::<Int64Type>(&*group, "offset").map_err(wrong)?;
            for ((source, append_ms), offset) in sources.into_iter().zip(times).zip(offsets) {
                if let Some((source, sequence)) = source {
                    let source = text(&source).map_err(|reason| damaged(self.file, &reason))?;
                    each(offset.cast_unsigned(), (source, sequence), append_ms)?;
                }
            }
        }
        Ok(())
    }
}

fn damaged(file: &RawFile, reason: &dyn std::fmt::Display) -> Error {
    Error::Damaged { name: file.name.clone(), reason: reason.to_string() }
}

/// The format that a file says it has, where it is not the one known here.
fn other_format(metadata: &ParquetMetaData) -> Option<String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let said =
        pairs.into_iter().flatten().find(|pair| pair.key == "tally.format")?.value.clone()?;
    (said != "1").then(|| said.chars().take(20).collect())
}

pub(crate) fn read_head(metadata: &ParquetMetaData) -> Result<RawHead, String> {
    let pairs = metadata.file_metadata().key_value_metadata();
    let text = |name: &str| {
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == name);
        pair.and_then(|pair| pair.value.as_deref()).ok_or(format!("it does not say {name}"))
    };
    if text("tally.format")? != "1" {
        let format = text("tally.format")?;
        return Err(format!("it has format {format}, this program knows only 1"));
    }
    let json = |name: &str| -> Result<Vec<serde_json::Value>, String> {
        serde_json::from_str(text(name)?).map_err(|error| format!("{name}: {error}"))
    };
    let control = |entry: &serde_json::Value| {
        let wrong = || "a control record is no such thing".to_owned();
        Ok::<_, String>(Control {
            offset: entry["offset"].as_u64().ok_or_else(wrong)?,
            append_ms: entry["append_time"].as_i64().ok_or_else(wrong)?,
            bytes: entry["hex"].as_str().and_then(unhex).ok_or_else(wrong)?,
        })
    };
    let window = text("tally.window_minutes")?;
    Ok(RawHead {
        window_minutes: window.parse().map_err(|_| format!("{window} is no window"))?,
        controls: json("tally.controls")?.iter().map(control).collect::<Result<_, _>>()?,
        dead_letters: json("tally.dead_letters")?.len() as u64,
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A row group, column by column.
struct Columns {
    offset: Vec<i64>,
    append_time: Vec<i64>,
    time: Vec<i64>,
    id: Vec<ByteArray>,
    item: Vec<ByteArray>,
    event_type: Vec<ByteArray>,
    value: Vec<Option<i64>>,
    source: Vec<Option<(ByteArray, i64)>>,
}

impl Columns {
    fn read(group: &dyn RowGroupReader) -> Result<Self, ParquetError> {
        let value = optional::<FixedLenByteArrayType>(group, "value")?;
        let value = value.into_iter().map(|value| value.as_ref().map(decimal).transpose());
        let columns = Self {
            offset: required::<Int64Type>(group, "offset")?,
            append_time: required::<Int64Type>(group, "append_time")?,
            time: required::<Int64Type>(group, "time")?,
            id: required::<ByteArrayType>(group, "id")?,
            item: required::<ByteArrayType>(group, "item")?,
            event_type: required::<ByteArrayType>(group, "type")?,
            value: value.collect::<Result<_, _>>()?,
            source: sources(group)?,
        };
        let rows = columns.offset.len();
        let lengths = [
            columns.append_time.len(),
            columns.time.len(),
            columns.id.len(),
            columns.item.len(),
            columns.event_type.len(),
            columns.value.len(),
            columns.source.len(),
        ];
        match lengths.iter().all(|length| *length == rows) {
            true => Ok(columns),
            false => Err(ParquetError::General("columns of different lengths".into())),
        }
    }

    fn event(&self, row: usize) -> Result<Event<'_>, String> {
        Ok(Event {
            offset: u64::try_from(self.offset[row]).map_err(|_| "an offset below 0")?,
            append_ms: self.append_time[row],
            id: text(&self.id[row])?,
            item: text(&self.item[row])?,
            event_type: text(&self.event_type[row])?,
            time_ms: self.time[row],
            micros: self.value[row],
            source: match &self.source[row] {
                Some((source, sequence)) => Some((text(source)?, *sequence)),
                None => None,
            },
        })
    }
}

/// Source and sequence of each row that has them.
fn sources(group: &dyn RowGroupReader) -> Result<Vec<Option<(ByteArray, i64)>>, ParquetError> {
    let source = optional::<ByteArrayType>(group, "source")?.into_iter();
    let sequence = optional::<Int64Type>(group, "sequence")?;
    Ok(source.zip(sequence).map(|(source, sequence)| source.zip(sequence)).collect())
}

fn text(bytes: &ByteArray) -> Result<&str, String> {
    bytes.as_utf8().map_err(|error| error.to_string())
}

/// Big-endian two's complement, with 6 places behind the point.
fn decimal(bytes: &parquet::data_type::FixedLenByteArray) -> Result<i64, ParquetError> {
    let wide = || ParquetError::General("a value out of bounds".into());
    let bytes = bytes.data();
    let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    if bytes.len() > 16 {
        return Err(wide());
    }
    let value = bytes.iter().fold(sign, |value: i128, byte| value << 8 | i128::from(*byte));
    i64::try_from(value).map_err(|_| wide())
}

/// A column without nulls.
fn required<T: DataType>(
    group: &dyn RowGroupReader,
    name: &str,
) -> Result<Vec<T::T>, ParquetError> {
    let (values, levels) = column::<T>(group, name)?;
    match levels.iter().all(|level| *level > 0) {
        true => Ok(values),
        false => Err(ParquetError::General(format!("the column {name} has nulls"))),
    }
}

/// A column with nulls.
fn optional<T: DataType>(
    group: &dyn RowGroupReader,
    name: &str,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (values, levels) = column::<T>(group, name)?;
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
}

/// The values of a column that are there, and for each row whether it has one: above 0.
fn column<T: DataType>(
    group: &dyn RowGroupReader,
    name: &str,
) -> Result<(Vec<T::T>, Vec<i16>), ParquetError> {
    let schema = group.metadata().schema_descr();
    let missing = || ParquetError::General(format!("there is no column {name} as it is to be"));
    let at = schema.columns().iter().position(|column| column.path().string() == name);
    let at = at.ok_or_else(missing)?;
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| missing())?;
    if schema.column(at).physical_type() != T::get_physical_type()
        || schema.column(at).max_rep_level() > 0
    {
        return Err(missing());
    }
    let is_optional = schema.column(at).max_def_level() > 0;
    let reader: ColumnReader = group.get_column_reader(at)?;
    let mut reader: ColumnReaderImpl<T> = parquet::column::reader::get_typed_column_reader(reader);
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let wanted = is_optional.then_some(&mut levels);
        let (records, _, _) = reader.read_records(rows - read, wanted, None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::General(format!("the column {name} ends early")));
        }
        read += records;
    }
    if !is_optional {
        levels.resize(values.len(), 1);
    }
    Ok((values, levels))
}
