//! How far a file is: an object of its own beside the file, replaced now and then. It may lag
//! behind, and may be lost: then the file is read again from its front, and nothing counts twice.

use api::{BulkAnswer, BulkRejected, BulkRejectedLine, BulkState};
use engine::ports::{ObjectStore, PortError};
use model::{BulkEntry, BulkId};
use serde::{Deserialize, Serialize};

use crate::import::FileReport;

/// See the module.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    pub(crate) state: BulkState,
    /// What became of the records up to some place.
    pub(crate) report: FileReport,
    pub(crate) bytes_read: u64,
    /// Why it failed.
    pub(crate) detail: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        let report = FileReport::default();
        Self { state: BulkState::Queued, report, bytes_read: 0, detail: None }
    }
}

fn name(id: BulkId) -> String {
    format!("bulk/{id}/progress.json")
}

impl Progress {
    /// What was stored; none, or one that cannot be understood, is the beginning.
    pub(super) fn load(objects: &dyn ObjectStore, id: BulkId) -> Result<Self, PortError> {
        let stored = objects.get(&name(id))?;
        Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    pub(super) fn save(&self, objects: &dyn ObjectStore, id: BulkId) -> Result<(), PortError> {
        let bytes = serde_json::to_vec(self).expect("plain data is JSON");
        objects.put(&name(id), bytes.into())
    }

    /// What people are told.
    pub(super) fn answer(&self, entry: &BulkEntry) -> BulkAnswer {
        let lines = |refused: &crate::import::RefusedCode| BulkRejected {
            count: refused.count,
            examples: refused
                .examples
                .iter()
                .map(|example| BulkRejectedLine {
                    line: example.line,
                    detail: example.detail.clone(),
                })
                .collect(),
        };
        let refused = &self.report.refused;
        BulkAnswer {
            id: entry.object.id.to_string(),
            state: self.state,
            submitted: entry.append_time.to_string(),
            bytes: entry.object.bytes,
            bytes_read: self.bytes_read,
            records: self.report.records,
            accepted: self.report.accepted,
            rejected: refused.total(),
            rejected_by_code: refused
                .iter()
                .map(|(code, refused)| (code.to_owned(), lines(refused)))
                .collect(),
            detail: self.detail.clone(),
        }
    }
}
