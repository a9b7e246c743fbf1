//! Objects in a folder or a bucket, for threads that may wait: a small blocking face of
//! `object_store`, with the promises that its callers build on.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

use super::place::Place;
use super::upload::Upload;

/// Objects in a folder or a bucket.
///
/// - **Names** are parts joined by `/`, without empty parts, `.` or `..`, of the characters that S3
///   advises: see [`object_store::path::Path`].
/// - **Atomicity.** An object is there whole or not at all; one that is replaced is the old one or
///   the new.
/// - **Durability.** What was put survives a power failure once the call returns, in a folder too.
///   What was deleted may come back.
/// - **Failure.** [`ErrorKind::Unavailable`] may be tried again; [`ErrorKind::Invalid`] cannot.
/// - **Threads.** Calls block, some for half a minute when a bucket does not answer, and must not
///   come from the threads of an async runtime. Clones share everything.
#[derive(Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    store: Arc<dyn ObjectStore>,
    place: Place,
    /// A folder's own path, free of symbolic links.
    root: Option<PathBuf>,
    wait: Wait,
}

/// How a call waits for its answer.
enum Wait {
    /// Files are read and written by the thread that calls.
    Here,
    /// Sockets need a runtime; it ends with the last clone.
    #[cfg(feature = "s3")]
    Runtime(super::s3::Runtime),
}

