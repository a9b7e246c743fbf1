//! `events_once`: raw events without repeats, judged in log order by the rule that recounts use, so
//! that as many come out as were counted.
//!
//! What was appended before the oldest file that is kept is not known: a repeat of such an event,
//! within the dedup window of that file's beginning, comes out once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, Int64Type, SchemaRef, TimestampMillisecondType,
};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tokio::sync::mpsc::Sender;

use super::events::{FOLDERS, SCHEMA};
use super::files::ArchiveFiles;
use crate::error::Error;
use crate::files::{Archive, RawFile, raw_files};
use crate::judge::Judge;
use crate::raw::{Control, Event, read_head};

/// Rows handed on at a time.
const ROWS: usize = 8_192;
/// Batches that wait to be taken.
const BATCHES_WAITING: usize = 2;
/// The columns that say what is a repeat.
const JUDGED: [&str; 7] = ["offset", "append_time", "id", "item", "type", "source", "sequence"];
const HOUR_MS: i64 = 3_600_000;
const HOURS_OF_DAY: i64 = 24;

/// See the module.
pub(super) struct EventsOnce {
    files: Arc<dyn ArchiveFiles>,
}

impl EventsOnce {
    pub(super) fn new(files: Arc<dyn ArchiveFiles>) -> Self {
        Self { files }
    }
}

impl std::fmt::Debug for EventsOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventsOnce")
    }
}

#[async_trait]
impl TableProvider for EventsOnce {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(SCHEMA.project(columns)?),
            None => SCHEMA.clone(),
        };
        let files = self.files.clone();
        let listed = tokio::task::spawn_blocking(move || raw_files(&*files)).await;
        let listed = listed.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
        let mut partitions: BTreeMap<u16, Vec<RawFile>> = BTreeMap::new();
        for file in listed.map_err(outside)? {
            partitions.entry(file.partition).or_default().push(file);
        }
        let partition = |files: Vec<RawFile>| {
            check_gapless(&files).map_err(outside)?;
            let log = LogPartition { archive: self.files.clone(), files, schema: schema.clone() };
            Ok(Arc::new(log) as Arc<dyn PartitionStream>)
        };
        let partitions = partitions.into_values().map(partition).collect::<Result<Vec<_>>>()?;
        if partitions.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let plan = StreamingTableExec::try_new(schema, partitions, None, [], false, None)?;
        Ok(Arc::new(plan))
    }
}

/// What went wrong outside of DataFusion.
pub(super) fn outside(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Files that are not all of a stretch of log cannot be judged.
fn check_gapless(files: &[RawFile]) -> std::result::Result<(), Error> {
    for pair in files.windows(2) {
        if pair[0].to != pair[1].from {
            let (partition, from, to) = (pair[0].partition, pair[0].to, pair[1].from);
            return Err(Error::Gap { partition, from, to });
        }
    }
    Ok(())
}

/// What is kept of one partition's log.
struct LogPartition {
    archive: Arc<dyn ArchiveFiles>,
    files: Vec<RawFile>,
    /// The columns that are wanted.
    schema: SchemaRef,
}

impl std::fmt::Debug for LogPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogPartition({} files)", self.files.len())
    }
}

