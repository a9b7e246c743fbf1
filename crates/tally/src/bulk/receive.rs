//! Takes a file: bit by bit into an object, then its name into the log.

use std::io::Write;

use api::BulkAnswer;
use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use futures::executor::block_on;
use model::{BulkEntry, BulkObject, Offset};
use tokio::sync::mpsc;

use super::{BulkLane, How, Job, Progress, UPLOADS};
use crate::import::ids::Digest;

/// How many bytes are written between two looks at the room on the disk.
const LOOK_BYTES: u64 = 64 << 20;

/// A piece of a file on its way. A file whose pieces end without `End` was broken off.
pub(crate) enum Piece {
    Data(Bytes),
    End,
}

/// A file that was taken.
pub(crate) struct Received {
    pub(crate) answer: BulkAnswer,
    /// Whether the log did not name it before.
    pub(crate) is_new: bool,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The pieces ended early.
    #[error("the body ended early")]
    BrokenOff,
    /// There was not a byte.
    #[error("the body is empty")]
    Empty,
    /// The log failed while it wrote the name.
    #[error("the log failed while it named the file; send the same file again")]
    Unknown(#[source] PortError),
    /// Nothing was named.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl BulkLane {
    /// Takes a file from pieces. Blocks: not for async threads.
    ///
    /// # Errors
    /// See [`ReceiveError`]; only after `Unknown` the file may be counted.
    pub(crate) fn receive(
        &self,
        pieces: mpsc::Receiver<Piece>,
        how: &How,
    ) -> Result<Received, ReceiveError> {
        let object = format!("{UPLOADS}/{:032x}", rand::random::<u128>());
        let (bytes, content) = self.store(pieces, &object)?;
        let id = how.id_of(content);
        let named = self.name(BulkObject { id, bytes, object: object.clone(), how: how.text() });
        let is_needed = match &named {
            Ok(received) => received.is_new,
            Err(ReceiveError::Unknown(_)) => true,
            Err(_) => false,
        };
        if !is_needed && let Err(error) = self.objects.delete(&object) {
            tracing::warn!(object, error = &error as &dyn std::error::Error, "a file stays behind");
        }
        named
    }

    /// Writes the pieces into an object; its size and a digest of its bytes.
    fn store(
        &self,
        mut pieces: mpsc::Receiver<Piece>,
        object: &str,
    ) -> Result<(u64, u128), ReceiveError> {
        self.objects.check_room(self.reserve_bytes)?;
        let mut upload = self.objects.upload(object)?;
        let (mut digest, mut bytes, mut looked_at) = (Digest::new(), 0, 0);
        loop {
            match pieces.blocking_recv() {
                None => return Err(ReceiveError::BrokenOff),
                Some(Piece::End) if bytes == 0 => return Err(ReceiveError::Empty),
                Some(Piece::End) => break,
                Some(Piece::Data(data)) => {
                    upload.write_all(&data).map_err(|error| {
                        let context = "the file cannot be stored";
                        PortError::caused(ErrorKind::Unavailable, context, error)
                    })?;
                    digest.add(&data);
                    bytes += data.len() as u64;
                }
            }
            if bytes - looked_at >= LOOK_BYTES {
                looked_at = bytes;
                self.objects.check_room(self.reserve_bytes)?;
            }
        }
        upload.finish()?;
        Ok((bytes, digest.finish()))
    }

    /// Names a file in the log, unless the log names it already.
    fn name(&self, object: BulkObject) -> Result<Received, ReceiveError> {
        let _alone = self.naming.lock();
        if let Some(answer) = self.get(object.id)? {
            return Ok(Received { answer, is_new: false });
        }
        let id = object.id;
        let appended = block_on(self.gateway.name_bulk_object(object.clone()));
        let appended = appended.map_err(|error| match error.kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded => ReceiveError::Port(error),
            _ => ReceiveError::Unknown(error),
        })?;
        let (offset, append_time): (Offset, _) = (appended.base_offset, appended.append_time);
        let job =
            Job { entry: BulkEntry { offset, append_time, object }, progress: Progress::default() };
        let answer = self.jobs.lock().entry(id).or_insert(job).answer();
        self.news.1.notify_all();
        Ok(Received { answer, is_new: true })
    }
}
