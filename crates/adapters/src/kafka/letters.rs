//! Dead letters of a log in Kafka for whoever wants to consume them: a topic beside it,
//! `<log>-dead-letters`. What becomes of a letter is the counter store's business; here it is only told.
//!
//! A letter is in the topic before the flush that has it: whoever dies in between makes the same flush
//! again, and writes the same record under the same key.

use std::sync::Arc;

use engine::ports::{
    Claim, CounterSnapshot, CounterStore, ErrorKind, Flush, Folded, LetterState, PortError, Rows,
};
use model::{Day, DeadLetter, Offset, PartitionId};
use rdkafka::message::{Header, OwnedHeaders};

use super::KafkaSettings;
use super::confirmed::{ConfirmedWriter, Outgoing};
use super::message;
use super::state_topic::StateTopic;

/// What the topic's name ends with.
const WHAT: &str = "dead-letters";

/// A counter store whose dead letters are told in a topic.
pub struct ToldLetters {
    store: Arc<dyn CounterStore>,
    writer: ConfirmedWriter,
    topic: String,
    log_topic: String,
    schema_id: u32,
}

impl ToldLetters {
    /// Tells the letters of a store, which counts the log of these settings.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers or the topic cannot be made, `Invalid` where it is not fit.
    pub fn open(settings: &KafkaSettings, store: Arc<dyn CounterStore>) -> Result<Self, PortError> {
        let StateTopic { name: topic, config } = StateTopic::ensure(settings, WHAT)?;
        let writer = ConfirmedWriter::start(&config, &topic)?;
        let log_topic = settings.place.topic.clone();
        Ok(Self { store, writer, topic, log_topic, schema_id: settings.place.schema_id })
    }

    fn tell(&self, partition: PartitionId, letters: &[DeadLetter]) -> Result<(), PortError> {
        let outgoing =
            |letter: &DeadLetter| outgoing(&self.log_topic, partition, letter, self.schema_id);
        self.writer.write(letters.iter().map(outgoing)).map(drop).map_err(|error| {
            let context = format!(
                "Kafka has not confirmed the dead letters of partition {partition} in the topic {}",
                self.topic
            );
            PortError::caused(ErrorKind::Unavailable, context, error)
        })
    }
}

fn outgoing(topic: &str, partition: PartitionId, letter: &DeadLetter, schema_id: u32) -> Outgoing {
    let DeadLetter { offset, append_time, reason, record } = letter;
    let mut value = Vec::new();
    match model::record::message_of(record) {
        Some(message) => value.extend_from_slice(message),
        None => {
            message::encode(record, false, schema_id, &mut value);
        }
    }
    let headers = [
        ("tally-reason", reason.to_string()),
        ("tally-topic", topic.to_owned()),
        ("tally-partition", partition.to_string()),
        ("tally-offset", offset.to_string()),
        ("tally-append-time", append_time.0.to_string()),
    ];
    let with = |all: OwnedHeaders, (key, value): &(&str, String)| {
        all.insert(Header { key, value: Some(value) })
    };
    let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(5), with);
    Outgoing { key: format!("{partition}/{offset}").into_bytes(), value, headers }
}

impl CounterStore for ToldLetters {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        self.store.claim(partition)
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        if !flush.dead_letters.is_empty() {
            self.tell(flush.partition, flush.dead_letters)?;
        }
        self.store.flush(flush, rows)
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        self.store.mark(partition, offset, from, to)
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        self.store.fold(partition, rows_max)
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        self.store.note_cold(until)
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.store.remove_cold(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        self.store.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use engine::conformance::event_log::records;
    use model::TimestampMs;
    use model::record::{Record, RecordError, Unreadable, split};
    use rdkafka::message::Headers;

    use super::*;

    fn told(record: Vec<u8>, reason: RecordError) -> (Outgoing, Vec<(String, String)>) {
        let (offset, append_time) = (Offset(7), TimestampMs(99));
        let letter = DeadLetter { offset, append_time, reason, record };
        let outgoing = outgoing("events", PartitionId(3), &letter, 258);
        let text =
            |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"")).into_owned();
        let all = outgoing.headers.iter().map(|header| (header.key.to_owned(), text(header.value)));
        let all = all.collect();
        (outgoing, all)
    }

    #[test]
    fn a_letter_is_told_as_the_message_it_was() {
        let message = Unreadable::Json.record(b"{\"no\":1}");
        let reason = Record::read(&message).expect_err("no event");
        let (told_foreign, headers) = told(message, reason);
        assert_eq!(told_foreign.key, b"3/7");
        assert_eq!(told_foreign.value, b"{\"no\":1}");
        let expected = [
            ("tally-reason", "its JSON is not an event"),
            ("tally-topic", "events"),
            ("tally-partition", "3"),
            ("tally-offset", "7"),
            ("tally-append-time", "99"),
        ];
        let is_same =
            |((a, b), (c, d)): (&(String, String), &(&str, &str))| a == c && b.contains(d);
        assert!(headers.len() == 5 && headers.iter().zip(&expected).all(is_same), "{headers:?}");
        let records = records("id", 1);
        let record = split(records.payload()).next().expect("one").expect("whole").to_vec();
        let (told_ours, _) = told(record.clone(), RecordError::Length);
        assert_eq!(told_ours.value, [&[0, 0, 0, 1, 2], &record[..]].concat());
    }
}
