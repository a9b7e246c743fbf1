//! An answer: rows as texts, a page at a time, or as Parquet.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use futures::StreamExt;

use super::error::SqlError;

/// Rows of a row group: what is in memory of a file that is written.
const GROUP_ROWS: usize = 128 << 10;

/// Texts are as SQL has them: RFC 3339, with a zone where the type has one.
const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// What the texts of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Digits, exactly; or `NaN`, `inf` and `-inf`.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Anything else.
    Text,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; others may have the same.
    pub name: String,
    /// What its texts are.
    pub kind: Kind,
}

/// An answer on its way.
pub struct Rows {
    columns: Vec<Column>,
    stream: SendableRecordBatchStream,
}

/// Some rows of an answer.
pub struct Page(RecordBatch);

impl Rows {
    pub(super) fn new(stream: SendableRecordBatchStream) -> Self {
        let kind = |of: &DataType| match of {
            DataType::Boolean => Kind::Boolean,
            of if of.is_numeric() => Kind::Number,
            _ => Kind::Text,
        };
        let schema = stream.schema();
        let column = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| Column {
            name: field.name().clone(),
            kind: kind(field.data_type()),
        };
        Self { columns: schema.fields().iter().map(column).collect(), stream }
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// Whatever answering meets; the rows before are right, and not all.
    pub async fn next(&mut self) -> Result<Option<Page>, SqlError> {
        Ok(self.stream.next().await.transpose()?.map(Page))
    }

    /// Writes all rows as Parquet; how many there are.
    ///
    /// # Errors
    /// `Write` where they cannot be written, and whatever answering meets: what was written then is
    /// no Parquet.
    pub async fn write_parquet(mut self, out: impl Write + Send) -> Result<u64, SqlError> {
        let wrong = |error: DataFusionError| SqlError::Write(Box::new(error));
        let level = ZstdLevel::try_new(1).map_err(|error| wrong(error.into()))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(out, self.stream.schema(), Some(properties));
        let mut writer = writer.map_err(|error| wrong(error.into()))?;
        let mut rows = 0;
        while let Some(Page(batch)) = self.next().await? {
            rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(|error| wrong(error.into()))?;
        }
        writer.close().map_err(|error| wrong(error.into()))?;
        Ok(rows)
    }
}

impl Page {
    /// Calls `each` with the texts of every row; none where there is a null. It ends early where
    /// that fails.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn for_each<E: From<SqlError>>(
        &self,
        mut each: impl FnMut(&[Option<String>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns = self.0.columns();
        let formatters = columns.iter().map(|column| ArrayFormatter::try_new(column, &FORMAT));
        let formatters = formatters.collect::<Result<Vec<_>, _>>();
        let formatters = formatters.map_err(|error| SqlError::Failed(error.to_string()))?;
        let mut cells = Vec::with_capacity(columns.len());
        for row in 0..self.0.num_rows() {
            cells.clear();
            for (column, formatter) in columns.iter().zip(&formatters) {
                let text = column.is_valid(row).then(|| formatter.value(row).try_to_string());
                let text = text.transpose();
                cells.push(text.map_err(|error| SqlError::Failed(error.to_string()))?);
            }
            each(&cells)?;
        }
        Ok(())
    }
}
