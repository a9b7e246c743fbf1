//! A raw file from events: Parquet in row groups of bounded size.

use std::fmt::Write as _;
use std::io::Write;

use engine::ports::{ErrorKind, PortError, RawEvent, RawFile, RawHead};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::super::version;
use super::rows::Rows;
use super::schema::{properties, schema};

/// Version of schema and metadata.
pub(super) const FORMAT: u32 = 1;
/// Key of the dedup window at the first offset after a file.
pub(super) const NEXT_WINDOW_MINUTES: &str = "tally.next_window_minutes";

/// A raw file that is being written. The same events give the same bytes.
pub(super) struct RawWriter<'a, W: Write + Send> {
    parquet: SerializedFileWriter<W>,
    rows: Rows,
    file: RawFile,
    written: u64,
    /// Called between pieces of work.
    pause: &'a dyn Fn(),
}

impl<'a, W: Write + Send> RawWriter<'a, W> {
    pub(super) fn new(file: RawFile, out: W, pause: &'a dyn Fn()) -> Result<Self> {
        let parquet = SerializedFileWriter::new(out, schema()?, properties()?)?;
        Ok(Self { parquet, rows: Rows::default(), file, written: 0, pause })
    }

    pub(super) fn push(&mut self, event: &RawEvent<'_>) -> Result<()> {
        self.rows.push(event)?;
        self.written += 1;
        if self.rows.is_full() {
            self.write_rows()?;
        }
        Ok(())
    }

    fn write_rows(&mut self) -> Result<()> {
        let mut group = self.parquet.next_row_group()?;
        self.rows.write(self.file.partition.0.into(), &mut group, self.pause)?;
        group.close().map(drop)
    }

    /// Writes what is left and the metadata, and gives back what was written to.
    pub(super) fn finish(mut self, head: &RawHead) -> Result<W> {
        let RawFile { from, to, .. } = self.file;
        let told = self.written + (head.controls.len() + head.dead_letters.len()) as u64;
        if told != to.0 - from.0 {
            return Err(ParquetError::General(format!(
                "{told} records were given for the offsets {from} to {to}"
            )));
        }
        if self.rows.len() > 0 {
            self.write_rows()?;
        }
        let pairs = [
            (version::KEY, FORMAT.to_string()),
            ("tally.partition", self.file.partition.to_string()),
            ("tally.from", from.to_string()),
            ("tally.to", to.to_string()),
            ("tally.window_minutes", head.window_minutes.to_string()),
            (NEXT_WINDOW_MINUTES, head.next_window_minutes.to_string()),
            ("tally.controls", controls(head)),
            ("tally.dead_letters", dead_letters(head)),
        ];
        for (key, value) in pairs {
            self.parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        self.parquet.into_inner()
    }
}

/// `[{"offset":7,"append_time":1795255200123,"hex":"010a000000"}]`
fn controls(head: &RawHead) -> String {
    let mut json = String::from("[");
    for (at, (offset, append_time, record)) in head.controls.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(json, r#"{comma}{{"offset":{offset},"append_time":{},"#, append_time.0);
        json.push_str(r#""hex":""#);
        for byte in record {
            let _ = write!(json, "{byte:02x}");
        }
        json.push_str("\"}");
    }
    json.push(']');
    json
}

/// `[8,9]`
fn dead_letters(head: &RawHead) -> String {
    let offsets: Vec<_> = head.dead_letters.iter().map(ToString::to_string).collect();
    format!("[{}]", offsets.join(","))
}

/// What went wrong below Parquet, in its own words where it has some.
pub(in crate::archive) fn port_error(
    error: ParquetError,
    context: impl FnOnce() -> String,
) -> PortError {
    let error = match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => match error.downcast::<PortError>() {
                Ok(error) => return error,
                Err(error) => ParquetError::External(Box::new(error)),
            },
            Err(error) => ParquetError::External(error),
        },
        error => error,
    };
    PortError::caused(ErrorKind::Invalid, context(), error)
}
