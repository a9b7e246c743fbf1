//! What goes over the wire: the JSON of requests and answers, and the problem codes.
//!
//! Knows nothing of how counting works; a client needs only this crate (with the feature `client`):
//!
//! | to | use |
//! |---|---|
//! | report what happens in a program, without waiting | `client::tracker::Tracker` |
//! | send one request, or ask for counts | `client::Client` |
//! | repeat requests with your own loop | `client::retry`, `client::breaker`, `client::endpoints` |
//!
//! An event that a server accepted is durable and counted exactly once. An event that is sent again
//! with the same id within the dedup window (10 minutes by default), or with the same stamp
//! (`client::SourceStamp`) within 30 days, is not counted again. The tracker's page says what follows from
//! that for events on their way.

mod activity;
mod audits;
mod backups;
mod bulk;
mod counters;
mod dead_letters;
mod explain;
mod items;
mod keys;
mod log_level;
mod problem;
mod recounts;
mod routing;
mod wire;

#[cfg(feature = "client")]
pub mod client;

pub use activity::{ActivityAnswer, ActivitySample};
pub use audits::{AuditAnswer, AuditResult, AuditsAnswer};
pub use backups::{BackupAnswer, BackupRequest, BackupState, BackupsAnswer};
pub use bulk::{BulkAnswer, BulkListAnswer, BulkRejected, BulkRejectedLine, BulkState};
pub use counters::{AS_OF_HEADER, COLD_UNTIL_HEADER, CounterLine};
pub use dead_letters::{DeadLetterAnswer, DeadLettersAnswer, LetterState, ReplayedEvent};
pub use explain::{ColdPart, CorrectionPart, ExplainAnswer, MemoryPart, PartitionPart, RowsPart};
pub use items::{
    ChannelReportAnswer, ItemDetailsAnswer, ItemReportAnswer, LiveCount, TrendingAnswer,
    TrendingItem, TypeTotal, ViewsReport,
};
pub use keys::{CreatedKeyAnswer, KeyAnswer, KeyRequest, KeyState, KeysAnswer};
pub use log_level::LogLevel;
pub use problem::{Problem, ProblemCode};
pub use recounts::{
    DifferenceAnswer, NumbersAnswer, RecountAnswer, RecountRequest, RecountState,
    RecountedPartition, RecountsAnswer, RepairAnswer, RepairsAnswer,
};
pub use routing::{RoutingAnswer, RoutingRequest, RoutingRule, RoutingStrategy, RoutingVersion};
pub use wire::{
    AcceptedAnswer, CountAnswer, CountsAnswer, DecimalNumber, Durability, ItemCount, RejectedEvent,
    StatsAnswer, StatsPoint, StatsSummary, TopAnswer, TopItem,
};
