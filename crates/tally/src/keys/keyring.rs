//! The keys of a running server: read by every request without a lock, swapped whole when the file
//! changes.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::ports::Clock;
use model::TimestampMs;
use parking_lot::Mutex;

use super::file::new_key;
use super::secret::id_of;
use super::{Draft, Key, KeyFile, KeyFileError, KeyId, Rates, Scopes, Secret};

/// How often it is looked whether the file has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whoever has shown a good key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: KeyId,
    pub(crate) scopes: Scopes,
    pub(crate) is_public: bool,
    pub(crate) rates: Rates,
    /// The server itself.
    pub(crate) is_internal: bool,
}

/// See the module.
pub(crate) struct Keyring {
    file: KeyFile,
    clock: Arc<dyn Clock>,
    /// From the first key on, for as long as the process lives.
    is_closed: AtomicBool,
    keys: ArcSwap<HashMap<KeyId, Key>>,
    /// What the file was when it was read last. Held while it is read.
    seen: Mutex<Option<Fingerprint>>,
    internal: Key,
    internal_secret: Secret,
}

/// Tells a file from the one that replaced it.
type Fingerprint = (u64, u64, i64, i64);

impl Keyring {
    /// With the keys of the file.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn open(file: KeyFile, clock: Arc<dyn Clock>) -> Result<Self, KeyFileError> {
        let scopes = Scopes::WRITE.and(Scopes::READ);
        let draft = Draft { name: "live audit".into(), scopes, ..Draft::default() };
        let (internal, internal_secret) = new_key(&draft, clock.now().wall);
        let keyring = Self {
            file,
            clock,
            is_closed: AtomicBool::new(false),
            keys: ArcSwap::default(),
            seen: Mutex::new(None),
            internal,
            internal_secret,
        };
        keyring.load()?;
        Ok(keyring)
    }

    /// Whether requests need a key.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The key of the server's own audit: made at the start, never stored.
    pub(crate) fn internal_secret(&self) -> &Secret {
        &self.internal_secret
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    fn now(&self) -> TimestampMs {
        self.clock.now().wall
    }

    /// Whose key this is; none for one that is unknown, wrong, revoked or expired, and no word on which
    /// of these.
    pub(crate) fn recognise(&self, text: &[u8]) -> Option<Caller> {
        let id = id_of(text)?;
        let keys = self.keys.load();
        let is_internal = id == self.internal.id;
        let found = if is_internal { Some(&self.internal) } else { keys.get(&id) };
        let Some(key) = found else {
            // An unknown id takes as long as a wrong secret.
            let _ = self.internal.hash.is_of(text);
            return None;
        };
        if !key.hash.is_of(text) || !key.is_active(self.now()) {
            return None;
        }
        Some(Caller {
            id,
            scopes: key.scopes,
            is_public: key.is_public,
            rates: key.rates,
            is_internal,
        })
    }

    /// All keys, oldest first, as they are shown.
    pub(crate) fn list(&self) -> Vec<api::KeyAnswer> {
        let now = self.now();
        let keys = self.keys.load();
        let mut keys: Vec<_> = keys.values().collect();
        keys.sort_by_key(|key| (key.created, key.id));
        keys.into_iter().map(|key| key.describe(now)).collect()
    }

    /// Makes a key and takes it from now on. Blocks.
    ///
    /// # Errors
    /// As [`KeyFile::create`].
    pub(crate) fn create(&self, draft: Draft) -> Result<(api::KeyAnswer, Secret), KeyFileError> {
        let (key, secret) = self.file.create(draft, self.now())?;
        self.load()?;
        Ok((key.describe(self.now()), secret))
    }

    /// Ends a key from now on; none where there is no such key. Blocks.
    ///
    /// # Errors
    /// As [`KeyFile::revoke`].
    pub(crate) fn revoke(&self, id: KeyId) -> Result<Option<api::KeyAnswer>, KeyFileError> {
        let revoked = self.file.revoke(id, self.now())?;
        self.load()?;
        Ok(revoked.map(|key| key.describe(self.now())))
    }

    /// Reads the file, and from now on goes by what it says. A file that has gone takes all keys with
    /// it and opens nothing.
    fn load(&self) -> Result<(), KeyFileError> {
        let mut seen = self.seen.lock();
        let fingerprint = fingerprint(self.file.path());
        let keys = self.file.read()?;
        let has_keys = !keys.is_empty();
        self.keys.store(Arc::new(keys.into_iter().map(|key| (key.id, key)).collect()));
        if has_keys {
            self.is_closed.store(true, Ordering::Release);
        }
        *seen = fingerprint;
        Ok(())
    }

    /// Reads the file again if it has changed. Blocks.
    pub(crate) fn reload_if_changed(&self) {
        let fingerprint = fingerprint(self.file.path());
        if *self.seen.lock() == fingerprint {
            return;
        }
        match self.load() {
            Ok(()) => {
                let keys = self.keys.load().len();
                tracing::info!(file = %self.path().display(), keys, "the keys were read again");
            }
            Err(error) => {
                // Told once for each state of the file; the keys from before stay.
                *self.seen.lock() = fingerprint;
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the keys cannot be read again; those from before hold");
            }
        }
    }

    /// Looks again and again whether the file has changed.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let keyring = self.clone();
            // One that panicked has said so.
            let _ = tokio::task::spawn_blocking(move || keyring.reload_if_changed()).await;
        }
    }
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.len(), data.ctime(), data.ctime_nsec()))
}
