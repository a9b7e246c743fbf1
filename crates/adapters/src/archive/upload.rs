//! An object that is written bit by bit: memory holds a part of it, and nobody sees it before it
//! is whole.

use std::io::{self, Write};

use engine::ports::PortError;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode};

use super::objects::Objects;

/// Bytes of a part: S3 takes 10,000 of them, of at least 5 MiB each but for the last.
pub(super) const PART_BYTES: usize = 8 << 20;

/// An object that is being written. One that is dropped, or not finished because the process was
/// killed, never appears.
pub struct Upload {
    objects: Objects,
    name: String,
    part: Vec<u8>,
    /// Begun when the first part is full: a smaller object is put at once.
    parts: Option<Box<dyn MultipartUpload>>,
    /// Why a part could not be written: the object can never become whole then.
    failed: bool,
}

impl Upload {
    pub(super) fn new(objects: Objects, name: &str) -> Self {
        Self { objects, name: name.into(), part: Vec::new(), parts: None, failed: false }
    }

    /// Makes the object visible and durable, in place of one that is there.
    pub fn finish(mut self) -> Result<(), PortError> {
        if self.failed {
            return Err(self.objects.unavailable("write", &self.name, "a part before it failed"));
        }
        if self.parts.is_none() {
            let part = std::mem::take(&mut self.part);
            return self.objects.put_as(&self.name, part.into(), PutMode::Overwrite).map(drop);
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        let objects = self.objects.clone();
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        match objects.wait(parts.complete()) {
            Ok(_) => objects.sync_folders(&self.name),
            Err(error) => {
                // The first error is the one to tell.
                let _ = objects.wait(parts.abort());
                Err(objects.failure("finish", &self.name, error))
            }
        }
    }

    /// Lets go of the object and of what was written of it.
    pub fn abort(self) {}

    fn send_part(&mut self) -> Result<(), PortError> {
        let objects = self.objects.clone();
        let location = objects.location(&self.name)?;
        let part = std::mem::take(&mut self.part);
        let sent = objects.wait(async {
            let parts = match &mut self.parts {
                Some(parts) => parts,
                none => none.insert(objects.store().put_multipart(&location).await?),
            };
            parts.put_part(part.into()).await
        });
        self.failed |= sent.is_err();
        sent.map_err(|error| objects.failure("write", &self.name, error))
    }
}

impl Write for Upload {
    /// # Errors
    /// A [`PortError`], as the source of the other kind of error; the object is lost then.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("a part before it failed"));
        }
        if self.part.capacity() < PART_BYTES && self.part.len() + bytes.len() > self.part.capacity()
        {
            // Doubling, but never beyond a part.
            let wanted = (self.part.len() + bytes.len()).max(2 * self.part.capacity());
            let wanted = wanted.min(PART_BYTES);
            self.part.reserve_exact(wanted - self.part.len());
        }
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART_BYTES {
            self.send_part().map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // What cannot be removed is not visible either.
            let _ = self.objects.wait(parts.abort());
        }
    }
}
