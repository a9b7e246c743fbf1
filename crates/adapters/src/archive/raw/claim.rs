//! Whose archive it is: two servers that write to one would mix their offsets.
//!
//! ```text
//! object tally-archive: the owner's name, a random text of the data folder, and a line feed
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use engine::ports::{ErrorKind, PortError};

use super::super::objects::Objects;

/// The object that names the owner.
const NAME: &str = "tally-archive";

/// The claim of an owner, checked once.
pub(in crate::archive) struct Claim {
    owner: String,
    is_taken: AtomicBool,
}

impl Claim {
    pub(in crate::archive) fn new(owner: &str) -> Self {
        Self { owner: owner.into(), is_taken: AtomicBool::new(false) }
    }

    /// Names the owner in an archive that is nobody's.
    pub(in crate::archive) fn take(&self, objects: &Objects) -> Result<(), PortError> {
        if self.is_taken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ours = format!("{}\n", self.owner);
        if objects.get(NAME)?.is_none() {
            objects.create(NAME, ours.clone())?;
        }
        // Read again after writing: somebody else may have been first.
        match objects.get(NAME)? {
            Some(found) if found == ours.as_bytes() => {
                self.is_taken.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(found) => {
                let found = String::from_utf8_lossy(&found);
                let context = format!(
                    "the archive {} belongs to the data folder `{}`, this one is `{}`: give each \
                     its own place with --archive",
                    objects.place(),
                    found.trim_end(),
                    self.owner
                );
                Err(PortError::new(ErrorKind::Conflict, context))
            }
            None => {
                Err(objects.unavailable("claim", NAME, "it has gone as soon as it was written"))
            }
        }
    }
}
