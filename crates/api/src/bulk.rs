//! The bulk lane: files that are taken whole and counted later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a file is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// It is durable, and waits for its turn.
    Queued,
    /// Its events go to the log.
    Running,
    /// Every record of it is accepted or refused.
    Done,
    /// It cannot be read on; what came before is accepted or refused.
    Failed,
}

impl BulkState {
    /// Whether nothing comes after it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A file of the bulk lane.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BulkAnswer {
    /// Names content and options: the same file again has the same.
    pub id: String,
    /// How far it is.
    pub state: BulkState,
    /// When it was taken, RFC 3339.
    pub submitted: String,
    /// Its size as sent, in bytes.
    pub bytes: u64,
    /// How many of them are read.
    pub bytes_read: u64,
    /// Records that are settled.
    pub records: u64,
    /// Events among them that are durable, and counted once.
    pub accepted: u64,
    /// Records that were refused.
    pub rejected: u64,
    /// The refused ones by code, with the first lines of each.
    #[serde(default)]
    pub rejected_by_code: BTreeMap<String, BulkRejected>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Records that were refused with one code.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct BulkRejected {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<BulkRejectedLine>,
}

/// One refused record.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BulkRejectedLine {
    /// Line of the file, or row, from 1.
    pub line: u64,
    /// What was wrong.
    pub detail: String,
}

/// All files, oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct BulkListAnswer {
    /// The files.
    pub jobs: Vec<BulkAnswer>,
}
