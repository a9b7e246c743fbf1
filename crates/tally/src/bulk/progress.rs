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
    /// Where the log of each partition ended when this was stored: what is told here is below.
    #[serde(default)]
    pub(crate) log_ends: Vec<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        let report = FileReport::default();
        let (bytes_read, detail, log_ends) = (0, None, Vec::new());
        Self { state: BulkState::Queued, report, bytes_read, detail, log_ends }
    }
}

fn name(id: BulkId) -> String {
    format!("bulk/{id}/progress.json")
}

impl Progress {
    /// What was stored. None, or one that cannot be understood, is the beginning; so is one that
    /// knows of more than the log had when the process started: the log is one of a backup.
    pub(super) fn load(
        objects: &dyn ObjectStore,
        id: BulkId,
        log_ends: &[u64],
    ) -> Result<Self, PortError> {
        let stored = objects.get(&name(id))?;
        let stored: Option<Self> = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(stored.filter(|stored| !stored.is_ahead_of(log_ends)).unwrap_or_default())
    }

    fn is_ahead_of(&self, log_ends: &[u64]) -> bool {
        self.log_ends.iter().zip(log_ends).any(|(noted, end)| noted > end)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_that_is_ahead_of_the_log_is_not_believed() {
        let progress = Progress { log_ends: vec![5, 9], ..Progress::default() };
        assert!(!progress.is_ahead_of(&[5, 9]) && !progress.is_ahead_of(&[6, 10]));
        assert!(progress.is_ahead_of(&[5, 8]) && progress.is_ahead_of(&[4, 20]));
        let text = serde_json::to_string(&progress).expect("plain data is JSON");
        assert_eq!(serde_json::from_str::<Progress>(&text).expect("it is read"), progress);
    }
}
