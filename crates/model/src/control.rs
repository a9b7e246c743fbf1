//! Control records: settings that judge records, effective from their place in the log.
//!
//! ```text
//! payload of a control batch = record*      record = length (LEB128, one byte) | kind | body
//! kind 1 (settings): body = dedup window in minutes, u32 little-endian
//! ```

use crate::limits::DEDUP_MINUTES_MAX;
use crate::record::{RecordError, split};

/// A record about how to judge the records after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// How long an event id is recognised, from here on.
    Settings {
        /// Length of the dedup window in append-time minutes, 1 to [`DEDUP_MINUTES_MAX`].
        dedup_minutes: u32,
    },
}

impl Control {
    /// The payload of a control batch that holds just this record.
    pub fn payload(self) -> Vec<u8> {
        let Self::Settings { dedup_minutes } = self;
        let mut payload = vec![5, 1];
        payload.extend_from_slice(&dedup_minutes.to_le_bytes());
        payload
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
    }

    #[test]
    fn unknown_kinds_and_wild_windows_are_refused() {
        for payload in [&[1, 9][..], &[5, 1, 0, 0, 0, 0], &[5, 1, 121, 0, 0, 0], &[3, 1, 1, 1]] {
            assert!(Control::read_all(payload).all(|control| control.is_err()), "{payload:?}");
        }
    }
}
