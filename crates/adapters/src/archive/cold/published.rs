//! The manifest as it is replaced: by the one server whose archive it is, or by any of the processors that share it.
//!
//! Who alone writes replaces the object `counters/manifest`. Processors that share an archive may each think that
//! it is their turn, one of them having stood still for an hour. So each manifest of theirs is an object of its
//! own, `counters/manifest-<generation>`, 20 digits, made only where there is none of that name: whoever worked from
//! an older one finds the next taken, and nothing that it wrote is ever named. The highest generation counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::ports::{ErrorKind, PortError};
use parking_lot::Mutex;

use super::super::objects::Objects;
use super::super::version;
use super::manifest::{self, Manifest};

/// Manifests before the newest that stay: who has just listed them reads one of them.
const GENERATIONS_KEPT: u64 = 16;
/// Looks for the newest manifest, each of which may find it replaced before it is read.
const LOOKS_MAX: u32 = 5;
/// For so long a process that only reads takes what it knows for the newest.
const KNOWN_FOR: Duration = Duration::from_secs(20);

/// Who writes to the archive, beside this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writers {
    /// Nobody.
    ThisAlone,
    /// This process and others; names that it makes are told from theirs by this number.
    Many(u64),
    /// Others only.
    Others,
}

/// The manifest, as it was last read or written.
pub(super) struct Published {
    writers: Writers,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    /// 0 for one that is replaced in its place.
    generation: u64,
    manifest: Arc<Manifest>,
    read: Instant,
}

impl Published {
    /// Nothing is read yet.
    pub(super) fn new(writers: Writers) -> Self {
        Self { writers, known: Mutex::new(None) }
    }

    pub(super) fn writers(&self) -> Writers {
        self.writers
    }

    /// Forgets what is known, so that it is read again.
    pub(super) fn forget(&self) {
        *self.known.lock() = None;
    }

    /// The newest manifest, as far as this process knows.
    pub(super) fn get(&self, objects: &Objects) -> Result<Arc<Manifest>, PortError> {
        let mut known = self.known.lock();
        let is_new =
            |known: &&Known| self.writers != Writers::Others || known.read.elapsed() < KNOWN_FOR;
        if let Some(known) = known.as_ref().filter(is_new) {
            return Ok(known.manifest.clone());
        }
        let (generation, manifest) = read_newest(objects)?;
        let manifest = Arc::new(manifest);
        *known = Some(Known { generation, manifest: manifest.clone(), read: Instant::now() });
        Ok(manifest)
    }

    /// Puts a manifest in the place of the one that [`Self::get`] gave last, durable when it returns.
    ///
    /// # Errors
    /// `Conflict` where somebody else has replaced that one: it is to be read again, and all that was concluded
    /// from it.
    pub(super) fn replace(&self, objects: &Objects, manifest: Manifest) -> Result<(), PortError> {
        let base = self.known.lock().as_ref().map(|known| known.generation);
        let generation = match (self.writers, base) {
            (Writers::ThisAlone, _) => {
                objects.put(manifest::NAME, manifest.write())?;
                0
            }
            (_, Some(base)) => {
                let generation = base + 1;
                let made = self.create(objects, generation, &manifest);
                if made.is_err() {
                    // It may have been written all the same, or by somebody else.
                    self.forget();
                }
                made?;
                generation
            }
            (_, None) => return Err(overtaken(objects, 0)),
        };
        let manifest = Arc::new(manifest);
        *self.known.lock() = Some(Known { generation, manifest, read: Instant::now() });
        Ok(())
    }

    fn create(
        &self,
        objects: &Objects,
        generation: u64,
        manifest: &Manifest,
    ) -> Result<(), PortError> {
        if !objects.create(&manifest::generation_name(generation), manifest.write())? {
            return Err(overtaken(objects, generation));
        }
        let all = generations(objects)?;
        // One that is far ahead may have removed what this number was once.
        if all.last().is_none_or(|newest| *newest != generation) {
            return Err(overtaken(objects, generation));
        }
        for old in all.into_iter().filter(|old| old + GENERATIONS_KEPT < generation) {
            objects.delete(&manifest::generation_name(old))?;
        }
        Ok(())
    }
}

fn overtaken(objects: &Objects, generation: u64) -> PortError {
    let context = format!(
        "another processor has written manifest {generation} of {}; going on from that one",
        objects.place()
    );
    PortError::new(ErrorKind::Conflict, context)
}

/// The generations that are there, in order.
fn generations(objects: &Objects) -> Result<Vec<u64>, PortError> {
    let found = objects.list(manifest::FOLDER)?;
    Ok(found.iter().filter_map(|object| manifest::generation_of(&object.name)).collect())
}

fn read_newest(objects: &Objects) -> Result<(u64, Manifest), PortError> {
    for _ in 0..LOOKS_MAX {
        let generation = generations(objects)?.last().copied().unwrap_or(0);
        let name = match generation {
            0 => manifest::NAME.to_owned(),
            _ => manifest::generation_name(generation),
        };
        match objects.get(&name)? {
            Some(bytes) => return Ok((generation, parse(objects, &name, &bytes)?)),
            None if generation == 0 => return Ok((0, Manifest::default())),
            // It is replaced and gone already.
            None => {}
        }
    }
    let context = format!("the manifest of {} does not stand still", objects.place());
    Err(PortError::new(ErrorKind::Unavailable, context))
}

fn parse(objects: &Objects, name: &str, bytes: &[u8]) -> Result<Manifest, PortError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    Manifest::read(text).ok_or_else(|| match Manifest::unknown_version(text) {
        Some(version) => {
            version::refused(&format!("{}/{name}", objects.place()), version, manifest::VERSION)
        }
        None => super::damaged(objects, name, "it is not what was written"),
    })
}
