//! The decoders of stored bytes, as functions of any bytes that panic where a promise is broken.
//! Called by the fuzz targets only.

pub use super::details::fuzz::details;
pub use super::log::fuzz::{files, index, log, segment};
pub use super::routing::fuzz_file as routing;
pub use super::store::fuzz::{letter, row};
