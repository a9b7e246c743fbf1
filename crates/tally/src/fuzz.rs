//! The decoders of what comes from outside, as functions of any bytes that panic where a promise is
//! broken. Called by the fuzz targets only.

pub use crate::config::fuzz::settings;
pub use crate::http::details::fuzz::item_lines;
pub use crate::http::events::fuzz::{avro, avro_block, cloud_events, json, ndjson};
pub use crate::http::fuzz::{encoded, query};
pub use crate::import::fuzz::{access_log, csv, ndjson as import_ndjson, resume};
