//! Where an archive is, as people write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// Where an archive is: `file:///srv/archive`, a plain path, or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// Objects of a bucket whose names begin with a prefix and a slash.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// Without slashes around it; may be empty.
        prefix: String,
    },
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// Nothing is there to read.
    #[error("it is empty; give a folder, file:///folder or s3://bucket/prefix")]
    Empty,
    /// Another scheme.
    #[error("`{0}://` is not known; give a folder, file:///folder or s3://bucket/prefix")]
    Scheme(String),
    /// A `file` URL with a host or an escape.
    #[error("give the folder as a plain path, or as file:///folder without `%`")]
    FileUrl,
    /// An `s3` URL without a bucket.
    #[error("the bucket is missing: s3://bucket/prefix")]
    Bucket,
    /// A prefix that would not stay as it is in names of objects.
    #[error("the prefix `{0}` has an empty part, `.`, `..` or a character that S3 advises against")]
    Prefix(String),
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once("://") {
            None if text.is_empty() => Err(PlaceError::Empty),
            None => Ok(Self::Folder(text.into())),
            Some(("file", path)) if path.starts_with('/') && !path.contains('%') => {
                Ok(Self::Folder(path.into()))
            }
            Some(("file", _)) => Err(PlaceError::FileUrl),
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.trim_end_matches('/');
                if bucket.is_empty() {
                    return Err(PlaceError::Bucket);
                }
                if object_store::path::Path::from(prefix).as_ref() != prefix {
                    return Err(PlaceError::Prefix(prefix.into()));
                }
                Ok(Self::Bucket { bucket: bucket.into(), prefix: prefix.into() })
            }
            Some((scheme, _)) => Err(PlaceError::Scheme(scheme.into())),
        }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Folder(path.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) if path.is_absolute() => write!(f, "file://{}", path.display()),
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, PlaceError> {
        text.parse()
    }

    #[test]
    fn places_are_read_and_written() {
        let folder = |path: &str| Ok(Place::Folder(path.into()));
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Place::Bucket { bucket: bucket.into(), prefix: prefix.into() })
        };
        assert_eq!(place("file:///srv/a b"), folder("/srv/a b"));
        assert_eq!(place("/srv/archive"), folder("/srv/archive"));
        assert_eq!(place("archive"), folder("archive"));
        assert_eq!(place("s3://b"), bucket("b", ""));
        assert_eq!(place("s3://b/"), bucket("b", ""));
        assert_eq!(place("s3://b/tally/one/"), bucket("b", "tally/one"));
        for text in ["file:///srv/a b", "archive", "s3://b", "s3://b/tally/one"] {
            assert_eq!(place(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_place_says_what_does() {
        assert_eq!(place(""), Err(PlaceError::Empty));
        assert_eq!(place("gs://b/p"), Err(PlaceError::Scheme("gs".into())));
        assert_eq!(place("file://host/p"), Err(PlaceError::FileUrl));
        assert_eq!(place("file:///a%20b"), Err(PlaceError::FileUrl));
        assert_eq!(place("s3:///p"), Err(PlaceError::Bucket));
        assert_eq!(place("s3://b/a//b"), Err(PlaceError::Prefix("a//b".into())));
        assert_eq!(place("s3://b/a#1"), Err(PlaceError::Prefix("a#1".into())));
        assert_eq!(place("s3://b/../c"), Err(PlaceError::Prefix("../c".into())));
    }
}
