//! The columns of a raw file, and how they are encoded. A change of names or types is a new
//! `tally.format`.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

/// Bytes of a value: the least that hold 19 digits.
pub(super) const VALUE_BYTES: usize = 9;

/// In the order that rows are written in.
const MESSAGE: &str = "
message event {
  required int32 partition;
  required int64 offset;
  required int64 append_time (TIMESTAMP(MILLIS, true));
  required binary id (STRING);
  required binary item (STRING);
  required binary type (STRING);
  required int64 time (TIMESTAMP(MILLIS, true));
  optional fixed_len_byte_array(9) value (DECIMAL(19, 6));
  optional binary attributes (STRING);
  optional binary source (STRING);
  optional int64 sequence;
}";

pub(super) fn schema() -> Result<TypePtr> {
    parse_message_type(MESSAGE).map(Arc::new)
}

/// Dictionaries help where values repeat, as attributes do that say who or where; where they do not, the
/// writer gives its dictionary up after a megabyte. Deltas help where values rise. Ids do neither. Bounds
/// of ids or attributes exclude nothing.
pub(super) fn properties() -> Result<WriterPropertiesPtr> {
    let column = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by("tally version 1".into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        // Row groups are closed by who writes them.
        .set_max_row_group_row_count(None);
    // Nobody looks for a file by these.
    for unordered in ["partition", "id", "type", "value", "attributes", "source", "sequence"] {
        properties =
            properties.set_column_statistics_enabled(column(unordered), EnabledStatistics::None);
    }
    properties = properties.set_column_dictionary_enabled(column("id"), false);
    for rising in ["offset", "time", "sequence"] {
        properties = properties
            .set_column_dictionary_enabled(column(rising), false)
            .set_column_encoding(column(rising), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(Arc::new(properties.build()))
}
