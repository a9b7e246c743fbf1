//! Backups of a data folder on embedded storage, of a server that runs and of one that does not.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapters::embedded::backup::{self, Manifest, Progress, Source};
use adapters::embedded::details::EmbeddedDetails;
use adapters::embedded::disk::RealDisk;
use adapters::embedded::log::{EmbeddedLog, stored_partitions};
use adapters::embedded::store::EmbeddedStore;
use anyhow::ensure;
use engine::ports::{Clock, ErrorKind, PortError};

use super::{FolderLock, SystemClock, open_details, open_embedded_store, open_log};
use crate::backups::{BackupSource, Heard};
use crate::config::Resolved;

/// The storage of a running server.
pub(super) struct Embedded {
    store: Arc<EmbeddedStore>,
    log: Arc<EmbeddedLog>,
    details: Arc<EmbeddedDetails>,
    data_dir: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Embedded {
    pub(super) fn new(
        store: &Arc<EmbeddedStore>,
        log: &Arc<EmbeddedLog>,
        details: &Arc<EmbeddedDetails>,
        data_dir: &Path,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (store, log, details) = (store.clone(), log.clone(), details.clone());
        Self { store, log, details, data_dir: data_dir.to_owned(), clock: clock.clone() }
    }

    fn manifest(&self, folder: &Path, heard: &mut Heard<'_>) -> Result<Manifest, PortError> {
        let Self { store, log, details, data_dir, clock } = self;
        let source = Source { store, log, details, data_dir, clock: &**clock };
        backup::backup(&source, folder, &mut told(heard))
    }
}

impl BackupSource for Embedded {
    fn prepare(&self, folder: &Path) -> Result<(), PortError> {
        refuse_inside(folder, &self.data_dir)?;
        backup::make_folder(folder)
    }

    fn take(&self, folder: &Path, heard: &mut Heard<'_>) -> Result<(), PortError> {
        self.manifest(folder, heard).map(drop)
    }
}

/// What writes backups of a running server. Where counters are in a cluster nothing does: a backup is of one
/// moment, and the cluster has its own.
pub(super) fn source(
    store: Option<&Arc<EmbeddedStore>>,
    log: &Arc<EmbeddedLog>,
    details: &Arc<EmbeddedDetails>,
    data_dir: &Path,
    clock: &Arc<dyn Clock>,
) -> Box<dyn BackupSource> {
    match store {
        Some(store) => Box::new(Embedded::new(store, log, details, data_dir, clock)),
        None => Box::new(Elsewhere::Counters),
    }
}

/// A server with a part of its data elsewhere: its data folder alone is no backup.
pub(super) enum Elsewhere {
    Counters,
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "no log is elsewhere"))]
    Log,
}

impl BackupSource for Elsewhere {
    fn prepare(&self, _: &Path) -> Result<(), PortError> {
        let context = match self {
            Self::Counters => {
                "the counters are in a cluster: back it up with its own tools, and the data folder \
                 after it, while the server is stopped"
            }
            Self::Log => {
                "the log of this server lies elsewhere and is kept there: a backup of the data \
                 folder would not hold what was acknowledged"
            }
        };
        Err(PortError::new(ErrorKind::Invalid, context))
    }

    fn take(&self, folder: &Path, _: &mut Heard<'_>) -> Result<(), PortError> {
        self.prepare(folder)
    }
}

/// Writes a backup of a data folder that no server runs on. The log is opened as a start does it: what
/// a crash left is repaired first.
///
/// # Errors
/// When the folder is in use, holds no data, or is damaged, or when the backup cannot be written.
pub(crate) fn of_stopped(
    settings: &Resolved,
    folder: &Path,
    heard: &mut Heard<'_>,
) -> anyhow::Result<Manifest> {
    let dir = &settings.data_dir;
    ensure!(
        stored_partitions(&RealDisk, &dir.join("log"))?.is_some(),
        "{} holds no log: name the folder that the server was started with",
        dir.display()
    );
    let _lock = FolderLock::take(dir)?;
    refuse_inside(folder, dir)?;
    backup::make_folder(folder)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    ensure!(
        settings.store.is_none(),
        "the counters are not in {}, but in a cluster: back it up with its own tools, and the data \
         folder after it",
        dir.display()
    );
    let store = open_embedded_store(dir)?;
    let log = open_log(settings, &clock, &*store)?;
    let details = open_details(dir)?;
    Ok(Embedded::new(&store, &log, &details, dir, &clock).manifest(folder, heard)?)
}

/// Makes a data folder of a backup.
///
/// # Errors
/// When it is no backup or damaged, or when the data folder is not empty or cannot be written.
pub(crate) fn restore(
    folder: &Path,
    data_dir: &Path,
    heard: &mut Heard<'_>,
) -> Result<Manifest, PortError> {
    backup::restore(folder, data_dir, &mut told(heard))
}

fn told(heard: &mut Heard<'_>) -> impl FnMut(Progress) -> ControlFlow<()> {
    |progress| heard(progress.done, progress.total)
}

/// A backup within the data folder would be a part of what it copies, and go with it.
fn refuse_inside(folder: &Path, data_dir: &Path) -> Result<(), PortError> {
    let absolute = |path: &Path| {
        // What is not there yet lies in what is.
        let there = path.ancestors().find_map(|above| {
            Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?.to_owned()))
        });
        there.map_or_else(|| path.to_owned(), |(above, below)| above.join(below))
    };
    let full = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if !absolute(&full).starts_with(absolute(data_dir)) {
        return Ok(());
    }
    let context = format!(
        "{} lies in the data folder {}: name a folder outside of it",
        folder.display(),
        data_dir.display()
    );
    Err(PortError::new(ErrorKind::Invalid, context))
}
