//! Remembers how far a file was sent, so that the same command after a failure goes on there.
//!
//! One small JSON file per content, server and options, replaced atomically, removed when all is
//! sent. It may lag behind what the server has: what is sent again has the same ids and is not
//! counted again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::ids;
use super::report::Progress;

/// A crash of this program costs at most this much to send again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
struct Saved {
    version: u32,
    /// For people who look inside.
    file: String,
    progress: Progress,
}

/// The progress of one file.
#[derive(Debug)]
pub(crate) struct ResumeFile {
    path: PathBuf,
    file: String,
    saved_at: Option<Instant>,
}

impl ResumeFile {
    /// For this content sent with these options. Anything that changes events or where they go
    /// belongs into `options`.
    pub(crate) fn new(folder: &Path, file: &str, identity: u128, options: &str) -> Self {
        let identity = identity.to_be_bytes();
        let key = ids::digest([identity.as_slice(), options.as_bytes()]).as_u128();
        let path = folder.join(format!("send-{key:032x}.json"));
        Self { path, file: file.to_owned(), saved_at: None }
    }

    /// What was settled before, if anything. A file that cannot be understood is as none.
    pub(crate) fn load(&self) -> Option<Progress> {
        read(&std::fs::read(&self.path).ok()?)
    }

    /// Saves now and then.
    pub(super) fn update(&mut self, progress: &Progress) -> anyhow::Result<()> {
        if self.saved_at.is_some_and(|at| at.elapsed() < SAVE_INTERVAL) {
            return Ok(());
        }
        self.save(progress)
    }

    /// Saves.
    pub(super) fn save(&mut self, progress: &Progress) -> anyhow::Result<()> {
        let json = write(&self.file, progress).context("progress is always JSON")?;
        replace(&self.path, &json)
            .with_context(|| format!("cannot write the progress file {}", self.path.display()))?;
        self.saved_at = Some(Instant::now());
        Ok(())
    }

    /// Forgets: everything is sent.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| {
                    format!("cannot remove the progress file {}", self.path.display())
                })
            }
            _ => Ok(()),
        }
    }
}

/// The progress in a file's bytes; none where they cannot be understood.
pub(super) fn read(bytes: &[u8]) -> Option<Progress> {
    let saved: Saved = serde_json::from_slice(bytes).ok()?;
    (saved.version == VERSION && saved.progress.adds_up()).then_some(saved.progress)
}

pub(super) fn write(file: &str, progress: &Progress) -> serde_json::Result<Vec<u8>> {
    let progress = progress.clone();
    serde_json::to_vec(&Saved { version: VERSION, file: file.to_owned(), progress })
}

/// Writes beside, then renames: a reader sees the old or the new content, never a part.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// `$XDG_STATE_HOME/tally`, or `~/.local/state/tally`; none without a home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("tally"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{FileReport, Piece};
    use super::*;

    #[test]
    fn progress_survives_and_belongs_to_content_and_options() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("state");
        let mut resume = ResumeFile::new(&folder, "a.csv", 7, "x");
        assert_eq!(resume.load(), None);
        let mut done = FileReport { records: 10, line: 12, accepted: 9, ..Default::default() };
        done.refused.add("invalid_item", 3, "empty".into());
        let ahead = vec![Piece { first_record: 20, report: FileReport::default() }];
        let progress = Progress { done, ahead };
        resume.save(&progress).expect("a writable folder");
        assert_eq!(ResumeFile::new(&folder, "b.csv", 7, "x").load(), Some(progress));
        assert_eq!(ResumeFile::new(&folder, "a.csv", 8, "x").load(), None);
        assert_eq!(ResumeFile::new(&folder, "a.csv", 7, "y").load(), None);

        // Numbers that cannot be are as no numbers.
        let record = FileReport { records: 1, ..Default::default() };
        let ahead = vec![Piece { first_record: u64::MAX, report: record }];
        resume.save(&Progress { done: FileReport::default(), ahead }).expect("a writable folder");
        assert_eq!(resume.load(), None);

        std::fs::write(&resume.path, b"{\"version\":1,").expect("a writable folder");
        assert_eq!(resume.load(), None);
        resume.remove().expect("there is one");
        resume.remove().expect("none is fine");
    }
}
