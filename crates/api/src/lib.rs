//! What goes over the wire: the JSON of requests and answers, and the problem codes.
//!
//! Knows nothing of how counting works; a client needs only this crate (with the feature `client`).

mod audits;
mod backups;
mod bulk;
mod dead_letters;
mod explain;
mod keys;
mod problem;
mod recounts;
mod wire;

#[cfg(feature = "client")]
pub mod client;

pub use audits::{AuditAnswer, AuditResult, AuditsAnswer};
pub use backups::{BackupAnswer, BackupRequest, BackupState, BackupsAnswer};
pub use bulk::{BulkAnswer, BulkListAnswer, BulkRejected, BulkRejectedLine, BulkState};
pub use dead_letters::{DeadLetterAnswer, DeadLettersAnswer, LetterState, ReplayedEvent};
pub use explain::{ColdPart, CorrectionPart, ExplainAnswer, MemoryPart, PartitionPart, RowsPart};
pub use keys::{CreatedKeyAnswer, KeyAnswer, KeyRequest, KeyState, KeysAnswer};
pub use problem::{Problem, ProblemCode};
pub use recounts::{
    DifferenceAnswer, NumbersAnswer, RecountAnswer, RecountRequest, RecountState,
    RecountedPartition, RecountsAnswer, RepairAnswer, RepairsAnswer,
};
pub use wire::{
    AcceptedAnswer, CountAnswer, CountsAnswer, DecimalNumber, Durability, ItemCount, RejectedEvent,
    StatsAnswer, StatsPoint, StatsSummary, TopAnswer, TopItem,
};
