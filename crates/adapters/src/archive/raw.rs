//! Raw events as Parquet files, in a folder or a bucket.

pub(super) mod claim;
mod name;
mod rows;
mod schema;
pub(super) mod writer;

use std::ops::Range;

use bytes::{Buf, Bytes};
use engine::ports::{ErrorKind, PortError, RawArchive, RawFile, RawFill};
use model::Hour;
use model::limits::DEDUP_MINUTES_MAX;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};

use self::claim::Claim;
use self::writer::{FORMAT, NEXT_WINDOW_MINUTES, RawWriter, port_error};
use super::objects::Objects;
use super::version;

/// Largest metadata of a file that is read: control records and dead letters of 2^20 offsets.
const METADATA_BYTES_MAX: u64 = 64 << 20;

/// Raw events as Parquet files below `raw/`.
pub struct RawFiles {
    objects: Objects,
    claim: Claim,
    reserve_bytes: u64,
}

impl RawFiles {
    /// An archive that belongs to `owner`, the random name of a data folder; a folder keeps
    /// `reserve_bytes` of its file system free. Nothing is read or written yet.
    pub fn new(objects: Objects, owner: &str, reserve_bytes: u64) -> Self {
        Self { objects, claim: Claim::new(owner), reserve_bytes }
    }

    /// Makes the archive its owner's where it is nobody's. Otherwise done by the first call that
    /// writes; beforehand it says early what is wrong.
    ///
    /// # Errors
    /// `Conflict` where it is another's.
    pub fn claim(&self) -> Result<(), PortError> {
        self.claim.take(&self.objects)
    }

    fn unreadable(
        &self,
        file: RawFile,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> PortError {
        let context =
            format!("{}/{} is not a raw file of Tally", self.objects.place(), name::object(file));
        PortError::caused(ErrorKind::Corrupt, context, source)
    }

    fn bytes(&self, name: &str, range: Range<u64>) -> Result<Bytes, PortError> {
        self.objects.get_range(name, range)?.ok_or_else(|| {
            let context = format!("{}/{name} has gone", self.objects.place());
            PortError::new(ErrorKind::Unavailable, context)
        })
    }
}

impl RawArchive for RawFiles {
    fn write_raw(
        &self,
        file: RawFile,
        pause: &dyn Fn(),
        fill: &mut RawFill<'_>,
    ) -> Result<(), PortError> {
        self.claim()?;
        self.objects.check_room(self.reserve_bytes)?;
        let name = name::object(file);
        let failed =
            |error| port_error(error, || format!("cannot write {}/{name}", self.objects.place()));
        let upload = self.objects.upload(&name)?;
        let mut writer = RawWriter::new(file, upload, pause).map_err(failed)?;
        let head = fill(&mut |event| writer.push(&event).map_err(failed))?;
        writer.finish(&head).map_err(failed)?.finish()
    }

    fn list_raw(
        &self,
        hours: Range<Hour>,
        visit: &mut dyn FnMut(RawFile) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let root = name::FOLDER;
        for date in self.objects.folders(root)? {
            // The last hour says whether any of the date can be among them.
            if name::hour(&date, "hour=23").is_none_or(|last| last < hours.start) {
                continue;
            }
            if name::hour(&date, "hour=00").is_none_or(|first| first >= hours.end) {
                break;
            }
            for of_day in self.objects.folders(&format!("{root}/{date}"))? {
                let Some(hour) = name::hour(&date, &of_day) else { continue };
                if !hours.contains(&hour) {
                    continue;
                }
                let objects = self.objects.list(&format!("{root}/{date}/{of_day}"))?;
                objects
                    .iter()
                    .filter_map(|o| name::file(&o.name, hour))
                    .try_for_each(&mut *visit)?;
            }
        }
        Ok(())
    }

    fn next_window_minutes(&self, file: RawFile) -> Result<u32, PortError> {
        let name = name::object(file);
        let size = self.objects.size(&name)?.unwrap_or(0);
        let tail_bytes = FOOTER_SIZE as u64;
        let Some(tail_start) = size.checked_sub(tail_bytes) else {
            return Err(self.unreadable(file, "it ends too early"));
        };
        let mut tail = [0; FOOTER_SIZE];
        self.bytes(&name, tail_start..size)?.copy_to_slice(&mut tail);
        let tail = FooterTail::try_new(&tail).map_err(|error| self.unreadable(file, error))?;
        let length = tail.metadata_length() as u64;
        let Some(start) = tail_start.checked_sub(length).filter(|_| length <= METADATA_BYTES_MAX)
        else {
            return Err(self.unreadable(file, "its metadata has a wild length"));
        };
        let metadata =
            ParquetMetaDataReader::decode_metadata(&self.bytes(&name, start..tail_start)?)
                .map_err(|error| self.unreadable(file, error))?;
        if let Some(version) = version::other_than(FORMAT, metadata.file_metadata()) {
            let object = format!("{}/{name}", self.objects.place());
            return Err(version::refused(&object, &version, FORMAT));
        }
        let pairs = metadata.file_metadata().key_value_metadata();
        let minutes = pairs
            .into_iter()
            .flatten()
            .find(|pair| pair.key == NEXT_WINDOW_MINUTES)
            .and_then(|pair| pair.value.as_ref()?.parse().ok());
        match minutes {
            Some(minutes @ 1..=DEDUP_MINUTES_MAX) => Ok(minutes),
            _ => Err(self.unreadable(file, "it does not tell the dedup window")),
        }
    }

    fn remove_raw(&self, file: RawFile) -> Result<(), PortError> {
        self.claim()?;
        self.objects.delete(&name::object(file))
    }
}

#[cfg(test)]
mod tests;
