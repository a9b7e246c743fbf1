//! Turns files into events of the contract and sends them: a reader per format, a plan that says
//! which field becomes which part of an event, and a sender that retries, resumes and never counts
//! twice.
//!
//! The readers know nothing of the network, the sender knows nothing of formats.

mod access_log;
mod csv;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(crate) mod ids;
pub(crate) mod lanes;
mod lines;
mod ndjson;
mod parquet;
mod plan;
mod reader;
mod report;
mod resume;
mod sender;
mod source;

pub(crate) use access_log::AccessLogRules;
pub(crate) use parquet::ReadAt;
pub(crate) use plan::Mapping;
pub(crate) use reader::{Format, ReadOptions, Reader};
pub(crate) use report::{FileReport, Progress, Refusals, RefusedCode};
pub(crate) use resume::{ResumeFile, state_dir};
pub(crate) use sender::{SendError, SendOptions, Sender};
pub(crate) use source::Source;
