//! The version that every Parquet file of the archive says in its metadata, so that a later program's files
//! are refused in words and not misread.

use engine::ports::{ErrorKind, PortError};
use parquet::file::metadata::FileMetaData;

/// The key of the version. Every file that says none was written as the first version is.
pub(super) const KEY: &str = "tally.format";

/// What a file says of its version, where that is not the one known here.
pub(super) fn other_than(known: u32, metadata: &FileMetaData) -> Option<String> {
    let mut pairs = metadata.key_value_metadata().into_iter().flatten();
    let said = pairs.find(|pair| pair.key == KEY)?.value.as_deref().unwrap_or_default();
    (said.parse() != Ok(known)).then(|| said.chars().take(20).collect())
}

/// The error for an object of another version; `object` is its place and name.
pub(super) fn refused(object: &str, version: &str, known: u32) -> PortError {
    let context = format!(
        "{object} has format {version}, this program knows only {known}: use the program that wrote it, \
         or a newer one"
    );
    PortError::new(ErrorKind::Invalid, context)
}
