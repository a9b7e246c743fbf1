//! The file of keys: JSON, replaced whole. Commands and the server may write it at the same time: each
//! holds a lock while it reads, changes and replaces it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::TimestampMs;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::secret::SecretHash;
use super::{Key, KeyId, Rates, Scopes, Secret};

/// The version of the file that is written.
const VERSION: u32 = 1;
/// A larger file is none of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most keys in a file, revoked ones included.
const KEYS_MAX: usize = 10_000;
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Greatest rate that can be given to a key, a second.
pub(crate) const RATE_MAX: u64 = 1_000_000_000;

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The file cannot be read or written.
    #[error("the keys file {} cannot be {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file says something that keys do not.
    #[error("the keys file {} is damaged: {what}; put back a good copy of it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// A later program wrote the file.
    #[error(
        "the keys file {} has version {version}, this program knows only {VERSION}: use the program \
         that wrote it, or a newer one",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
    /// The key that is wanted cannot be.
    #[error("{0}")]
    Invalid(String),
}

/// A key that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    pub(crate) is_public: bool,
    pub(crate) expires: Option<TimestampMs>,
    pub(crate) rates: Rates,
}

impl Draft {
    fn check(&self, now: TimestampMs) -> Result<(), KeyFileError> {
        let refuse = |what: &str| Err(KeyFileError::Invalid(what.to_owned()));
        if self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            return refuse("a key's name has at most 256 bytes, and no control characters");
        }
        if self.scopes.is_empty() {
            return refuse("a key needs a scope: write, read or admin");
        }
        if self.is_public && self.scopes != Scopes::WRITE {
            return refuse("a public key may only write: everybody can read it in the page");
        }
        if self.expires.is_some_and(|expires| expires <= now) {
            return refuse("the time at which the key expires is over already");
        }
        let rates = [self.rates.events, self.rates.requests];
        if rates.into_iter().flatten().any(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return refuse("a rate is a whole number from 1 to 1000000000 a second");
        }
        Ok(())
    }
}

/// Where keys are kept.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    version: u32,
    keys: Vec<StoredKey>,
}

#[derive(Deserialize, Serialize)]
struct StoredKey {
    id: String,
    name: String,
    hash: String,
    scopes: Vec<String>,
    public: bool,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
    rate_limit_events: Option<u64>,
    rate_limit_requests: Option<u64>,
}

impl StoredKey {
    fn of(key: &Key) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            hash: key.hash.to_text(),
            scopes: key.scopes.names(),
            public: key.is_public,
            created: key.created.to_string(),
            expires: key.expires.map(|time| time.to_string()),
            revoked: key.revoked.map(|time| time.to_string()),
            rate_limit_events: key.rates.events,
            rate_limit_requests: key.rates.requests,
        }
    }

    fn read(self) -> Result<Key, String> {
        let time = |text: &str| TimestampMs::parse(text).map_err(|error| error.to_string());
        let scopes = Scopes::parse(self.scopes.iter().map(String::as_str))?;
        if self.public && scopes != Scopes::WRITE {
            return Err("a public key may do more than write".into());
        }
        Ok(Key {
            id: self.id.parse()?,
            name: self.name,
            hash: SecretHash::parse(&self.hash).ok_or("a hash is not of sha256")?,
            scopes,
            is_public: self.public,
            created: time(&self.created)?,
            expires: self.expires.as_deref().map(time).transpose()?,
            revoked: self.revoked.as_deref().map(time).transpose()?,
            rates: Rates { events: self.rate_limit_events, requests: self.rate_limit_requests },
        })
    }
}

impl KeyFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The keys; none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged: a key that cannot be read must not open or close
    /// anything by being left out.
    pub(crate) fn read(&self) -> Result<Vec<Key>, KeyFileError> {
        let failed = |source| self.failed("read", source);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        let damaged = |what: String| KeyFileError::Damaged { path: self.path.clone(), what };
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(damaged("it is too large".into()));
        }
        parse(&bytes).map_err(|unreadable| match unreadable {
            Unreadable::Damage(what) => damaged(what),
            Unreadable::Version(version) => {
                KeyFileError::OtherVersion { path: self.path.clone(), version }
            }
        })
    }

    /// Makes a key. The secret is nowhere but in the answer.
    ///
    /// # Errors
    /// When it cannot be made as wanted, or the file cannot be changed.
    pub(crate) fn create(
        &self,
        draft: Draft,
        now: TimestampMs,
    ) -> Result<(Key, Secret), KeyFileError> {
        draft.check(now)?;
        self.change(|keys| {
            if keys.len() >= KEYS_MAX {
                return Err(KeyFileError::Invalid(format!("there are {KEYS_MAX} keys already")));
            }
            let (key, secret) = loop {
                let (key, secret) = new_key(&draft, now);
                if keys.iter().all(|other| other.id != key.id) {
                    break (key, secret);
                }
            };
            keys.push(key.clone());
            Ok((key, secret))
        })
    }

    /// Ends a key for ever; none where there is no such key. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// When the file cannot be changed.
    pub(crate) fn revoke(&self, id: KeyId, now: TimestampMs) -> Result<Option<Key>, KeyFileError> {
        // A key never goes from the file: what is not there need not be looked for under the lock.
        if self.read()?.iter().all(|key| key.id != id) {
            return Ok(None);
        }
        self.change(|keys| {
            let Some(key) = keys.iter_mut().find(|key| key.id == id) else { return Ok(None) };
            key.revoked.get_or_insert(now);
            Ok(Some(key.clone()))
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeyFileError>,
    ) -> Result<T, KeyFileError> {
        let failed = |source| self.failed("written", source);
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(self.path.with_extension("lock")).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut keys = self.read()?;
        let done = change(&mut keys)?;
        self.write(dir, &keys).map_err(failed)?;
        Ok(done)
    }

    /// Replaces the file: a crash leaves the one or the other, and what was answered is on disk.
    fn write(&self, dir: &Path, keys: &[Key]) -> io::Result<()> {
        let stored = Stored { version: VERSION, keys: keys.iter().map(StoredKey::of).collect() };
        let unfinished = self.path.with_extension("unfinished");
        // It may be left from a crash, with whatever rights.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        File::open(dir)?.sync_all()
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.path.clone(), doing, source }
    }
}

/// Why bytes are no keys for this program.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    Damage(String),
    Version(u32),
}

fn parse(bytes: &[u8]) -> Result<Vec<Key>, Unreadable> {
    /// What every version says, whatever it says beside.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let not_ours = |error: serde_json::Error| Unreadable::Damage(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(not_ours)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(not_ours)?;
    let mut ids = HashSet::new();
    let keys = stored.keys.into_iter().map(|stored| {
        let key = stored.read().map_err(Unreadable::Damage)?;
        if !ids.insert(key.id) {
            return Err(Unreadable::Damage(format!("the key {} comes twice", key.id)));
        }
        Ok(key)
    });
    keys.collect()
}

/// A key as wanted, with a new secret.
pub(super) fn new_key(draft: &Draft, now: TimestampMs) -> (Key, Secret) {
    let (id, secret) = Secret::generate();
    let key = Key {
        id,
        name: draft.name.clone(),
        hash: secret.hash(),
        scopes: draft.scopes,
        is_public: draft.is_public,
        created: now,
        expires: draft.expires,
        revoked: None,
        rates: draft.rates,
    };
    (key, secret)
}
