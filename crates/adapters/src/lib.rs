//! One folder per outside thing, each behind its own feature.

#[cfg(feature = "archive")]
pub mod archive;
#[cfg(feature = "cassandra")]
pub mod cassandra;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "redis")]
pub mod redis;
