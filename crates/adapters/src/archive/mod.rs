//! Files for others to read: in a folder, or in a bucket of S3.

mod cold;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod objects;
mod place;
mod port;
mod raw;
#[cfg(feature = "s3")]
mod s3;
mod upload;
mod version;

pub use cold::ColdFiles;
pub use objects::{Object, Objects};
pub use place::{Place, PlaceError};
pub use raw::RawFiles;
pub use upload::Upload;
