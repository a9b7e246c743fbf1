//! Objects as the engine's port.

use std::ops::Range;

use bytes::Bytes;
use engine::ports::{ObjectStore, ObjectUpload, PortError};

use super::objects::Objects;
use super::upload::Upload;

impl ObjectStore for Objects {
    fn upload(&self, name: &str) -> Result<Box<dyn ObjectUpload>, PortError> {
        Ok(Box::new(Objects::upload(self, name)?))
    }

    fn put(&self, name: &str, bytes: Bytes) -> Result<(), PortError> {
        Objects::put(self, name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        Objects::get(self, name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, PortError> {
        Objects::get_range(self, name, range)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, PortError> {
        Ok(Objects::list(self, folder)?.into_iter().map(|object| object.name).collect())
    }

    fn delete(&self, name: &str) -> Result<(), PortError> {
        Objects::delete(self, name)
    }

    fn check_room(&self, bytes: u64) -> Result<(), PortError> {
        Objects::check_room(self, bytes)
    }
}

impl ObjectUpload for Upload {
    fn finish(self: Box<Self>) -> Result<(), PortError> {
        Upload::finish(*self)
    }
}
