//! Writes to a topic of state: who writes waits until the brokers have confirmed all of it.

use std::sync::Arc;
use std::time::Duration;

use engine::ports::PortError;
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

/// A record is confirmed within so long, or whoever waits is told that it is not.
const ANSWER_MS: &str = "10000";
/// Wait before a client that is full is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A record on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) headers: OwnedHeaders,
}

/// Writes to one topic.
pub(super) struct ConfirmedWriter {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
}

/// What became of records that were sent together.
#[derive(Default)]
struct Fate {
    missing: usize,
    /// The first offset behind those that were confirmed.
    next_offset: u64,
    error: Option<KafkaError>,
}

#[derive(Default)]
struct Sent {
    fate: Mutex<Fate>,
    known: Condvar,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Arc<Sent>) {
        let mut fate = sent.fate.lock();
        match result {
            Ok(message) => {
                let offset = u64::try_from(message.offset()).unwrap_or(0);
                fate.next_offset = fate.next_offset.max(offset + 1);
            }
            Err((error, _)) => {
                fate.error.get_or_insert(error.clone());
            }
        }
        fate.missing -= 1;
        if fate.missing == 0 {
            sent.known.notify_all();
        }
    }
}

impl ConfirmedWriter {
    /// A client for one topic.
    pub(super) fn start(config: &ClientConfig, topic: &str) -> Result<Self, PortError> {
        let mut config = config.clone();
        config
            .set("acks", "all")
            // In order and once, as long as this process lives.
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", ANSWER_MS);
        let producer = config.create_with_context(Deliveries).map_err(super::bad_client)?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Writes records in their order, and gives the first offset behind them.
    ///
    /// # Errors
    /// Where not all were confirmed; a part may have been written.
    pub(super) fn write(
        &self,
        records: impl ExactSizeIterator<Item = Outgoing>,
    ) -> Result<u64, KafkaError> {
        let fate = Mutex::new(Fate { missing: records.len(), ..Fate::default() });
        let sent = Arc::new(Sent { fate, known: Condvar::new() });
        for Outgoing { key, value, headers } in records {
            let mut record = BaseRecord::with_opaque_to(&self.topic, sent.clone())
                .partition(0)
                .key(&key)
                .payload(&value)
                .headers(headers);
            while let Err((error, refused)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    let mut fate = sent.fate.lock();
                    fate.error.get_or_insert(error);
                    fate.missing -= 1;
                    break;
                }
                std::thread::sleep(RETRY);
                record = refused;
            }
        }
        let mut fate = sent.fate.lock();
        while fate.missing > 0 {
            sent.known.wait(&mut fate);
        }
        match fate.error.take() {
            Some(error) => Err(error),
            None => Ok(fate.next_offset),
        }
    }
}
