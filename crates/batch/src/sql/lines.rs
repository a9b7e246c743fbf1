//! What a server says as lines of JSON, fetched to a file when a question is planned, so that all of
//! it is of one moment and none of it in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use tokio::sync::mpsc::Sender;

use super::hot::SourceError;
use crate::error::Error;

/// Rows handed on at a time.
const ROWS: usize = 8_192;
/// Bytes of lines whose rows are handed on at a time: item details may be long.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait to be taken.
const BATCHES_WAITING: usize = 2;
/// More than the names and numbers of a counter take, or all details of an item with every
/// character escaped.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Rows on their way into a batch, a line each.
pub(super) trait LineRows: Default + Send + Sync + 'static {
    /// What a line is, for people.
    const WHAT: &'static str;

    /// The columns.
    fn columns() -> &'static SchemaRef;

    /// Adds a line; none where it is not one of these.
    fn push(&mut self, line: &[u8]) -> Option<()>;

    /// The batch of what was added.
    fn finish(self) -> Result<RecordBatch>;
}

/// A file without a name, to write lines to.
pub(super) struct LineFile(BufWriter<File>);

impl LineFile {
    /// Makes one in a folder.
    pub(super) fn new(temp_dir: &Path) -> std::result::Result<Self, SourceError> {
        let file = tempfile::tempfile_in(temp_dir).map_err(|error| {
            format!(
                "no file can be made in {}, name another folder with --temp-dir: {error}",
                temp_dir.display()
            )
        })?;
        Ok(Self(BufWriter::with_capacity(1 << 20, file)))
    }

    /// Where lines go.
    pub(super) fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut self.0
    }

    /// What was written, to be read.
    pub(super) fn finish<R>(self) -> std::result::Result<Lines<R>, SourceError> {
        let file = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Lines { file: Arc::new(file), rows: PhantomData })
    }
}

/// Lines in a file that has no name and goes with the last who reads it.
pub(super) struct Lines<R> {
    file: Arc<File>,
    rows: PhantomData<fn() -> R>,
}

impl<R: LineRows> std::fmt::Debug for Lines<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lines, each {}", R::WHAT)
    }
}

impl<R: LineRows> PartitionStream for Lines<R> {
    fn schema(&self) -> &SchemaRef {
        R::columns()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(R::columns().clone(), BATCHES_WAITING);
        let (batches, file) = (stream.tx(), self.file.clone());
        stream.spawn_blocking(move || hand_on::<R>(file, &batches));
        stream.build()
    }
}

/// A file read from its beginning, whoever else reads it.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Hands the lines on as rows, until nobody takes them any more.
fn hand_on<R: LineRows>(file: Arc<File>, batches: &Sender<Result<RecordBatch>>) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 18, FromStart { file, at: 0 });
    let mut line = Vec::new();
    loop {
        let (mut rows, mut count, mut bytes) = (R::default(), 0, 0);
        while count < ROWS && bytes < BATCH_BYTES {
            line.clear();
            let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            rows.push(&line).ok_or_else(|| wrong(&line, R::WHAT))?;
            (count, bytes) = (count + 1, bytes + read);
        }
        if count == 0 || batches.blocking_send(rows.finish()).is_err() {
            return Ok(());
        }
    }
}

fn wrong(line: &[u8], what: &str) -> DataFusionError {
    let beginning: String = String::from_utf8_lossy(line).chars().take(200).collect();
    super::once::outside(Error::Damaged {
        name: "the server's answer".into(),
        reason: format!("`{beginning}` is no {what}; do program and server have one version?"),
    })
}
