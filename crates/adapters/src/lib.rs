//! One folder per outside thing, each behind its own feature.

#[cfg(feature = "archive")]
pub mod archive;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
