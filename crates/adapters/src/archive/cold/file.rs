//! A file of days that is open: its metadata stays in memory, pages are read where they lie.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use super::super::objects::Objects;
use super::super::version;
use super::writer::FORMAT;

/// Bytes read ahead where Parquet does not say how many it wants.
const READ_AHEAD: usize = 8 << 10;

/// The bytes of a file; clones share them.
#[derive(Clone)]
pub(super) struct Chunks(Arc<Source>);

struct Source {
    objects: Objects,
    name: String,
    bytes: u64,
    /// One in a folder is read without a detour.
    file: Option<File>,
}

/// An open file.
pub(super) type OpenFile = SerializedFileReader<Chunks>;

/// Opens a file of so many bytes.
pub(super) fn open(objects: &Objects, name: &str, bytes: u64) -> Result<(Chunks, OpenFile)> {
    let chunks = Chunks::open(objects, name, bytes)?;
    let options = ReadOptionsBuilder::new().with_page_index().build();
    Ok((chunks.clone(), SerializedFileReader::new_with_options(chunks, options)?))
}

/// What a file of so many bytes says of its version, where that is not the one known here.
pub(super) fn other_version(objects: &Objects, name: &str, bytes: u64) -> Result<Option<String>> {
    // Its metadata alone: of some files nobody ever asks for more.
    let file = SerializedFileReader::new(Chunks::open(objects, name, bytes)?)?;
    Ok(version::other_than(FORMAT, file.metadata().file_metadata()))
}

impl Chunks {
    fn open(objects: &Objects, name: &str, bytes: u64) -> Result<Self> {
        let file = match objects.local_path(name) {
            Some(path) => Some(File::open(path)?),
            None => None,
        };
        Ok(Self(Arc::new(Source { objects: objects.clone(), name: name.to_owned(), bytes, file })))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let Source { objects, name, file, .. } = &*self.0;
        if let Some(file) = file {
            return Ok(file.read_exact_at(into, at)?);
        }
        let range = at..at.saturating_add(into.len() as u64);
        let read = objects.get_range(name, range).map_err(|e| ParquetError::External(e.into()))?;
        let read = read.ok_or_else(|| ParquetError::EOF(format!("{name} has gone")))?;
        into.copy_from_slice(&read);
        Ok(())
    }

    /// What a length found in a file asks for is never more than the file has.
    fn check(&self, start: u64, length: usize) -> Result<()> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.0.bytes => Ok(()),
            _ => Err(ParquetError::EOF(format!("{} ends before {start} + {length}", self.0.name))),
        }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.check(start, 0)?;
        Ok(BufReader::with_capacity(READ_AHEAD, From { chunks: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.check(start, length)?;
        let mut bytes = vec![0; length];
        self.read_at(start, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// The bytes from a place on.
pub(super) struct From {
    chunks: Chunks,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.chunks.0.bytes.saturating_sub(self.at);
        let length = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.chunks.read_at(self.at, &mut into[..length]).map_err(io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}
