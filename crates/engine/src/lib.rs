//! The loops of counting, over ports: gateway, processor, query.
//!
//! Knows nothing of sockets, files or vendors; every outside thing is one of the traits in
//! [`ports`].

pub mod admission;
pub mod answers;
pub mod archiver;
mod background;
pub mod cold;
pub mod dead_letters;
pub mod durations;
pub mod gateway;
pub mod growing;
pub mod ports;
pub mod processor;
pub mod query;
pub mod routing;
pub mod sources;
pub mod spreader;

#[cfg(feature = "conformance")]
pub mod conformance;
