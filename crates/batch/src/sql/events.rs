//! `events`: raw files as they are, with date and hour of append time from the names of folders.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;

use super::files::url_of;

/// Milliseconds since 1970, in UTC.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// A value in micro-units, exactly.
pub(super) const VALUE: DataType = DataType::Decimal128(19, 6);

/// The columns of a raw file; see docs/format.md.
pub(super) fn file_fields() -> Vec<Field> {
    vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("append_time", timestamp(), false),
        Field::new("id", DataType::Utf8, false),
        Field::new("item", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("time", timestamp(), false),
        Field::new("value", VALUE, true),
        Field::new("attributes", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, true),
        Field::new("sequence", DataType::Int64, true),
    ]
}

/// Date and hour of append time: what folders are named by, so that others need not be read.
pub(super) const FOLDERS: [(&str, DataType); 2] =
    [("date", DataType::Date32), ("hour", DataType::Int32)];

/// All columns of a table of events.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let folders = FOLDERS.map(|(name, of)| Field::new(name, of, false));
    Arc::new(Schema::new(file_fields().into_iter().chain(folders).collect::<Vec<_>>()))
});

/// The table.
pub(super) fn table() -> Result<ListingTable, DataFusionError> {
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
        .with_file_extension(".parquet")
        .with_table_partition_cols(FOLDERS.map(|(name, of)| (name.to_owned(), of)).to_vec());
    let config = ListingTableConfig::new(ListingTableUrl::parse(url_of("raw/"))?)
        .with_listing_options(options)
        .with_schema(Arc::new(Schema::new(file_fields())));
    ListingTable::try_new(config)
}
