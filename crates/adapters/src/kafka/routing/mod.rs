//! The routing table of a log in Kafka: a topic beside it, `<log>-routing`, that everybody follows.
//!
//! Kafka compares nothing before it appends. So a version says at which offset it is to stand, and is
//! one only there (`course`): whoever wrote it had then read all that others had written. The clock by
//! which versions are published is in the topic too: gateways append to it every few seconds, and the
//! broker stamps what they append.

mod course;
mod progress;
mod record;
mod sending;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::ports::{Clock, ErrorKind, PortError, RoutingStore, next_table};
use model::{RoutingChange, RoutingTable, RoutingVersion, TimestampMs};
use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::ThreadedProducer;

use super::KafkaSettings;
use super::follow::Follower;
use super::state_topic::StateTopic;
use course::Course;
use progress::{Beat, Progress, Shared, version};
use record::{Key, VersionKey, Written};
use sending::{Fate, Fates, send};

/// What the topic's name ends with.
const WHAT: &str = "routing";
/// The clock is moved on where nobody has for so long: often within the lease.
const BEAT: Duration = Duration::from_secs(4);
/// Spreads those who would all move it at the same time.
const BEAT_SPREAD_MS: u64 = 2_000;
/// The topic has so long to be read at start, and what was appended to come back.
const PATIENCE: Duration = Duration::from_secs(30);
/// A record is confirmed or refused within so long.
const ANSWER_MS: &str = "5000";
/// What was not confirmed shows itself within so long, or later.
const SHOWS_WITHIN: Duration = Duration::from_secs(3);
/// How often a version is written that lost against a record that changes nothing.
const ATTEMPTS: u32 = 10;
/// Longest value of a record: brokers take no message above a mebibyte, if they are not told to.
const VALUE_BYTES_MAX: usize = 900_000;

/// The table in the topic of a log. Follows it until it is dropped.
pub struct KafkaRouting {
    follower: Follower,
    producer: Arc<ThreadedProducer<Fates>>,
    shared: Arc<Shared>,
    writer: u64,
    attempts: AtomicU64,
    /// Versions of this process are written one after the other.
    publishing: Mutex<()>,
}

impl KafkaRouting {
    /// Opens the table of a log with so many partitions, or begins it with them. `writer` is a random
    /// number of this process; one that takes events moves the clock on (`moves_clock`).
    ///
    /// # Errors
    /// `Unavailable` where no broker answers or takes what is written, `Invalid` where the topic is not
    /// fit, `Corrupt` where it holds what cannot be read.
    pub fn open(
        settings: &KafkaSettings,
        partitions: u16,
        writer: u64,
        moves_clock: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PortError> {
        let StateTopic { name: topic, config } = StateTopic::ensure(settings, WHAT)?;
        let mut producing = config.clone();
        producing
            .set("acks", "all")
            // A record is written once or not at all: one that came again could take the place of a
            // version that won.
            .set("message.send.max.retries", "0")
            .set("message.timeout.ms", ANSWER_MS)
            .set("linger.ms", "0");
        let producer: ThreadedProducer<Fates> =
            producing.create_with_context(Fates).map_err(super::bad_client)?;
        let producer = Arc::new(producer);
        let pause = BEAT + Duration::from_millis(writer % BEAT_SPREAD_MS);
        let beat = moves_clock.then(|| Beat { producer: producer.clone(), pause });
        let (progress, moved) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { topic: topic.clone(), progress, moved, clock, beat });
        let follower = Follower::start(&config, &topic, None, shared.clone())?;
        let (attempts, publishing) = (AtomicU64::new(0), Mutex::new(()));
        let routing = Self { follower, producer, shared, writer, attempts, publishing };
        routing.begin(partitions)?;
        Ok(routing)
    }

    /// Every version that gateways routed by, of events that were appended before this time, is in
    /// [`RoutingStore::table`]: on the clock that the log's bounds go by. While the topic cannot be
    /// read, it stands still.
    pub fn known_until(&self) -> TimestampMs {
        self.shared.progress.lock().look.known_until
    }

    /// Reads what there is, begins the table where nobody has, and makes sure of the time.
    fn begin(&self, partitions: u16) -> Result<(), PortError> {
        // What is no more at the end of the topic is not given out.
        let end = self.follower.end()?;
        let is_read = |progress: &Progress| progress.is_caught_up.then_some(());
        self.shared.wait(PATIENCE, "could not be read", is_read)?;
        {
            let mut progress = self.shared.progress.lock();
            progress.course.pass(end);
            progress.course.share();
        }
        let first = RoutingTable::first(partitions).newest().clone();
        self.append(|course| Ok(course.table().is_none().then(|| first.clone())))?;
        self.shared.progress.lock().course.check(&self.shared.topic)?;
        match self.shared.beat {
            Some(_) => self.move_clock(),
            None => Ok(()),
        }
    }

