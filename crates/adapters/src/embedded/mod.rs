//! One machine, no server beside it: a segmented log and a key-value store in a data folder.

pub mod log;
pub mod store;
