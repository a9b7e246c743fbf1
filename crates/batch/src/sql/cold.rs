//! Cold counters: which files of the archive hold the days before one.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, ident, lit};

use super::counters::BOUND;
use super::events::timestamp;
use super::files::{ArchiveFiles, url_of};
use super::hot::SourceError;
use crate::error::Error;

/// The folder of the files and of what names those that count.
const FOLDER: &str = "counters";
/// The object that names the files that count.
const MANIFEST: &str = "counters/manifest";
/// What such objects begin with where processors share an archive: the highest number counts.
const GENERATION: &str = "counters/manifest-";
/// Digits of that number.
const DIGITS: usize = 20;
const HEAD: &str = "tally counters 1";

/// The names of the files that hold days before `until`; see docs/format.md.
pub(super) fn files(
    archive: &dyn ArchiveFiles,
    until: i32,
) -> std::result::Result<Vec<String>, SourceError> {
    let manifest = manifest(archive)?;
    let Some(bytes) = archive.bytes_if_there(&manifest)? else {
        return Err(lacks(until));
    };
    let damaged = || Error::Damaged {
        name: manifest.clone(),
        reason: "it is not what a server writes".into(),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    if let Some(format) = other_format(text) {
        return Err(Error::Format { name: manifest, format }.into());
    }
    let (sealed, files) = read(text, until).ok_or_else(damaged)?;
    if sealed < until {
        return Err(lacks(until));
    }
    Ok(files)
}

/// The format that a manifest says it has, where it is not the one known here.
fn other_format(text: &str) -> Option<String> {
    let format = text.lines().next()?.strip_prefix("tally counters ")?;
    (format != "1").then(|| format.chars().take(20).collect())
}

/// The name of the manifest that counts.
fn manifest(archive: &dyn ArchiveFiles) -> std::result::Result<String, Error> {
    let is_number =
        |text: &str| text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let names = archive.list(FOLDER)?.into_iter().map(|(name, _)| name);
    let generations = names.filter(|name| name.strip_prefix(GENERATION).is_some_and(is_number));
    Ok(generations.max().unwrap_or_else(|| MANIFEST.to_owned()))
}

fn lacks(until: i32) -> SourceError {
    format!(
        "the server has moved the days before {} to its archive, and this archive lacks them: name \
         the one that `tally config` shows where the server runs, with --archive",
        date(until)
    )
    .into()
}

fn date(days: i32) -> String {
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    let span = jiff::Span::new().try_days(days);
    let date = span.and_then(|span| epoch.checked_add(span));
    date.map_or_else(|_| format!("day {days}"), |date| date.to_string())
}

/// A date as days since 1970.
pub(super) fn day(date: &str) -> Option<i32> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch)).ok().map(|span| span.get_days())
}

/// The first day that is not there, and the files that begin before `until`.
fn read(text: &str, until: i32) -> Option<(i32, Vec<String>)> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let sealed = day(lines.next()?.strip_prefix("until ")?)?;
    let mut files = Vec::new();
    for line in lines {
        let mut words = line.strip_prefix("file ")?.split(' ');
        let (name, first) = (words.next()?, day(words.next()?)?);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return None;
        }
        if first < until {
            files.push(format!("counters/{name}.parquet"));
        }
    }
    Some((sealed, files))
}

/// The columns of a file; see docs/format.md.
fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("type", DataType::Utf8, false),
        Field::new("item", DataType::Utf8, false),
        Field::new("day", DataType::Date32, false),
        Field::new("count", DataType::Int64, false),
        Field::new("value_count", DataType::Int64, false),
        Field::new("sum", DataType::Decimal128(38, 6), true),
        Field::new("min", BOUND, true),
        Field::new("max", BOUND, true),
    ]))
}

/// A question for the days before `until` in these files, as rows of counters.
pub(super) fn plan(
    files: &[String],
    until: i32,
    filters: Vec<Expr>,
    columns: Vec<Expr>,
) -> Result<LogicalPlan> {
    let urls = files.iter().map(|name| ListingTableUrl::parse(url_of(name)));
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new_with_multi_paths(urls.collect::<Result<_>>()?)
        .with_listing_options(options)
        .with_schema(schema());
    let table = Arc::new(ListingTable::try_new(config)?);
    let utc = DataType::Timestamp(TimeUnit::Millisecond, None);
    let start = cast(cast(ident("day"), utc), timestamp()).alias("time");
    let rows = [ident("item"), ident("type"), lit("day").alias("granularity"), start];
    let numbers = ["count", "value_count", "sum", "min", "max"].map(ident);
    let before = ident("day").lt(lit(ScalarValue::Date32(Some(until))));
    let mut plan = LogicalPlanBuilder::scan("cold", provider_as_source(table), None)?
        .filter(before)?
        .project(rows.into_iter().chain(numbers))?;
    if let Some(filter) = conjunction(filters) {
        plan = plan.filter(filter)?;
    }
    plan.project(columns)?.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        for (text, days) in [("1970-01-01", 0), ("1970-02-01", 31), ("2026-05-03", 20_576)] {
            assert_eq!(day(text), Some(days));
            assert_eq!(date(days), text);
        }
        assert_eq!(day("2026-13-01"), None);
    }

    #[test]
    fn a_manifest_names_the_files_of_days_before() {
        let text = "tally counters 1\nuntil 2026-05-03\n\
                    file year-2025 2025-01-01 2026-01-01 9\n\
                    file day-2026-05-02 2026-05-02 2026-05-03 7\nend\n";
        let named = |until: &str| read(text, day(until).unwrap()).unwrap();
        let all = ["counters/year-2025.parquet", "counters/day-2026-05-02.parquet"];
        assert_eq!(named("2026-05-03"), (20_576, all.map(str::to_owned).to_vec()));
        assert_eq!(named("2026-05-02").1, all[..1]);
        assert_eq!(other_format(text), None);
        assert_eq!(other_format(&text.replacen(" 1\n", " 2\n", 1)).as_deref(), Some("2"));
        for (from, to) in [(" 1\n", " 2\n"), ("end\n", ""), ("year-", "../"), ("until", "from")] {
            assert_eq!(read(&text.replacen(from, to, 1), 0), None, "{to}");
        }
    }
}
