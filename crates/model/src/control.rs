//! Control records: settings that judge records, effective from their place in the log.
//!
//! ```text
//! payload of a control batch = record*      record = length (LEB128) | kind | body
//! kind 1 (settings): body = dedup window in minutes, u32 little-endian
//! kind 3 (corrections): body see `correction`
//! kind 4 (bulk object): body see `bulk`
//! kind 5 (confirmation): body = generation, u64 little-endian
//! ```

use crate::bulk::BulkObject;
use crate::correction::Corrections;
use crate::limits::DEDUP_MINUTES_MAX;
use crate::record::{RecordBuf, RecordError, split};

/// A record about how to judge the records after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// How long an event id is recognised, from here on.
    Settings {
        /// Length of the dedup window in append-time minutes, 1 to [`DEDUP_MINUTES_MAX`].
        dedup_minutes: u32,
    },
    /// Cells to be corrected here.
    Corrections(Corrections),
    /// A file that is to be counted; it judges nothing.
    BulkObject(BulkObject),
    /// What a generation of corrections replaced need not be kept any longer.
    Confirmed {
        /// Which generation.
        generation: u64,
    },
}

impl Control {
    /// The payload of a control batch that holds just this record.
    pub fn payload(&self) -> Vec<u8> {
        self.records().into_payload()
    }

    /// Just this record, to be appended.
    pub fn records(&self) -> RecordBuf {
        let mut record = Vec::new();
        match self {
            Self::Settings { dedup_minutes } => {
                record.push(1);
                record.extend_from_slice(&dedup_minutes.to_le_bytes());
            }
            Self::Corrections(corrections) => {
                record.push(3);
                record.extend_from_slice(&corrections.body());
            }
            Self::BulkObject(object) => {
                record.push(4);
                record.extend_from_slice(&object.body());
            }
            Self::Confirmed { generation } => {
                record.push(5);
                record.extend_from_slice(&generation.to_le_bytes());
            }
        }
        let mut records = RecordBuf::new();
        records.push_encoded(&record);
        records
    }

    /// The control records of a payload.
    pub fn read_all(payload: &[u8]) -> impl Iterator<Item = Result<Self, RecordError>> {
        split(payload).map(|record| match record? {
            [1, body @ ..] => {
                let body = body.try_into().map_err(|_| RecordError::Length)?;
                match u32::from_le_bytes(body) {
                    dedup_minutes @ 1..=DEDUP_MINUTES_MAX => Ok(Self::Settings { dedup_minutes }),
                    _ => Err(RecordError::Rule("the dedup window is out of bounds")),
                }
            }
            [3, body @ ..] => Corrections::read(body).map(Self::Corrections),
            [4, body @ ..] => BulkObject::read(body).map(Self::BulkObject),
            [5, body @ ..] => {
                let body = body.try_into().map_err(|_| RecordError::Length)?;
                Ok(Self::Confirmed { generation: u64::from_le_bytes(body) })
            }
            _ => Err(RecordError::Branch),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let settings = Control::Settings { dedup_minutes: 10 };
        assert_eq!(settings.payload(), [5, 1, 10, 0, 0, 0]);
        assert_eq!(Control::read_all(&settings.payload()).collect::<Vec<_>>(), [Ok(settings)]);
        let confirmed = Control::Confirmed { generation: 7 };
        assert_eq!(confirmed.payload(), [9, 5, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Control::read_all(&confirmed.payload()).collect::<Vec<_>>(), [Ok(confirmed)]);
    }

    #[test]
    fn unknown_kinds_and_wild_windows_are_refused() {
        for payload in [&[1, 9][..], &[5, 1, 0, 0, 0, 0], &[5, 1, 121, 0, 0, 0], &[3, 1, 1, 1]] {
            assert!(Control::read_all(payload).all(|control| control.is_err()), "{payload:?}");
        }
    }
}
