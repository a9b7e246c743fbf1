//! Backups on the wire.

use serde::{Deserialize, Serialize};

/// The body of `POST /v1/admin/backups`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Where the backup goes: the absolute path of a folder of the server's machine, which is empty
    /// or not there yet.
    pub folder: String,
}

/// `GET /v1/admin/backups`: the backups since the server started, at most 16, newest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct BackupsAnswer {
    /// The backups.
    pub backups: Vec<BackupAnswer>,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// It is being written; the folder is no backup yet.
    Running,
    /// It is whole and durable.
    Done,
    /// It was not written; the folder is no backup.
    Failed,
}

/// One backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BackupAnswer {
    /// Where it goes.
    pub folder: String,
    /// How far it is.
    pub state: BackupState,
    /// When it was begun: every event acknowledged before is in it.
    pub started: String,
    /// When it was done or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Bytes that are done.
    pub bytes_done: u64,
    /// Bytes in all, an estimate while it runs.
    pub bytes_total: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
