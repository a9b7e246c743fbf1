//! What goes over the wire: the JSON of requests and answers, and the problem codes.
//!
//! Knows nothing of how counting works; a client needs only this crate (with the feature `client`).

mod problem;
mod wire;

#[cfg(feature = "client")]
pub mod client;

/// The Avro schema of an event (namespace `tally`, record `Event`), as JSON. A container file sent
/// to `POST /v1/events` may have any writer schema that resolves to it.
pub const EVENT_SCHEMA: &str = include_str!("event.avsc");

pub use problem::{Problem, ProblemCode};
pub use wire::{
    AcceptedAnswer, CountAnswer, CountsAnswer, DecimalNumber, Durability, ItemCount, RejectedEvent,
    StatsAnswer, StatsPoint, StatsSummary, TopAnswer, TopItem,
};