/// What a listing says of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its name, from the root of the place.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Objects {
    /// Opens a place: creates a folder that is not there; a bucket has to be there, and is first
    /// asked when it is first used. S3 takes credentials, region and endpoint from the usual
    /// `AWS_…` environment variables.
    ///
    /// # Errors
    /// `Invalid` for S3 in a build without the feature `s3` and for settings that contradict each
    /// other, `Unavailable` where the folder cannot be made.
    pub fn open(place: &Place) -> Result<Self, PortError> {
        match place {
            Place::Folder(path) => Self::folder(path),
            #[cfg(feature = "s3")]
            Place::Bucket { bucket, prefix } => {
                let (store, runtime) = super::s3::open(bucket, prefix)?;
                Ok(Self::new(store, place.clone(), None, Wait::Runtime(runtime)))
            }
            #[cfg(not(feature = "s3"))]
            Place::Bucket { .. } => Err(PortError::new(
                ErrorKind::Invalid,
                format!("{place}: this build has no S3; build it with `--features s3`"),
            )),
        }
    }

    /// Objects in memory, for tests.
    #[cfg(any(test, feature = "sim"))]
    pub fn in_memory() -> Self {
        let store = Arc::new(object_store::memory::InMemory::new());
        Self::new(store, Place::Folder("memory".into()), None, Wait::Here)
    }

    fn folder(path: &Path) -> Result<Self, PortError> {
        let failed = |error: io::Error| {
            let context = format!("cannot use the folder {}", path.display());
            PortError::caused(ErrorKind::Unavailable, context, error)
        };
        let wanted = std::path::absolute(path).map_err(failed)?;
        let known = wanted.ancestors().find_map(|dir| dir.canonicalize().ok());
        fs::create_dir_all(path).map_err(failed)?;
        let root = path.canonicalize().map_err(failed)?;
        for dir in root.ancestors() {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            // Nothing was made above the first that was there; but a start that was killed may
            // have made that one, so it is worth a try as far as it is allowed.
            match known.as_ref().is_none_or(|known| dir.starts_with(known)) {
                true => synced.map_err(failed)?,
                false if synced.is_err() => break,
                false => {}
            }
        }
        let place = Place::Folder(root.clone());
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| failure(&place, "open", "", error))?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self::new(Arc::new(store), place, Some(root), Wait::Here))
    }

    fn new(store: Arc<dyn ObjectStore>, place: Place, root: Option<PathBuf>, wait: Wait) -> Self {
        Self { shared: Arc::new(Shared { store, place, root, wait }) }
    }

    /// Where this is.
    pub fn place(&self) -> &Place {
        &self.shared.place
    }

    /// Puts an object, in place of one that is there.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), PortError> {
        self.put_as(name, bytes.into().into(), PutMode::Overwrite).map(drop)
    }

    /// Puts an object where none is; false where one was there, which stays.
    pub fn create(&self, name: &str, bytes: impl Into<Bytes>) -> Result<bool, PortError> {
        self.put_as(name, bytes.into().into(), PutMode::Create)
    }

    pub(super) fn put_as(
        &self,
        name: &str,
        payload: PutPayload,
        mode: PutMode,
    ) -> Result<bool, PortError> {
        let location = self.location(name)?;
        let options = PutOptions::from(mode);
        match self.wait(self.shared.store.put_opts(&location, payload, options)) {
            Err(Error::AlreadyExists { .. }) => return Ok(false),
            other => other.map_err(|error| self.failure("write", name, error))?,
        };
        self.sync_folders(name)?;
        Ok(true)
    }

    /// Begins an object that is too large for memory.
    pub fn upload(&self, name: &str) -> Result<Upload, PortError> {
        self.location(name)?;
        Ok(Upload::new(self.clone(), name))
    }

    /// All of an object; none where it is not there.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        let location = self.location(name)?;
        let got = self.wait(async {
            self.shared.store.get_opts(&location, GetOptions::default()).await?.bytes().await
        });
        self.found("read", name, got)
    }

    /// Bytes of an object; none where it is not there.
    ///
    /// # Errors
    /// `Corrupt` where the object ends before the range does.
    pub fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, PortError> {
        let location = self.location(name)?;
        if range.is_empty() {
            return Ok(self.size(name)?.map(|_| Bytes::new()));
        }
        let wanted = range.end - range.start;
        let got = self.wait(self.shared.store.get_range(&location, range.clone()));
        if let Ok(bytes) = &got
            && bytes.len() as u64 == wanted
        {
            return Ok(got.ok());
        }
        // Each kind of place has its own way to say this, or none.
        match self.size(name)? {
            Some(size) if size < range.end => Err(PortError::new(
                ErrorKind::Corrupt,
                format!(
                    "{}/{name} has {size} bytes where {} to {} were wanted: it was cut short or \
                     replaced",
                    self.place(),
                    range.start,
                    range.end
                ),
            )),
            None => Ok(None),
            Some(_) => match self.found("read", name, got)? {
                Some(_) => Err(self.unavailable("read", name, "the answer was cut short")),
                None => Ok(None),
            },
        }
    }

    /// Where an object lies on the disk of this machine; none in a bucket.
    pub(super) fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.shared.root.as_ref().map(|root| root.join(name))
    }

    /// Size of an object in bytes; none where it is not there.
    pub fn size(&self, name: &str) -> Result<Option<u64>, PortError> {
        let location = self.location(name)?;
        let head = self.wait(self.shared.store.head(&location));
        Ok(self.found("look at", name, head)?.map(|meta| meta.size))
    }

    /// All objects below a folder, whatever their depth, sorted by name; `""` is the root. Memory
    /// grows with their number.
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, PortError> {
        let prefix = self.prefix(folder)?;
        let found = self.wait(self.shared.store.list(prefix.as_ref()).try_collect::<Vec<_>>());
        let found = found.map_err(|error| self.failure("list", folder, error))?;
        let object = |meta: object_store::ObjectMeta| Object {
            name: meta.location.into(),
            bytes: meta.size,
        };
        let mut objects: Vec<_> = found.into_iter().map(object).collect();
        objects.sort_unstable();
        Ok(objects)
    }

    /// Names of the folders right below a folder, without what is above them, sorted; `""` is the
    /// root. One that holds nothing may be among them.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>, PortError> {
        let prefix = self.prefix(folder)?;
        let found = self.wait(self.shared.store.list_with_delimiter(prefix.as_ref()));
        let found = found.map_err(|error| self.failure("list", folder, error))?;
        let last = |name: &Name| name.parts().next_back().map(|part| part.as_ref().to_owned());
        let mut names: Vec<_> = found.common_prefixes.iter().filter_map(last).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes an object; one that is not there is no error.
    pub fn delete(&self, name: &str) -> Result<(), PortError> {
        let location = self.location(name)?;
        let deleted = self.wait(self.shared.store.delete(&location));
        self.found("remove", name, deleted).map(drop)
    }

    /// Removes what uploads of a process that was killed have left in a folder: files that no
    /// listing shows. Only for who alone writes to the place. A bucket is told by a lifecycle rule
    /// to forget unfinished uploads.
    pub fn remove_leftovers(&self) -> Result<(), PortError> {
        match &self.shared.root {
            Some(root) => remove_leftovers(root).map_err(|error| {
                let context = format!("cannot tidy up {}", root.display());
                PortError::caused(ErrorKind::Unavailable, context, error)
            }),
            None => Ok(()),
        }
    }

    /// Makes the folders of a new object durable. `object_store` does that for those that it
    /// makes; but who was killed may have made some and not come to it.
    pub(super) fn sync_folders(&self, name: &str) -> Result<(), PortError> {
        let Some(root) = &self.shared.root else { return Ok(()) };
        for dir in Path::new(name).ancestors().skip(2) {
            let dir = root.join(dir);
            let synced = File::open(&dir).and_then(|dir| dir.sync_all());
            synced.map_err(|error| {
                let context = format!("cannot make {} durable", dir.display());
                PortError::caused(ErrorKind::Unavailable, context, error)
            })?;
        }
        Ok(())
    }

    /// Whether a folder's file system has so much room; a bucket always has.
    ///
    /// # Errors
    /// `Unavailable` where it has not.
    pub fn check_room(&self, bytes: u64) -> Result<(), PortError> {
        let Some(root) = &self.shared.root else { return Ok(()) };
        let failed = |error: rustix::io::Errno| {
            let context = format!("cannot ask for the room in {}", root.display());
            PortError::caused(ErrorKind::Unavailable, context, error)
        };
        let stat = rustix::fs::statvfs(root).map_err(failed)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        let context = format!(
            "{} has {} MiB left and keeps {} free; make room, or shorten raw_retention",
            root.display(),
            free >> 20,
            bytes >> 20
        );
        Err(PortError::new(ErrorKind::Unavailable, context))
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        &*self.shared.store
    }

    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        match &self.shared.wait {
            Wait::Here => futures::executor::block_on(future),
            #[cfg(feature = "s3")]
            Wait::Runtime(runtime) => runtime.block_on(future),
        }
    }

    pub(super) fn location(&self, name: &str) -> Result<Name, PortError> {
        // What would be escaped, or dropped, comes out otherwise.
        let location = Name::from(name);
        if name.is_empty() || location.as_ref() != name {
            let context = format!("`{name}` cannot be the name of an object");
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        Ok(location)
    }

    fn prefix(&self, folder: &str) -> Result<Option<Name>, PortError> {
        let folder = folder.trim_end_matches('/');
        if folder.is_empty() { Ok(None) } else { self.location(folder).map(Some) }
    }

    fn found<T>(
        &self,
        act: &str,
        name: &str,
        got: Result<T, Error>,
    ) -> Result<Option<T>, PortError> {
        match got {
            Err(Error::NotFound { .. }) => Ok(None),
            other => other.map(Some).map_err(|error| self.failure(act, name, error)),
        }
    }

    pub(super) fn failure(&self, act: &str, name: &str, error: Error) -> PortError {
        failure(self.place(), act, name, error)
    }

    pub(super) fn unavailable(&self, act: &str, name: &str, why: &str) -> PortError {
        let context = format!("cannot {act} {}/{name}: {why}", self.place());
        PortError::new(ErrorKind::Unavailable, context)
    }
}

/// What the caller does next after a failure.
fn failure(place: &Place, act: &str, name: &str, error: Error) -> PortError {
    let (kind, hint) = match &error {
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => (ErrorKind::Invalid, ""),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => (ErrorKind::Conflict, ""),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            (ErrorKind::Unavailable, ": check its credentials and rights")
        }
        // A bucket that is not there, too: somebody can make it.
        _ => (ErrorKind::Unavailable, ""),
    };
    let slash = if name.is_empty() { "" } else { "/" };
    PortError::caused(kind, format!("cannot {act} {place}{slash}{name}{hint}"), error)
}

/// Removes the files `<name>#<number>` below a folder: `object_store` writes to those, and gives
/// them their name when they are whole.
fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_leftovers(&entry.path())?;
        } else if kind.is_file()
            && let Some((_, number)) = entry.file_name().to_string_lossy().rsplit_once('#')
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
