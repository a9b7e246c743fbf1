//! What audits found: kept in memory and in a small file, told over HTTP and as metrics.
//!
//! Whoever audits adds an [`AuditAnswer`] with a kind of its own; the file, the metrics and
//! `tally audit` take it from there.

mod live;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::{AuditAnswer, AuditResult, AuditsAnswer};
use parking_lot::Mutex;

pub(crate) use self::live::LiveAudit;

/// So many of a kind are remembered: an hour of live audits.
const REMEMBERED: usize = 60;
/// A larger file is none of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;
const FILE: &str = "audits.json";

/// What all audits found.
pub(crate) struct Audits {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Newest first.
    recent: VecDeque<AuditAnswer>,
    kinds: BTreeMap<String, Figures>,
}

/// What metrics say of a kind of audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Events too few or too many at the last audit that found anything out.
    pub(crate) drift: u64,
    /// Audits since the start, by result.
    pub(crate) runs: BTreeMap<&'static str, u64>,
}

impl Audits {
    /// With what the file in the data folder remembers. It is a help for people: one that cannot be
    /// read is told and begun anew.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let recent = read(&path).unwrap_or_else(|error| {
            tracing::warn!(file = %path.display(), %error, "earlier audits cannot be read");
            VecDeque::new()
        });
        let mut kinds: BTreeMap<String, Figures> = BTreeMap::new();
        for audit in recent.iter().rev().filter(|audit| audit.result != AuditResult::Failed) {
            kinds.entry(audit.kind.clone()).or_default().drift = audit.drift;
        }
        Self { path, state: Mutex::new(State { recent, kinds }) }
    }

    /// Takes what an audit found, and says it aloud where that is not what was expected. Blocks while
    /// the file is written.
    pub(crate) fn add(&self, audit: AuditAnswer) {
        let AuditAnswer { kind, expected, found, drift, detail, .. } = &audit;
        match audit.result {
            AuditResult::Equal => tracing::debug!(%kind, expected, "an audit found what it should"),
            AuditResult::Different => {
                tracing::error!(%kind, expected, found, drift, %detail, "an audit found a difference");
            }
            AuditResult::Failed => {
                tracing::error!(%kind, expected, found, %detail, "an audit could not be made");
            }
        }
        let mut state = self.state.lock();
        let figures = state.kinds.entry(audit.kind.clone()).or_default();
        *figures.runs.entry(audit.result.as_str()).or_default() += 1;
        // What is not known to be well is not well either.
        if audit.result != AuditResult::Failed || audit.drift > 0 {
            figures.drift = audit.drift;
        }
        let kind = audit.kind.clone();
        state.recent.push_front(audit);
        let mut of_kind = 0;
        state.recent.retain(|other| {
            of_kind += usize::from(other.kind == kind);
            other.kind != kind || of_kind <= REMEMBERED
        });
        if let Err(error) = store(&self.path, &state.recent) {
            tracing::warn!(file = %self.path.display(), %error, "audits cannot be remembered");
        }
    }

    /// What was found, newest first; only of one kind where one is given.
    pub(crate) fn recent(&self, kind: Option<&str>, limit: usize) -> Vec<AuditAnswer> {
        let state = self.state.lock();
        let wanted = state.recent.iter().filter(|audit| kind.is_none_or(|kind| audit.kind == kind));
        wanted.take(limit).cloned().collect()
    }

    /// What metrics say of each kind.
    pub(crate) fn figures(&self) -> Vec<(String, Figures)> {
        self.state.lock().kinds.iter().map(|(kind, of)| (kind.clone(), of.clone())).collect()
    }
}

fn read(path: &Path) -> io::Result<VecDeque<AuditAnswer>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("it is too large"));
    }
    let known: AuditsAnswer = serde_json::from_reader(io::BufReader::new(file))?;
    Ok(known.audits.into())
}

/// Replaces the file at once, so that a crash leaves the one or the other. Not synced: losing the last
/// minutes of it in a power failure costs nothing.
fn store(path: &Path, recent: &VecDeque<AuditAnswer>) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let audits = AuditsAnswer { audits: recent.iter().cloned().collect() };
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(&audits)?)?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(kind: &str, expected: u64, found: u64) -> AuditAnswer {
        let drift = expected.abs_diff(found);
        let result = if drift == 0 { AuditResult::Equal } else { AuditResult::Different };
        AuditAnswer {
            kind: kind.into(),
            time: "2026-11-21T10:00:00Z".into(),
            result,
            expected,
            found,
            drift,
            duration_ms: 3,
            detail: String::new(),
        }
    }

    #[test]
    fn the_last_of_each_kind_is_remembered_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let audits = Audits::open(dir.path());
        assert_eq!((audits.recent(None, 9), audits.figures()), (vec![], vec![]));
        audits.add(audit("recount", 10, 7));
        (0..2 * REMEMBERED as u64).for_each(|n| audits.add(audit("live", n, n)));
        audits.add(audit("live", 5, 7));
        let failed = AuditAnswer { result: AuditResult::Failed, ..audit("recount", 0, 0) };
        audits.add(failed.clone());
        let figures = audits.figures();
        let drifts: Vec<_> = figures.iter().map(|(kind, of)| (kind.as_str(), of.drift)).collect();
        assert_eq!(drifts, [("live", 2), ("recount", 3)], "a failure makes nothing well");
        assert_eq!(figures[0].1.runs[&"equal"], 2 * REMEMBERED as u64);
        assert_eq!(figures[1].1.runs[&"failed"], 1);
        let recent = audits.recent(None, usize::MAX);
        assert_eq!(recent.len(), REMEMBERED + 2);
        assert_eq!(recent[0], failed);
        drop(audits);
        let again = Audits::open(dir.path());
        assert_eq!(again.recent(None, usize::MAX), recent);
        assert_eq!(again.recent(Some("recount"), 1), [failed]);
        let drifts: Vec<_> =
            again.figures().into_iter().map(|(kind, of)| (kind, of.drift)).collect();
        assert_eq!(drifts, [("live".to_owned(), 2), ("recount".to_owned(), 3)]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"{\"audits\":[{\"kind\"").unwrap();
        let audits = Audits::open(dir.path());
        assert!(audits.recent(None, 9).is_empty());
        audits.add(audit("live", 1, 1));
        assert_eq!(Audits::open(dir.path()).recent(None, 9).len(), 1);
    }
}