    /// Moves the clock on and waits until it has.
    fn move_clock(&self) -> Result<(), PortError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = {
                let mut progress = self.shared.progress.lock();
                self.shared.send_beat(&mut progress, &self.producer);
                progress.course.beats()
            };
            let has_moved = |progress: &Progress| (progress.course.beats() > before).then_some(());
            match self.shared.wait(SHOWS_WITHIN, "took no record", has_moved) {
                Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < deadline => {
                }
                moved => return moved,
            }
        }
    }

    /// Reads up to where the topic ends now.
    fn read_up(&self) -> Result<(), PortError> {
        let end = self.follower.end()?;
        let is_read = |progress: &Progress| (progress.course.next_offset() >= end).then_some(());
        self.shared.wait(SHOWS_WITHIN, "could not be read to its end", is_read)
    }

    /// Appends the version that follows from what was read, if one is wanted; the table then.
    fn append(
        &self,
        next: impl Fn(&Course) -> Result<Option<RoutingVersion>, PortError>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        for _ in 0..ATTEMPTS {
            self.read_up()?;
            let (key, written) = {
                let progress = self.shared.progress.lock();
                let course = &progress.course;
                course.check(&self.shared.topic)?;
                let Some(next) = next(course)? else { return self.known(course) };
                let number = version(course) + 1;
                let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
                let key = VersionKey { number, writer: self.writer, attempt };
                (key, Written { place: course.next_offset(), version: next })
            };
            if let Some(table) = self.write(key, &written)? {
                return Ok(table);
            }
        }
        let context = format!(
            "others write to the topic {} all the time: try again, and see who they are",
            self.shared.topic
        );
        Err(PortError::new(ErrorKind::Overloaded, context))
    }

    /// Writes a version; none where another record took its place.
    fn write(
        &self,
        key: VersionKey,
        written: &Written,
    ) -> Result<Option<Arc<RoutingTable>>, PortError> {
        let value = written.write();
        if value.len() > VALUE_BYTES_MAX {
            let context = format!(
                "a version has at most {VALUE_BYTES_MAX} bytes in Kafka, and this one {}: change fewer \
                 rules at a time",
                value.len()
            );
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        let fate = Arc::<Fate>::default();
        let topic = &self.shared.topic;
        send(&self.producer, topic, &Key::Version(key).write(), &value, &fate).map_err(
            |error| {
                let context = format!("nothing is written to the topic {topic} now");
                PortError::caused(ErrorKind::Unavailable, context, error)
            },
        )?;
        let outcome = |progress: &Progress, is_seen: bool| {
            let has_won = progress.course.has(key);
            (is_seen || has_won).then(|| has_won.then(|| self.known(&progress.course)).transpose())
        };
        match fate.wait() {
            Ok(offset) => {
                let is_seen =
                    |progress: &Progress| outcome(progress, progress.course.next_offset() > offset);
                self.shared.wait(PATIENCE, "could not be read to its end", is_seen)?
            }
            Err(error) => {
                let has_come = |progress: &Progress| outcome(progress, false);
                let shown = self.shared.wait(SHOWS_WITHIN, "does not show it", has_come);
                shown.unwrap_or_else(|_| Err(not_confirmed(topic, error)))
            }
        }
    }

    fn known(&self, course: &Course) -> Result<Arc<RoutingTable>, PortError> {
        course.table().cloned().ok_or_else(|| {
            let context = format!("the topic {} has no routing table yet", self.shared.topic);
            PortError::new(ErrorKind::Unavailable, context)
        })
    }
}

fn not_confirmed(topic: &str, error: KafkaError) -> PortError {
    use RDKafkaErrorCode as Code;
    let is_refused = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::MessageSizeTooLarge
                | Code::PolicyViolation
                | Code::NotEnoughReplicas
        )
    );
    let context = match is_refused {
        true => format!("Kafka takes no version into the topic {topic}"),
        false => format!(
            "Kafka did not confirm the version in the topic {topic}: it may come yet, look with `tally \
             routing show` and try again"
        ),
    };
    PortError::caused(ErrorKind::Unavailable, context, error)
}

impl RoutingStore for KafkaRouting {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        self.known(&self.shared.progress.lock().course)
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        let progress = self.shared.progress.lock();
        progress.course.check(&self.shared.topic)?;
        Ok(progress.course.clock())
    }

    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let _alone = self.publishing.lock();
        // What does not follow what is known here follows nothing that is newer.
        let known = self.table()?;
        next_table(&known, after, known.newest().published, partitions, changes.clone())?;
        // It is published now, and not when somebody was last here.
        self.move_clock()?;
        self.append(|course| {
            let table = self.known(course)?;
            let next = next_table(&table, after, course.clock(), partitions, changes.clone())?;
            Ok(Some(next.newest().clone()))
        })
    }
}
