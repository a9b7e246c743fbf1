//! Files for others to read: in a folder, or in a bucket of S3.

mod objects;
mod place;
#[cfg(feature = "s3")]
mod s3;
mod upload;

pub use objects::{Object, Objects};
pub use place::Place;
pub use upload::Upload;
