//! `counter_parts`: hot counters of the server and cold ones of its archive, without a day twice.
//!
//! The server says of what it gives from which day on that is all. From the archive come exactly the
//! days before it, whatever the server moves there meanwhile.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType, ident,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::union::UnionExec;

use super::events::timestamp;
use super::hot::{CounterFilter, Fetched, SourceError};
use super::{Sources, SqlError, cold};

/// A sum of values, exactly.
pub(super) const SUM: DataType = DataType::Decimal128(38, 6);
/// A least or greatest value, exactly.
pub(super) const BOUND: DataType = super::events::VALUE;
/// The first millisecond that no event can have: the year 10000 is near.
const TIME_MAX_MS: i64 = 253_402_207_200_000;

/// The columns.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("item", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("granularity", DataType::Utf8, false),
        Field::new("time", timestamp(), false),
        Field::new("count", DataType::Int64, false),
        Field::new("value_count", DataType::Int64, false),
        Field::new("sum", SUM, true),
        Field::new("min", BOUND, true),
        Field::new("max", BOUND, true),
    ]))
});

/// See the module.
pub(super) struct CounterParts {
    sources: Sources,
    temp_dir: PathBuf,
}

impl CounterParts {
    pub(super) fn new(sources: Sources, temp_dir: PathBuf) -> Self {
        Self { sources, temp_dir }
    }

    /// Hot counters, and the files whose days before they need.
    async fn fetch(
        &self,
        filter: &CounterFilter,
    ) -> std::result::Result<(Fetched, Vec<String>), SourceError> {
        let hot = Fetched::fetch(&*self.sources.counters, filter, &self.temp_dir).await?;
        let until = hot.cold_until;
        if until <= 0 {
            return Ok((hot, Vec::new()));
        }
        let files = self.sources.files.clone();
        let named = tokio::task::spawn_blocking(move || cold::files(&*files, until)).await??;
        Ok((hot, named))
    }
}

impl std::fmt::Debug for CounterParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterParts")
    }
}

#[async_trait]
impl TableProvider for CounterParts {
    fn schema(&self) -> SchemaRef {
        SCHEMA.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = wanted(filters);
        let (hot, files) = self
            .fetch(&filter)
            .await
            .map_err(|source| DataFusionError::External(Box::new(SqlError::Source(source))))?;
        let Fetched { lines, cold_until: until } = hot;
        let hot = StreamingTableExec::try_new(
            SCHEMA.clone(),
            vec![Arc::new(lines)],
            projection,
            [],
            false,
            None,
        )?;
        if files.is_empty() {
            return Ok(Arc::new(hot));
        }
        let schema = match projection {
            Some(columns) => Arc::new(SCHEMA.project(columns)?),
            None => SCHEMA.clone(),
        };
        let columns = schema.fields().iter().map(|field| ident(field.name())).collect();
        let filters = unnormalize_cols(filters.iter().cloned());
        let cold = cold::plan(&files, until, filters, columns)?;
        let cold = state.create_physical_plan(&cold).await?;
        UnionExec::try_new(vec![Arc::new(hot), cold])
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// What the server needs not send. Where a filter is not understood, more comes than is wanted.
fn wanted(filters: &[Expr]) -> CounterFilter {
    let mut wanted = CounterFilter::default();
    for (column, op, value) in filters.iter().filter_map(comparison) {
        match (column, op, value.try_as_str().flatten(), millis(value)) {
            ("item", Operator::Eq, Some(item), _) if is_item(item) => {
                wanted.item = Some(item.to_owned());
            }
            ("type", Operator::Eq, Some(name), _) if is_type(name) => {
                wanted.event_type = Some(name.to_owned());
            }
            ("time", op, _, Some(ms)) => wanted.narrow(op, ms),
            _ => {}
        }
    }
    let is_empty = wanted.start_ms.zip(wanted.end_ms).is_some_and(|(start, end)| start >= end);
    // Nothing is in an empty range, and a server takes none; whatever else comes is left out.
    if is_empty { CounterFilter { start_ms: None, end_ms: None, ..wanted } } else { wanted }
}

/// A filter that compares a column with a value, the column first.
pub(super) fn comparison(filter: &Expr) -> Option<(&str, Operator, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    match (&**left, &**right) {
        (Expr::Column(column), Expr::Literal(value, _)) => Some((column.name.as_str(), *op, value)),
        (Expr::Literal(value, _), Expr::Column(column)) => {
            Some((column.name.as_str(), op.swap()?, value))
        }
        _ => None,
    }
}

impl CounterFilter {
    fn narrow(&mut self, op: Operator, ms: i64) {
        let (from, to) = match op {
            Operator::GtEq => (Some(ms), None),
            Operator::Gt => (ms.checked_add(1), None),
            Operator::Lt => (None, Some(ms)),
            Operator::LtEq => (None, ms.checked_add(1)),
            Operator::Eq => (Some(ms), ms.checked_add(1)),
            _ => return,
        };
        let is_time = |ms: &i64| (1..TIME_MAX_MS).contains(ms);
        if let Some(from) = from.filter(is_time) {
            self.start_ms = Some(self.start_ms.map_or(from, |start| start.max(from)));
        }
        if let Some(to) = to.filter(is_time) {
            self.end_ms = Some(self.end_ms.map_or(to, |end| end.min(to)));
        }
    }
}

/// A time of the column's type; the planner casts others to it where that is exact.
fn millis(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMillisecond(millis, _) => *millis,
        _ => None,
    }
}

/// What can have been counted: a server refuses to be asked for anything else.
pub(super) fn is_item(item: &str) -> bool {
    (1..=256).contains(&item.len()) && !item.chars().any(char::is_control)
}

fn is_type(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}
