//! Audits on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/admin/audits`: what audits found, newest first, at most 60 of a kind.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct AuditsAnswer {
    /// The audits.
    pub audits: Vec<AuditAnswer>,
}

/// How an audit ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// What was found is what was expected.
    Equal,
    /// It is not.
    Different,
    /// It could not be found out.
    Failed,
}

impl AuditResult {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Failed => "failed",
        }
    }
}

/// One audit.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct AuditAnswer {
    /// What was done: `live` sends marked events and asks for them, `recount` counts raw events again.
    pub kind: String,
    /// When it was begun.
    pub time: String,
    /// How it ended.
    pub result: AuditResult,
    /// Events that were to be counted.
    pub expected: u64,
    /// Events that were counted.
    pub found: u64,
    /// Events too few and too many, over all counters: those of one do not make up for another.
    pub drift: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What differs, or why it failed; empty where all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