impl PartitionStream for LogPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(self.schema.clone(), BATCHES_WAITING);
        let (batches, schema) = (stream.tx(), self.schema.clone());
        let (archive, files) = (self.archive.clone(), self.files.clone());
        stream.spawn_blocking(move || {
            let mut judge = Judge::new((seed(), seed()));
            for file in &files {
                if !read(&*archive, file, &mut judge, &schema, &batches)? {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}

/// Nobody can choose ids that collide.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Hands on the events of a file that are no repeats; whether somebody still takes them.
fn read(
    archive: &dyn Archive,
    file: &RawFile,
    judge: &mut Judge,
    schema: &SchemaRef,
    batches: &Sender<Result<RecordBatch>>,
) -> Result<bool> {
    let damaged = |reason: &dyn std::fmt::Display| {
        outside(Error::Damaged { name: file.name.clone(), reason: reason.to_string() })
    };
    let bytes = archive.bytes(&file.name).map_err(outside)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| damaged(&e))?;
    let head = read_head(reader.metadata()).map_err(|reason| damaged(&reason))?;
    let wanted = schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = JUDGED.into_iter().chain(wanted).collect();
    let mask = ProjectionMask::columns(reader.parquet_schema(), columns);
    let reader = reader.with_projection(mask).with_batch_size(ROWS).build();
    judge.set_window(head.window_minutes);
    let mut pending = Judging { judge, file, controls: head.controls.iter().peekable() };
    let mut events = 0;
    for batch in reader.map_err(|error| damaged(&error))? {
        let batch = batch.map_err(|error| damaged(&error))?;
        events += batch.num_rows() as u64;
        let is_first = pending.judge(&batch)?;
        let batch = columns_of(&filter_record_batch(&batch, &is_first)?, file, schema)?;
        if batch.num_rows() > 0 && batches.blocking_send(Ok(batch)).is_err() {
            return Ok(false);
        }
    }
    pending.rest()?;
    let beside = head.controls.len() as u64 + head.dead_letters;
    if events + beside != file.to - file.from {
        let reason = format!("{events} events and {beside} other records are not all it names");
        return Err(damaged(&reason));
    }
    Ok(true)
}

/// The wanted columns of what is left of a file's rows.
fn columns_of(batch: &RecordBatch, file: &RawFile, schema: &SchemaRef) -> Result<RecordBatch> {
    let hours = file.hour_ms.div_euclid(HOUR_MS);
    let (day, hour) = (hours.div_euclid(HOURS_OF_DAY), hours.rem_euclid(HOURS_OF_DAY));
    let rows = batch.num_rows();
    let column = |name: &str| -> Result<ArrayRef> {
        if name == FOLDERS[0].0 {
            return Ok(Arc::new(Date32Array::from(vec![day as i32; rows])));
        }
        if name == FOLDERS[1].0 {
            return Ok(Arc::new(Int32Array::from(vec![hour as i32; rows])));
        }
        batch.column_by_name(name).cloned().ok_or_else(|| lacks(file, name))
    };
    let columns = schema.fields().iter().map(|field| column(field.name()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn lacks(file: &RawFile, column: &str) -> DataFusionError {
    let reason = format!("there is no column {column} as it is to be");
    outside(Error::Damaged { name: file.name.clone(), reason })
}

/// Judges the rows of a file, with the control records between them.
struct Judging<'a, I: Iterator<Item = &'a Control>> {
    judge: &'a mut Judge,
    file: &'a RawFile,
    controls: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = &'a Control>> Judging<'a, I> {
    /// Which rows are no repeats.
    fn judge(&mut self, batch: &RecordBatch) -> Result<BooleanArray> {
        let file = self.file;
        let offset = numbers::<Int64Type>(batch, "offset", file)?;
        let append_time = numbers::<TimestampMillisecondType>(batch, "append_time", file)?;
        let sequence = numbers::<Int64Type>(batch, "sequence", file)?;
        let text = |name| texts(batch, name, file);
        let (id, item, event_type) = (text("id")?, text("item")?, text("type")?);
        let source = text("source")?;
        let mut is_first = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let has_source = source.is_valid(row) && sequence.is_valid(row);
            let event = Event {
                offset: u64::try_from(offset.value(row)).unwrap_or_default(),
                append_ms: append_time.value(row),
                id: id.value(row),
                item: item.value(row),
                event_type: event_type.value(row),
                source: has_source.then(|| (source.value(row), sequence.value(row))),
                ..Event::default()
            };
            while let Some(control) = self.controls.next_if(|next| next.offset < event.offset) {
                self.judge.control(file.partition, control).map_err(outside)?;
            }
            is_first.push(!self.judge.is_counted_before(&event));
        }
        Ok(is_first.into())
    }

    /// Minds what stands behind the last row.
    fn rest(mut self) -> Result<()> {
        let (judge, partition) = (self.judge, self.file.partition);
        self.controls.try_for_each(|control| judge.control(partition, control)).map_err(outside)
    }
}

fn numbers<'b, T: ArrowPrimitiveType>(
    batch: &'b RecordBatch,
    name: &str,
    file: &RawFile,
) -> Result<&'b PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or_else(|| lacks(file, name))
}

fn texts<'b>(batch: &'b RecordBatch, name: &str, file: &RawFile) -> Result<&'b StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt());
    column.ok_or_else(|| lacks(file, name))
}
