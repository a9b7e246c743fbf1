//! A cache of answers: bytes under keys, which may be gone at any time.

use bytes::Bytes;

use super::error::PortError;

/// Keeps answers for a while. Which answers may be given again, and for how long, is decided by
/// [`crate::answers`]; this only remembers.
///
/// - **Loss.** Anything may be forgotten at any time; nothing but time is lost with it.
/// - **Freshness.** `get` gives what was last put under exactly this key, or nothing; never what has
///   outlived its life.
/// - **Bounds.** It takes no more memory than it was given, and forgets what was asked for least
///   recently.
/// - **Failure.** A failed `get` or `put` is as good as a miss: the caller makes the answer.
pub trait QueryCache: Send + Sync {
    /// What is under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, PortError>;

    /// Remembers an answer for so many milliseconds.
    fn put(&self, key: &[u8], answer: Bytes, life_ms: u64) -> Result<(), PortError>;
}
