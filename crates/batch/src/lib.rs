//! Counts raw events again, from the files that the archive keeps, to check what was counted.
//!
//! It imports nothing of ours and so shares no rule, no hash and no bug with the counting that it
//! checks: the rules are written a second time here, from the design.

mod error;
mod files;
mod judge;
mod numbers;
mod raw;
mod recount;
#[cfg(feature = "sql")]
pub mod sql;

pub use error::Error;
pub use files::{Archive, RawFile, raw_files};
pub use judge::Judge;
pub use numbers::Numbers;
pub use raw::{Control, Event};
pub use recount::{Difference, Recount, Scope, StoredCell};
