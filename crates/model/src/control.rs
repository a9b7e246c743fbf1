//! Control records: settings that judge records, effective from their place in the log.
//!
//! ```text
//! payload of a control batch = record*      record = length (LEB128) | kind | body
//! kind 1 (settings): body = dedup window in minutes, u32 little-endian
//! kind 2 (retention): body = minutes are kept for i64 ms | hours are kept for i64 ms, little-endian
//! kind 3 (corrections): body see `correction`
//! kind 4 (bulk object): body see `bulk`
//! kind 5 (confirmation): body = generation, u64 little-endian
//! kind 6 (refused): body see `refused`
//! kind 7 (vacant): no body
//! ```

use crate::bulk::BulkObject;
use crate::correction::Corrections;
use crate::horizon::Retention;
use crate::limits::DEDUP_MINUTES_MAX;
use crate::record::{RecordBuf, RecordError, split};
use crate::refused::Refused;

/// A record about how to judge the records after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// How long an event id is recognised, from here on.
    Settings {
        /// Length of the dedup window in append-time minutes, 1 to [`DEDUP_MINUTES_MAX`].
        dedup_minutes: u32,
    },
    /// How long minutes and hours are kept, from here on.
    Retention(Retention),
    /// Cells to be corrected here.
    Corrections(Corrections),
    /// A file that is to be counted; it judges nothing.
    BulkObject(BulkObject),
    /// What a generation of corrections replaced need not be kept any longer.
    Confirmed {
        /// Which generation.
        generation: u64,
    },
    /// Places of a source that were refused for their time.
    Refused(Refused),
    /// A place of the log that holds nothing of ours and never will, as the markers of
    /// transactions in Kafka are: it judges nothing. Never appended; a log gives it out where its
    /// offsets would have a gap.
    Vacant,
}

impl Control {
    /// The payload of a control batch that holds just this record.
    pub fn payload(&self) -> Vec<u8> {
        self.records().into_payload()
    }

    /// Just this record, to be appended.
    pub fn records(&self) -> RecordBuf {
        let mut records = RecordBuf::new();
        self.push_to(&mut records);
        records
    }

    /// Adds this record to others.
    pub fn push_to(&self, records: &mut RecordBuf) {
        let mut record = Vec::new();
        match self {
            Self::Settings { dedup_minutes } => {
                record.push(1);
                record.extend_from_slice(&dedup_minutes.to_le_bytes());
            }
            Self::Retention(retention) => {
                record.push(2);
                let times = [retention.minute_ms(), retention.hour_ms()];
                record.extend(times.map(i64::to_le_bytes).concat());
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
            Self::Refused(refused) => {
                record.push(6);
                record.extend_from_slice(&refused.body());
            }
            Self::Vacant => record.push(7),
        }
        records.push_encoded(&record);
    }

    /// The control records of a payload.
    pub fn read_all(payload: &[u8]) -> impl Iterator<Item = Result<Self, RecordError>> {
        split(payload).map(|record| match record? {
            [1, body @ ..] => settings(body),
            [2, body @ ..] => retention(body),
            [3, body @ ..] => Corrections::read(body).map(Self::Corrections),
            [4, body @ ..] => BulkObject::read(body).map(Self::BulkObject),
            [5, body @ ..] => {
                let body = body.try_into().map_err(|_| RecordError::Length)?;
                Ok(Self::Confirmed { generation: u64::from_le_bytes(body) })
            }
            [6, body @ ..] => Refused::read(body).map(Self::Refused),
            [7] => Ok(Self::Vacant),
            _ => Err(RecordError::Branch),
        })
    }
}

fn settings(body: &[u8]) -> Result<Control, RecordError> {
    let body = body.try_into().map_err(|_| RecordError::Length)?;
    match u32::from_le_bytes(body) {
        dedup_minutes @ 1..=DEDUP_MINUTES_MAX => Ok(Control::Settings { dedup_minutes }),
        _ => Err(RecordError::Rule("the dedup window is out of bounds")),
    }
}

fn retention(body: &[u8]) -> Result<Control, RecordError> {
    let (minute, hour) = body.split_first_chunk().ok_or(RecordError::Length)?;
    let hour = hour.try_into().map_err(|_| RecordError::Length)?;
    Retention::new(i64::from_le_bytes(*minute), i64::from_le_bytes(hour))
        .map(Control::Retention)
        .ok_or(RecordError::Rule("hours are kept for less than minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let settings = Control::Settings { dedup_minutes: 10 };
        assert_eq!(settings.payload(), [5, 1, 10, 0, 0, 0]);
        assert_eq!(
            Control::read_all(&settings.payload()).collect::<Vec<_>>(),
            [Ok(settings.clone())]
        );
        let confirmed = Control::Confirmed { generation: 7 };
        assert_eq!(confirmed.payload(), [9, 5, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Control::read_all(&confirmed.payload()).collect::<Vec<_>>(), [Ok(confirmed)]);
        let retention = Control::Retention(Retention::new(1, 258).unwrap());
        let expected = [17, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(retention.payload(), expected);
        assert_eq!(Control::Vacant.payload(), [1, 7]);
        assert_eq!(Control::read_all(&[1, 7]).collect::<Vec<_>>(), [Ok(Control::Vacant)]);
        let both = [settings.payload(), retention.payload()].concat();
        assert_eq!(Control::read_all(&both).collect::<Vec<_>>(), [Ok(settings), Ok(retention)]);
    }

    #[test]
    fn unknown_kinds_and_wild_settings_are_refused() {
        for payload in [
            &[1, 9][..],
            &[2, 7, 0],
            &[5, 1, 0, 0, 0, 0],
            &[5, 1, 121, 0, 0, 0],
            &[3, 1, 1, 1],
            &[3, 2, 1, 1],
            &[9, 2, 1, 0, 0, 0, 0, 0, 0, 0],
            &[&[18][..], &Control::Retention(Retention::FOREVER).payload()[1..], &[0]].concat(),
            &[&[17, 2][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 8]].concat(),
        ] {
            assert!(Control::read_all(payload).all(|control| control.is_err()), "{payload:?}");
        }
    }
}
