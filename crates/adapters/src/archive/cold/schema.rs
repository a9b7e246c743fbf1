//! The columns of a file of days, and how they are encoded. Rows are in the order of type, item and
//! day. A change of names or types is a new `tally.format`.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// Rows of a row group at most: what a filter of items is made for.
pub(super) const GROUP_ROWS: usize = 64 << 10;
/// Rows of a page at most: what is read for an item of one day.
const PAGE_ROWS: usize = 1_024;
/// One item of so many is looked for in a row group that has it not.
const FALSE_HITS: f64 = 0.01;

pub(super) const TYPE: usize = 0;
pub(super) const ITEM: usize = 1;
pub(super) const DAY: usize = 2;
pub(super) const COUNT: usize = 3;
pub(super) const VALUE_COUNT: usize = 4;
pub(super) const SUM: usize = 5;
pub(super) const MIN: usize = 6;
pub(super) const MAX: usize = 7;

/// In the order of the numbers above. Sums and bounds are there where an event carries a value.
const MESSAGE: &str = "
message day {
  required binary type (STRING);
  required binary item (STRING);
  required int32 day (DATE);
  required int64 count;
  required int64 value_count;
  optional fixed_len_byte_array(16) sum (DECIMAL(38, 6));
  optional fixed_len_byte_array(9) min (DECIMAL(19, 6));
  optional fixed_len_byte_array(9) max (DECIMAL(19, 6));
}";

pub(super) fn schema() -> Result<TypePtr> {
    parse_message_type(MESSAGE).map(Arc::new)
}

pub(super) fn properties() -> Result<WriterPropertiesPtr> {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by("tally version 1".into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_column_bloom_filter_enabled(column("item"), true)
        .set_column_bloom_filter_fpp(column("item"), FALSE_HITS)
        .set_column_bloom_filter_max_ndv(column("item"), GROUP_ROWS as u64)
        // Row groups are closed by who writes them.
        .set_max_row_group_row_count(None)
        // Neighbours begin alike.
        .set_column_dictionary_enabled(column("item"), false)
        .set_column_encoding(column("item"), Encoding::DELTA_BYTE_ARRAY);
    for number in ["count", "value_count", "sum", "min", "max"] {
        properties = properties.set_column_dictionary_enabled(column(number), false);
    }
    Ok(Arc::new(properties.build()))
}
