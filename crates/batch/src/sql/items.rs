//! `items`: what a server knows of items beside their counts, of one moment.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMillisecondBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::SqlError;
use super::counters::{comparison, is_item};
use super::events::timestamp;
use super::hot::SourceError;
use super::lines::{LineFile, LineRows, Lines};

/// The columns.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("item", DataType::Utf8, false),
        Field::new("title", DataType::Utf8, true),
        Field::new("channel", DataType::Utf8, true),
        Field::new("channel_name", DataType::Utf8, true),
        Field::new("created", timestamp(), true),
        Field::new("attributes", DataType::Utf8, true),
    ]))
});

/// Which items a question needs; it leaves the others out itself where they come all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// Only this item.
    pub item: Option<String>,
    /// Only the items of this channel.
    pub channel: Option<String>,
    /// Only items behind this one, in the order of their bytes.
    pub after: Option<String>,
}

/// A server that is asked for item details.
pub trait ItemDetailsLines: Send + Sync {
    /// Writes the details of items of one moment as lines of JSON, as `GET /v1/admin/items` does.
    fn fetch<'a>(
        &'a self,
        filter: &'a ItemFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, std::result::Result<(), SourceError>>;
}

/// See the module.
pub(super) struct Items {
    server: Arc<dyn ItemDetailsLines>,
    temp_dir: PathBuf,
}

impl Items {
    pub(super) fn new(server: Arc<dyn ItemDetailsLines>, temp_dir: PathBuf) -> Self {
        Self { server, temp_dir }
    }

    async fn fetch(&self, filter: &ItemFilter) -> std::result::Result<Lines<Rows>, SourceError> {
        let mut file = LineFile::new(&self.temp_dir)?;
        self.server.fetch(filter, file.writer()).await?;
        file.finish()
    }
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Items")
    }
}

#[async_trait]
impl TableProvider for Items {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let lines = self
            .fetch(&wanted(filters))
            .await
            .map_err(|source| DataFusionError::External(Box::new(SqlError::Source(source))))?;
        let lines = Arc::new(lines);
        let plan =
            StreamingTableExec::try_new(SCHEMA.clone(), vec![lines], projection, [], false, None)?;
        Ok(Arc::new(plan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// What the server needs not send. Where a filter is not understood, more comes than is wanted.
fn wanted(filters: &[Expr]) -> ItemFilter {
    let mut wanted = ItemFilter::default();
    for (column, op, value) in filters.iter().filter_map(comparison) {
        // Item and channel keep one rule; a server refuses to be asked for anything else.
        let Some(name) = value.try_as_str().flatten().filter(|name| is_item(name)) else {
            continue;
        };
        match (column, op) {
            ("item", Operator::Eq) => wanted.item = Some(name.to_owned()),
            ("channel", Operator::Eq) => wanted.channel = Some(name.to_owned()),
            ("item", Operator::Gt) if wanted.after.as_deref().is_none_or(|after| after < name) => {
                wanted.after = Some(name.to_owned());
            }
            _ => {}
        }
    }
    wanted
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    item: Cow<'a, str>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channel_name: Option<Cow<'a, str>>,
    created: Option<&'a str>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
}

/// Items on their way into a batch.
pub(super) struct Rows {
    item: StringBuilder,
    names: [StringBuilder; 3],
    created: TimestampMillisecondBuilder,
    attributes: StringBuilder,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            item: StringBuilder::new(),
            names: Default::default(),
            created: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            attributes: StringBuilder::new(),
        }
    }
}

impl LineRows for Rows {
    const WHAT: &'static str = "item";

    fn columns() -> &'static SchemaRef {
        &SCHEMA
    }

    fn push(&mut self, line: &[u8]) -> Option<()> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let created = line.created.map(str::parse::<jiff::Timestamp>).transpose().ok()?;
        let attributes = line.attributes.map(RawValue::get).filter(|text| *text != "null");
        if attributes.is_some_and(|text| !text.starts_with('{')) {
            return None;
        }
        self.item.append_value(&line.item);
        let names = [line.title, line.channel, line.channel_name];
        self.names.iter_mut().zip(names).for_each(|(column, name)| column.append_option(name));
        self.created.append_option(created.map(jiff::Timestamp::as_millisecond));
        self.attributes.append_option(attributes);
        Some(())
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let [title, channel, channel_name] = &mut self.names;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.item.finish()),
            Arc::new(title.finish()),
            Arc::new(channel.finish()),
            Arc::new(channel_name.finish()),
            Arc::new(self.created.finish()),
            Arc::new(self.attributes.finish()),
        ];
        Ok(RecordBatch::try_new(SCHEMA.clone(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn lines_become_rows_and_others_are_refused() {
        let mut rows = Rows::default();
        let full = r#"{"item":"a\"b","title":"T\\é","channel":"c","channel_name":"C",
            "created":"2026-11-21T10:00:00.123Z","attributes":{"k":"\"v"}}"#;
        let nulls = r#"{"item":"a","title":null,"created":null,"attributes":null}"#;
        for line in [full, nulls, r#"{"item":"b"}"#] {
            assert!(rows.push(line.as_bytes()).is_some(), "{line}");
        }
        for wrong in [
            "",
            "{}",
            &full[..50],
            &full.replace("T10", " at "),
            &full.replace(r#"{"k":"\"v"}"#, "[1]"),
            &full.replace(r#""C""#, "7"),
        ] {
            assert!(rows.push(wrong.as_bytes()).is_none(), "{wrong}");
        }
        let batch = rows.finish().unwrap();
        assert_eq!(batch.num_rows(), 3);
        let nulls: Vec<usize> = batch.columns().iter().map(|column| column.null_count()).collect();
        assert_eq!(nulls, [0, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_server_is_asked_for_no_more_than_is_wanted() {
        let some = |name: &str| Some(name.to_owned());
        let filters = [
            col("item").gt(lit("a")),
            col("item").gt(lit("c")),
            lit("b").lt(col("item")),
            col("channel").eq(lit("ch")),
        ];
        let expected = ItemFilter { item: None, channel: some("ch"), after: some("c") };
        assert_eq!(wanted(&filters), expected);
        assert_eq!(wanted(&[lit("x").eq(col("item"))]).item, some("x"));
        for other in [
            col("item").eq(lit("")),
            col("item").eq(lit("a\u{1}")),
            col("item").gt_eq(lit("a")),
            col("item").lt(lit("a")),
            col("title").eq(lit("a")),
            col("channel").not_eq(lit("a")),
            col("item").eq(lit("a")).or(col("item").eq(lit("b"))),
        ] {
            assert_eq!(wanted(std::slice::from_ref(&other)), ItemFilter::default(), "{other}");
        }
    }
}
