//! Nouns and rules of counting.
//!
//! Everything here is synchronous and pure: it knows nothing of files, sockets, clocks or chance.
//! What a counter must be, given a log, is decided here and nowhere else.

pub mod aggregate;
pub mod append_time;
pub mod bucket;
pub mod bulk;
pub mod checkpoint;
pub mod control;
pub mod correction;
pub mod counter;
pub mod dedup;
pub mod details;
pub mod event;
pub mod horizon;
pub mod hot;
pub mod limits;
pub mod partition;
pub mod record;
pub mod recover;
pub mod refused;
pub mod route;
pub mod slot;
pub mod source;
pub mod summary;
pub mod value;

pub use bucket::{Day, Granularity, Hour, Minute, TimeRange, TimestampMs};
pub use bulk::{BulkEntry, BulkId, BulkObject};
pub use checkpoint::Checkpoint;
pub use correction::{Correction, Corrections, HourCell};
pub use counter::{Cell, RowKey, Stamp, StoredRow};
pub use details::{DetailsViolation, ItemDetails};
pub use event::{Event, Violation};
pub use horizon::{Horizons, Retention};
pub use partition::{Offset, PartitionId};
pub use record::{Batch, DeadLetter, RecordBuf};
pub use refused::{Refused, RefusedRanges};
pub use route::{
    RoutingChange, RoutingError, RoutingTable, RoutingVersion, Rule, Strategy, Subject,
};
pub use slot::{Slot, SlotPlace};
pub use source::{SourceMark, SourceState};
pub use summary::Summary;
pub use value::Value;
