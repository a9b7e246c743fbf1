//! What the engine needs from outside, as roles. Each is called once per batch, never per event.

mod archive;
mod clock;
mod cold;
mod counter_store;
mod error;
mod event_log;
mod item_details;
mod letter_state;
mod membership;
mod objects;
mod query_cache;
mod routing_store;

pub use archive::{RawArchive, RawEvent, RawFile, RawFill, RawHead, RawSink};
pub use clock::Clock;
pub use cold::{ColdCounters, ColdRow, ColdRows};
pub use counter_store::{
    Claim, CounterRow, CounterSnapshot, CounterStore, Flush, Folded, NamedRow, Repair, RepairNote,
    Repairs, Rows, StoredDeadLetter,
};
pub use error::{ErrorKind, PortError};
pub use event_log::{AppendPart, Appended, EventLog, LogBounds, PartResult};
pub use item_details::{DetailsChange, EachItem, ItemDetailsStore};
pub use letter_state::{LetterState, Replay};
pub use membership::{Membership, Owner};
pub use objects::{ObjectStore, ObjectUpload};
pub use query_cache::QueryCache;
pub use routing_store::{RoutingStore, next_table};
