//! What each partition holds, as far as this process knows: what it appended itself at once, what
//! others did after the next look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use engine::ports::{Clock, ErrorKind, LogBounds, PortError};
use model::{Offset, PartitionId, TimestampMs};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::groups::GroupList;

use super::LOG_EPOCH;

/// Between two looks at all partitions.
const PAUSE: Duration = Duration::from_millis(250);
/// A broker has so long to say where a partition ends.
const ANSWER: Duration = Duration::from_secs(3);
/// At start the partitions have so long to get leaders.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bounds of all partitions.
pub(super) struct Ends {
    partitions: Vec<Bounds>,
    /// What was appended before this wall time is below the ends, as the brokers' clocks have it.
    known_ms: AtomicI64,
}

#[derive(Default)]
struct Bounds {
    start: AtomicU64,
    end: AtomicU64,
}

impl Ends {
    /// Nothing is known yet.
    pub(super) fn new(partitions: u16) -> Self {
        let partitions = (0..partitions).map(|_| Bounds::default()).collect();
        Self { partitions, known_ms: AtomicI64::new(0) }
    }

    pub(super) fn count(&self) -> u16 {
        self.partitions.len() as u16
    }

    pub(super) fn of(&self, partition: PartitionId) -> LogBounds {
        let bounds = &self.partitions[usize::from(partition.0)];
        LogBounds {
            log_epoch: LOG_EPOCH,
            start_offset: Offset(bounds.start.load(Ordering::Acquire)),
            durable_offset: Offset(bounds.end.load(Ordering::Acquire)),
        }
    }

    /// Everything below an offset is durable.
    pub(super) fn note_appended(&self, partition: PartitionId, next: Offset) {
        self.partitions[usize::from(partition.0)].end.fetch_max(next.0, Ordering::AcqRel);
    }

    /// All that was appended before this time is below the ends.
    pub(super) fn known_until(&self) -> TimestampMs {
        TimestampMs(self.known_ms.load(Ordering::Acquire))
    }
}

/// Asks the brokers where the partitions begin and end, again and again.
pub(super) struct Watch {
    asking: Arc<Asking>,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it takes to ask.
struct Asking {
    consumer: BaseConsumer,
    topic: String,
    ends: Arc<Ends>,
    clock: Arc<dyn Clock>,
}

impl Watch {
    /// Asks for all partitions, and goes on asking. `each_look` is called after every look.
    pub(super) fn start(
        consumer: BaseConsumer,
        topic: String,
        ends: Arc<Ends>,
        clock: Arc<dyn Clock>,
        each_look: impl Fn() + Send + 'static,
    ) -> Result<Self, PortError> {
        let asking = Arc::new(Asking { consumer, topic, ends, clock });
        asking.first_look()?;
        let is_ending = Arc::new(AtomicBool::new(false));
        let (asked, ending) = (asking.clone(), is_ending.clone());
        let run = move || {
            let mut is_away = false;
            while !ending.load(Ordering::Relaxed) {
                let looked = asked.look();
                each_look();
                match &looked {
                    Err(error) if !is_away => tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "Kafka does not say where its partitions end; trying on"
                    ),
                    Ok(()) if is_away => tracing::info!("Kafka answers again"),
                    _ => {}
                }
                is_away = looked.is_err();
                std::thread::park_timeout(PAUSE);
            }
        };
        let thread =
            Builder::new().name("kafka-ends".into()).spawn(run).map_err(super::no_thread)?;
        Ok(Self { asking, is_ending, thread: Some(thread) })
    }

    /// Asks for one partition now.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers.
    pub(super) fn look_at(&self, partition: PartitionId) -> Result<(), PortError> {
        self.asking.look_at(partition)
    }

    /// Who is in a group.
    pub(super) fn groups(&self, name: Option<&str>) -> KafkaResult<GroupList> {
        self.asking.consumer.fetch_group_list(name, ANSWER)
    }
}

impl Asking {
    /// The first look has patience: a topic that was just made, or a broker that just came back, may
    /// have no leaders yet.
    fn first_look(&self) -> Result<(), PortError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look() {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn look(&self) -> Result<(), PortError> {
        let before = self.clock.now().wall;
        // One that has no leader now does not hide where the others end.
        let looks = (0..self.ends.count()).map(|partition| self.look_at(PartitionId(partition)));
        looks.fold(Ok(()), Result::and)?;
        self.ends.known_ms.fetch_max(before.0, Ordering::AcqRel);
        Ok(())
    }

    fn look_at(&self, partition: PartitionId) -> Result<(), PortError> {
        let found = self.consumer.fetch_watermarks(&self.topic, i32::from(partition.0), ANSWER);
        let (start, end) = found.map_err(|error| {
            let context = format!("nobody says where partition {partition} ends");
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        let bounds = &self.ends.partitions[usize::from(partition.0)];
        let offset = |offset: i64| u64::try_from(offset).unwrap_or(0);
        bounds.start.fetch_max(offset(start), Ordering::AcqRel);
        bounds.end.fetch_max(offset(end), Ordering::AcqRel);
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
