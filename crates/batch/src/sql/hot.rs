//! Hot counters: what a server holds in store and memory, fetched to a file as lines of JSON when a
//! question is planned, so that all of it is of one moment and none of it in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;

use super::counters::{BOUND, SCHEMA, SUM};
use crate::error::Error;

/// Whatever a source of ours met.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Rows handed on at a time.
const ROWS: usize = 8_192;
/// Batches that wait to be taken.
const BATCHES_WAITING: usize = 2;
/// Far more than the names and numbers of a counter take.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// Which counters a question needs; it leaves the others out itself where they come all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterFilter {
    /// Only this item.
    pub item: Option<String>,
    /// Only this event type.
    pub event_type: Option<String>,
    /// Buckets that begin at or after, in milliseconds since 1970.
    pub start_ms: Option<i64>,
    /// Buckets that begin before.
    pub end_ms: Option<i64>,
}

/// What holds for all counters of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotHead {
    /// The first day that is in no cold file, as `2026-05-03`.
    pub cold_until: String,
}

/// A server that is asked for its counters.
pub trait HotCounters: Send + Sync {
    /// Writes all counters of one moment as lines of JSON, as `GET /v1/admin/counters` does.
    fn fetch<'a>(
        &'a self,
        filter: &'a CounterFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, std::result::Result<HotHead, SourceError>>;
}

/// Counters in a file that has no name and goes with the last who reads it.
pub(super) struct Fetched {
    file: Arc<File>,
    /// The first day that is in no cold file, in days since 1970.
    pub(super) cold_until: i32,
}

impl Fetched {
    /// Asks a server.
    pub(super) async fn fetch(
        server: &dyn HotCounters,
        filter: &CounterFilter,
        temp_dir: &Path,
    ) -> std::result::Result<Self, SourceError> {
        let file = tempfile::tempfile_in(temp_dir).map_err(|error| {
            format!(
                "no file can be made in {}, name another folder with --temp-dir: {error}",
                temp_dir.display()
            )
        })?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let head = server.fetch(filter, &mut out).await?;
        let file = Arc::new(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        let cold_until = super::cold::day(&head.cold_until)
            .ok_or_else(|| format!("the server says `{}` where a date is due", head.cold_until))?;
        Ok(Self { file, cold_until })
    }
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hot counters")
    }
}

impl PartitionStream for Fetched {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(SCHEMA.clone(), BATCHES_WAITING);
        let (batches, file) = (stream.tx(), self.file.clone());
        stream.spawn_blocking(move || hand_on(file, &batches));
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
fn hand_on(file: Arc<File>, batches: &Sender<Result<RecordBatch>>) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 18, FromStart { file, at: 0 });
    let (mut rows, mut line) = (Rows::default(), Vec::new());
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read > 0 {
            rows.push(&line).ok_or_else(|| wrong(&line))?;
        }
        if rows.len == ROWS || (read == 0 && rows.len > 0) {
            let batch = std::mem::take(&mut rows).finish()?;
            if batches.blocking_send(Ok(batch)).is_err() {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn wrong(line: &[u8]) -> DataFusionError {
    let beginning: String = String::from_utf8_lossy(line).chars().take(200).collect();
    super::once::outside(Error::Damaged {
        name: "the server's answer".into(),
        reason: format!("`{beginning}` is no counter; do program and server have one version?"),
    })
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    item: std::borrow::Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: &'a str,
    granularity: &'a str,
    time: &'a str,
    count: i64,
    value_count: i64,
    #[serde(borrow)]
    sum: Option<&'a RawValue>,
    #[serde(borrow)]
    min: Option<&'a RawValue>,
    #[serde(borrow)]
    max: Option<&'a RawValue>,
}

/// Rows on their way into a batch.
struct Rows {
    len: usize,
    texts: [StringBuilder; 3],
    time: TimestampMillisecondBuilder,
    counts: [Int64Builder; 2],
    decimals: [Decimal128Builder; 3],
}

impl Default for Rows {
    fn default() -> Self {
        let decimal = |of| Decimal128Builder::new().with_data_type(of);
        Self {
            len: 0,
            texts: Default::default(),
            time: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            counts: Default::default(),
            decimals: [decimal(SUM), decimal(BOUND), decimal(BOUND)],
        }
    }
}

impl Rows {
    fn push(&mut self, line: &[u8]) -> Option<()> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let time: jiff::Timestamp = line.time.parse().ok()?;
        let numbers = [line.sum, line.min, line.max];
        let mut micros = [None; 3];
        for (micros, number) in micros.iter_mut().zip(numbers) {
            // A JSON null comes as the text of one where anything may come.
            if let Some(number) = number.filter(|number| number.get() != "null") {
                *micros = Some(parse_micros(number.get())?);
            }
        }
        let texts = [&*line.item, line.event_type, line.granularity];
        self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
        self.time.append_value(time.as_millisecond());
        self.counts[0].append_value(line.count);
        self.counts[1].append_value(line.value_count);
        self.decimals.iter_mut().zip(micros).for_each(|(column, m)| column.append_option(m));
        self.len += 1;
        Some(())
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let [item, event_type, granularity] = &mut self.texts;
        let [count, value_count] = &mut self.counts;
        let [sum, min, max] = &mut self.decimals;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(item.finish()),
            Arc::new(event_type.finish()),
            Arc::new(granularity.finish()),
            Arc::new(self.time.finish()),
            Arc::new(count.finish()),
            Arc::new(value_count.finish()),
            Arc::new(sum.finish()),
            Arc::new(min.finish()),
            Arc::new(max.finish()),
        ];
        Ok(RecordBatch::try_new(SCHEMA.clone(), columns)?)
    }
}

/// The text of a decimal with at most six places as micro-units.
fn parse_micros(text: &str) -> Option<i128> {
    const PLACES: usize = 6;
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || places.len() > PLACES || !is_digits(whole) || !is_digits(places) {
        return None;
    }
    let places: i128 = format!("{places:0<PLACES$}").parse().ok()?;
    let micros = whole.parse::<i128>().ok()?.checked_mul(1_000_000)?.checked_add(places)?;
    Some(if is_negative { -micros } else { micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let cases = [
            ("0", 0),
            ("19.75", 19_750_000),
            ("-0.000001", -1),
            ("9223372036854.775807", i128::from(i64::MAX)),
        ];
        for (text, micros) in cases {
            assert_eq!(parse_micros(text), Some(micros), "{text}");
        }
        for text in ["", "-", ".5", "1.0000001", "1e3", "1.-5", "+1", "null"] {
            assert_eq!(parse_micros(text), None, "{text}");
        }
    }

    #[test]
    fn lines_become_rows_and_others_are_refused() {
        let mut rows = Rows::default();
        let line = br#"{"item":"a\"b","type":"view","granularity":"hour","time":"2026-05-03T01:00:00Z","count":3,"value_count":1,"sum":1.5,"min":1.5,"max":1.5}"#;
        rows.push(line).unwrap();
        let text = String::from_utf8_lossy(line);
        rows.push(text.replace("1.5", "null").as_bytes()).unwrap();
        for wrong in
            ["{}", "", &text[..50], &text.replace("T01", " at "), &text.replace("1.5", "\"x\"")]
        {
            assert!(rows.push(wrong.as_bytes()).is_none(), "{wrong}");
        }
        let batch = rows.finish().unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.column(6).null_count(), 1);
    }
}
