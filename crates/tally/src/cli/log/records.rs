//! The records of a batch with their offsets, judged as counting does.

use model::control::Control;
use model::record::{Record, RecordError, split};
use model::{Batch, Offset};

/// Something with an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Event(Record<'a>),
    Control(Control),
    /// An event that becomes a dead letter: its bytes, as far as they can be told apart.
    Uncountable(&'a [u8], RecordError),
    /// A control record that cannot be read: what follows cannot be judged.
    BadControl(RecordError),
}

/// Everything in a batch, in offset order.
pub(super) fn entries<B: AsRef<[u8]>>(
    batch: &Batch<B>,
) -> impl Iterator<Item = (Offset, Entry<'_>)> {
    let payload = batch.payload.as_ref();
    let (mut events, mut controls) = (split(payload), Control::read_all(payload));
    let mut offset = batch.base_offset;
    std::iter::from_fn(move || {
        let entry = if batch.is_control {
            controls.next()?.map_or_else(Entry::BadControl, Entry::Control)
        } else {
            match events.next() {
                Some(Ok(bytes)) => Record::read(bytes)
                    .map_or_else(|reason| Entry::Uncountable(bytes, reason), Entry::Event),
                Some(Err(reason)) => Entry::Uncountable(&[], reason),
                // Fewer or more records than the batch says.
                None if offset != batch.next_offset() => {
                    let entry = Entry::Uncountable(&[], RecordError::Length);
                    let at = std::mem::replace(&mut offset, batch.next_offset());
                    return Some((at, entry));
                }
                None => return None,
            }
        };
        let at = offset;
        offset = offset.plus(1);
        Some((at, entry))
    })
}

#[cfg(test)]
mod tests {
    use model::{Event, PartitionId, RecordBuf, TimestampMs};

    use super::*;

    fn batch(payload: Vec<u8>, record_count: u32, is_control: bool) -> Batch<Vec<u8>> {
        Batch {
            partition: PartitionId(0),
            log_epoch: 1,
            base_offset: Offset(7),
            record_count,
            append_time: TimestampMs(1),
            is_control,
            payload,
        }
    }

    fn kinds(batch: &Batch<Vec<u8>>) -> Vec<(u64, &'static str)> {
        let name = |entry| match entry {
            Entry::Event(_) => "event",
            Entry::Control(_) => "control",
            Entry::Uncountable(..) => "uncountable",
            Entry::BadControl(_) => "bad control",
        };
        entries(batch).map(|(offset, entry)| (offset.0, name(entry))).collect()
    }

    #[test]
    fn every_offset_is_told_what_it_is() {
        let mut records = RecordBuf::new();
        records.push(&Event {
            id: "1".into(),
            item: "a".into(),
            event_type: "view".into(),
            time: TimestampMs(1_795_255_200_000),
            value: None,
            attributes: Vec::new(),
        });
        let payload = [records.payload(), &[1, 9], records.payload()].concat();
        let sound = [(7, "event"), (8, "uncountable"), (9, "event")];
        assert_eq!(kinds(&batch(payload.clone(), 3, false)), sound);
        // A length that leads out of the payload hides what follows it.
        let torn = [records.payload(), &[200, 1, 0]].concat();
        let expected = [(7, "event"), (8, "uncountable"), (9, "uncountable")];
        assert_eq!(kinds(&batch(torn, 5, false)), expected);
        let settings = Control::Settings { dedup_minutes: 10 }.payload();
        assert_eq!(kinds(&batch(settings, 1, true)), [(7, "control")]);
        assert_eq!(kinds(&batch(vec![1, 9], 1, true)), [(7, "bad control")]);
    }
}
