//! The files of an archive as DataFusion reads them: an object store of which nothing can be
//! written.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures::stream::{self, BoxStream, StreamExt};

use crate::files::Archive;

/// Where DataFusion finds the archive.
const URL: &str = "tally://archive";
/// What errors call it.
const NAME: &str = "archive";

/// The objects of an archive, to be read only. Calls may block.
pub trait ArchiveFiles: Archive {
    /// Name and bytes of all objects below a folder.
    ///
    /// # Errors
    /// `Archive` where it cannot be listed.
    fn list(&self, folder: &str) -> std::result::Result<Vec<(String, u64)>, crate::Error>;

    /// All bytes of a small object; none where it is not there.
    ///
    /// # Errors
    /// `Archive` where it cannot be read.
    fn bytes_if_there(&self, name: &str) -> std::result::Result<Option<Bytes>, crate::Error>;

    /// The size of an object in bytes; none where it is not there.
    ///
    /// # Errors
    /// `Archive` where it cannot be read.
    fn size(&self, name: &str) -> std::result::Result<Option<u64>, crate::Error>;

    /// Some bytes of an object; none where it is not there.
    ///
    /// # Errors
    /// `Archive` where it cannot be read.
    fn range(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> std::result::Result<Option<Bytes>, crate::Error>;
}

/// See [`URL`].
pub(super) fn url() -> std::result::Result<ObjectStoreUrl, DataFusionError> {
    ObjectStoreUrl::parse(URL)
}

/// The URL of a folder, which ends with a slash, or of an object.
pub(super) fn url_of(name: &str) -> String {
    format!("{URL}/{name}")
}

/// See the module.
#[derive(Clone)]
pub(super) struct ReadOnly {
    files: Arc<dyn ArchiveFiles>,
    /// Objects never change, and DataFusion asks for their size with every piece.
    sizes: Arc<Mutex<HashMap<String, u64>>>,
}

impl ReadOnly {
    pub(super) fn new(files: Arc<dyn ArchiveFiles>) -> Self {
        Self { files, sizes: Arc::default() }
    }

    fn remember(&self, name: &str, bytes: u64) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.insert(name.to_owned(), bytes);
    }

    async fn size(&self, location: &Path) -> Result<u64> {
        let name = location.as_ref().to_owned();
        let known = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let asked = name.clone();
        let size = self.call(move |files| files.size(&asked)).await?.ok_or_else(|| gone(&name))?;
        self.remember(&name, size);
        Ok(size)
    }

    /// Calls what may block on a thread that may.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn ArchiveFiles) -> std::result::Result<T, crate::Error> + Send + 'static,
    ) -> Result<T> {
        let files = self.files.clone();
        let called = tokio::task::spawn_blocking(move || call(&*files)).await;
        let called = called.map_err(|source| generic(Box::new(source)))?;
        called.map_err(|source| generic(Box::new(source)))
    }

    async fn below(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let folder = prefix.map_or(String::new(), |prefix| prefix.as_ref().to_owned());
        let mut objects = self.call(move |files| files.list(&folder)).await?;
        objects.sort_unstable();
        for (name, bytes) in &objects {
            self.remember(name, *bytes);
        }
        Ok(objects.into_iter().map(|(name, bytes)| meta(Path::from(name), bytes)).collect())
    }
}

fn meta(location: Path, size: u64) -> ObjectMeta {
    // An object never changes under its name, so when it was made says nothing.
    ObjectMeta { location, last_modified: Default::default(), size, e_tag: None, version: None }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: NAME, source }
}

/// An object that was named and is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0} has gone")]
pub(super) struct Gone(String);

/// Not as `NotFound`: DataFusion takes a file that is not found for one without rows.
fn gone(name: &str) -> Error {
    generic(Box::new(Gone(name.to_owned())))
}

fn read_only() -> Error {
    Error::NotSupported { source: "the archive is only read".into() }
}

#[async_trait]
impl ObjectStore for ReadOnly {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let size = self.size(location).await?;
        let range = match &options.range {
            Some(range) => range.as_range(size).map_err(|error| generic(Box::new(error)))?,
            None => 0..size,
        };
        let bytes = if options.head {
            Bytes::new()
        } else {
            let (name, wanted) = (location.as_ref().to_owned(), range.clone());
            let bytes = self.call(move |files| files.range(&name, wanted)).await?;
            bytes.ok_or_else(|| gone(location.as_ref()))?
        };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        let meta = meta(location.clone(), size);
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move { store.below(prefix.as_ref()).await };
        let each = |listed: Result<Vec<ObjectMeta>>| match listed {
            Ok(objects) => stream::iter(objects).map(Ok).left_stream(),
            Err(error) => stream::once(async { Err(error) }).right_stream(),
        };
        stream::once(listed).flat_map(each).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        let (mut folders, mut objects) = (BTreeSet::new(), Vec::new());
        for object in self.below(prefix).await? {
            let Some(mut parts) = object.location.prefix_match(&root) else { continue };
            match (parts.next(), parts.next()) {
                (Some(folder), Some(_)) => {
                    let folder = folder.as_ref().to_owned();
                    drop(parts);
                    folders.insert(root.clone().join(folder));
                }
                _ => {
                    drop(parts);
                    objects.push(object);
                }
            }
        }
        Ok(ListResult { common_prefixes: folders.into_iter().collect(), objects })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}
