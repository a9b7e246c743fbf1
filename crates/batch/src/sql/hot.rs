//! Hot counters: what a server holds in store and memory.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::counters::{BOUND, SCHEMA, SUM};
use super::lines::{LineFile, LineRows, Lines};

/// Whatever a source of ours met.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

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

/// Counters of one moment.
pub(super) struct Fetched {
    pub(super) lines: Lines<Rows>,
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
        let mut file = LineFile::new(temp_dir)?;
        let head = server.fetch(filter, file.writer()).await?;
        let cold_until = super::cold::day(&head.cold_until)
            .ok_or_else(|| format!("the server says `{}` where a date is due", head.cold_until))?;
        Ok(Self { lines: file.finish()?, cold_until })
    }
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

/// Counters on their way into a batch.
pub(super) struct Rows {
    texts: [StringBuilder; 3],
    time: TimestampMillisecondBuilder,
    counts: [Int64Builder; 2],
    decimals: [Decimal128Builder; 3],
}

impl Default for Rows {
    fn default() -> Self {
        let decimal = |of| Decimal128Builder::new().with_data_type(of);
        Self {
            texts: Default::default(),
            time: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            counts: Default::default(),
            decimals: [decimal(SUM), decimal(BOUND), decimal(BOUND)],
        }
    }
}

impl LineRows for Rows {
    const WHAT: &'static str = "counter";

    fn columns() -> &'static SchemaRef {
        &SCHEMA
    }

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
