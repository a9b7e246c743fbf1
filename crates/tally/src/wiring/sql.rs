//! The archive as SQL reads it.

use std::ops::Range;
use std::sync::Arc;

use adapters::archive::{Objects, Place};
use anyhow::{Context, ensure};
use batch::sql::ArchiveFiles;
use bytes::Bytes;

use super::ReadObjects;

/// The files of an archive that is there: a folder is never made.
///
/// # Errors
/// Where there is none, or it cannot be reached.
pub(crate) fn files(place: &str) -> anyhow::Result<Arc<dyn ArchiveFiles>> {
    let place: Place = place.parse().with_context(|| format!("--archive is `{place}`"))?;
    if let Place::Folder(path) = &place {
        ensure!(
            path.is_dir(),
            "there is no archive in {}: name it with --archive, or the server's data folder with \
             --data-dir; `tally config` shows it where the server runs",
            path.display()
        );
    }
    Ok(Arc::new(ReadObjects(Objects::open(&place)?)))
}

fn failed(error: engine::ports::PortError) -> batch::Error {
    batch::Error::Archive(Box::new(error))
}

impl ArchiveFiles for ReadObjects {
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, batch::Error> {
        let objects = self.0.list(folder).map_err(failed)?;
        Ok(objects.into_iter().map(|object| (object.name, object.bytes)).collect())
    }

    fn bytes_if_there(&self, name: &str) -> Result<Option<Bytes>, batch::Error> {
        self.0.get(name).map_err(failed)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, batch::Error> {
        self.0.size(name).map_err(failed)
    }

    fn range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, batch::Error> {
        self.0.get_range(name, range).map_err(failed)
    }
}
