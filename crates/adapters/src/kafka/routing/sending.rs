//! A record on its way to the topic, and who waits to hear what became of it.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

/// What became of a record.
#[derive(Default)]
pub(super) struct Fate {
    result: Mutex<Option<Result<u64, KafkaError>>>,
    known: Condvar,
}

/// Tells who waits.
pub(super) struct Fates;

impl ClientContext for Fates {}

impl ProducerContext for Fates {
    type DeliveryOpaque = Arc<Fate>;

    fn delivery(&self, result: &DeliveryResult<'_>, fate: Arc<Fate>) {
        let result = match result {
            Ok(message) => Ok(u64::try_from(message.offset()).unwrap_or(0)),
            Err((error, _)) => Err(error.clone()),
        };
        *fate.result.lock() = Some(result);
        fate.known.notify_all();
    }
}

impl Fate {
    pub(super) fn wait(&self) -> Result<u64, KafkaError> {
        let mut result = self.result.lock();
        loop {
            match result.take() {
                Some(result) => return result,
                // The client answers for each record it took.
                None => self.known.wait(&mut result),
            }
        }
    }
}

/// Hands a record to the client.
pub(super) fn send(
    producer: &ThreadedProducer<Fates>,
    topic: &str,
    key: &[u8],
    value: &[u8],
    fate: &Arc<Fate>,
) -> Result<(), KafkaError> {
    let record =
        BaseRecord::with_opaque_to(topic, fate.clone()).partition(0).key(key).payload(value);
    producer.send(record).map_err(|(error, _)| error)
}
