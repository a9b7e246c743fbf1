//! Asks a consumer for errors and the like, so that they do not pile up: its messages come by the
//! queues of its partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use engine::ports::PortError;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;

/// How often it is asked at least.
const TICK: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Pump {
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    pub(super) fn start(consumer: Arc<BaseConsumer>) -> Result<Self, PortError> {
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = is_ending.clone();
        let run = move || {
            while !ending.load(Ordering::Relaxed) {
                match consumer.poll(TICK) {
                    None => {}
                    Some(Err(error)) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a consumer of Kafka met an error; trying on"
                    ),
                    // Every partition has a queue of its own before it is assigned.
                    Some(Ok(message)) => tracing::error!(
                        partition = message.partition(),
                        offset = message.offset(),
                        "a message took another way than its partition's"
                    ),
                }
            }
        };
        let thread =
            Builder::new().name("kafka-read".into()).spawn(run).map_err(super::no_thread)?;
        Ok(Self { is_ending, thread: Some(thread) })
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
