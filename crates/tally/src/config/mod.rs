//! Settings: flags over environment over file over defaults, checked before anything starts.

mod door;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod raw;
mod resolved;
pub(crate) mod units;

pub(crate) use raw::{Raw, read_file};
pub(crate) use resolved::{
    Compression, ConnectionLimits, Layer, Machine, Origin, Resolved, SettingError, TlsFiles,
    environment,
};
