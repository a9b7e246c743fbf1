//! The load generator: made-up events, cheap enough to share a machine with the server under test,
//! sent open or closed loop, with latencies, an exactness check and probes beside it.

mod connection;
mod encode;
mod generator;
mod probe;
mod profile;
mod report;
mod run;
mod timeline;
mod verify;
mod zipf;

pub(crate) use encode::{BodyFormat, Encoder};
pub(crate) use generator::{
    EVENT_TYPES, Generator, GeneratorOptions, MadeEvent, Tracked, event_id, item_name, item_text,
};
pub(crate) use profile::{Profile, ProfileReport, StepReport, page, run as run_profile};
pub(crate) use run::{LoadOptions, run};
pub(crate) use zipf::{Random, Zipf};
