//! Object storage, for what is too large for the log.

use std::io::Write;
use std::ops::Range;

use bytes::Bytes;

use super::error::PortError;

/// Objects under names of parts joined by `/`.
///
/// - **Atomicity and durability.** An object is whole and durable when the call that wrote it
///   returns, or not there.
/// - **Failure.** After `Unavailable` a call may be repeated.
/// - **Threads.** Calls block, and must not come from the threads of an async runtime.
pub trait ObjectStore: Send + Sync {
    /// Begins an object that is too large for memory; nobody sees it before it is finished.
    fn upload(&self, name: &str) -> Result<Box<dyn ObjectUpload>, PortError>;

    /// Puts an object, in place of one that is there.
    fn put(&self, name: &str, bytes: Bytes) -> Result<(), PortError>;

    /// All of an object; none where it is not there.
    fn get(&self, name: &str) -> Result<Option<Bytes>, PortError>;

    /// Bytes of an object; none where it is not there, `Corrupt` where it ends before the range.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, PortError>;

    /// Names of all objects below a folder.
    fn list(&self, folder: &str) -> Result<Vec<String>, PortError>;

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> Result<(), PortError>;

    /// Refuses with `Unavailable` where fewer than so many bytes are free.
    fn check_room(&self, bytes: u64) -> Result<(), PortError>;
}

/// An object that is being written; dropped before it is finished, it never appears.
pub trait ObjectUpload: Write + Send {
    /// Makes it visible and durable.
    fn finish(self: Box<Self>) -> Result<(), PortError>;
}
