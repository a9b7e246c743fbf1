//! One machine, no server beside it: a segmented log and a key-value store in a data folder.

pub mod backup;
pub mod cache;
pub mod details;
pub mod disk;
mod fresh;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod log;
#[cfg(any(test, feature = "sim"))]
pub mod mem_disk;
pub mod routing;
pub mod store;
