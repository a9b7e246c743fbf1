//! One folder per outside thing, each behind its own feature.

#[cfg(feature = "embedded")]
pub mod embedded;
