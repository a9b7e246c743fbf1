//! How far this process has read the topic, kept by the thread that follows it; and the clock, which that
//! thread moves on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::ports::{Clock, ErrorKind, PortError};
use model::TimestampMs;
use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use rdkafka::producer::ThreadedProducer;

use super::super::follow::{Following, TopicRecord};
use super::course::Course;
use super::record::{Key, write_floor};
use super::sending::{Fates, send};

/// Between two looks where the topic ends.
const LOOK: Duration = Duration::from_millis(250);

/// What the thread that follows shares with who asks.
pub(super) struct Shared {
    pub(super) topic: String,
    pub(super) progress: Mutex<Progress>,
    pub(super) moved: Condvar,
    pub(super) clock: Arc<dyn Clock>,
    /// None where this process does not move the clock.
    pub(super) beat: Option<Beat>,
}

#[derive(Default)]
pub(super) struct Progress {
    pub(super) course: Course,
    /// Whether all was read that there was at start.
    pub(super) is_caught_up: bool,
    pub(super) beat_seen: Option<Instant>,
    pub(super) beat_sent: Option<Instant>,
    pub(super) look: Look,
}

/// How this process moves the clock.
pub(super) struct Beat {
    pub(super) producer: Arc<ThreadedProducer<Fates>>,
    pub(super) pause: Duration,
}

/// What is known of the time up to which every version was read.
#[derive(Default)]
pub(super) struct Look {
    pub(super) known_until: TimestampMs,
    /// The topic ended here at a time; that is known once all before was read.
    pending: Option<(u64, TimestampMs)>,
    looked: Option<Instant>,
}

impl Following for Shared {
    fn take(&self, record: &TopicRecord<'_>) {
        let mut progress = self.progress.lock();
        let (beats, known) = (progress.course.beats(), version(&progress.course));
        let was_good = progress.course.check(&self.topic).is_ok();
        progress.course.take(record);
        if progress.course.beats() > beats {
            progress.beat_seen = Some(Instant::now());
        }
        // Who opens the table hears of what was there before from that.
        if progress.is_caught_up {
            let version = version(&progress.course);
            if version > known {
                tracing::info!(version, "another version of the routing table has come");
            }
            match progress.course.check(&self.topic) {
                Err(error) if was_good => {
                    tracing::error!(error = &error as &dyn std::error::Error, "no events are taken")
                }
                Ok(()) if !was_good => tracing::info!("the routing table can be read again"),
                _ => {}
            }
        }
        self.moved.notify_all();
    }

    fn reached_end(&self) {
        self.progress.lock().is_caught_up = true;
        self.moved.notify_all();
    }

    fn rests(&self) {}

    fn broke(&self, error: KafkaError) {
        self.progress.lock().course.break_off(error.to_string());
        self.moved.notify_all();
    }

    fn tick(&self, end: &dyn Fn() -> Result<u64, PortError>) {
        self.look(end);
        let Some(beat) = &self.beat else { return };
        let mut progress = self.progress.lock();
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= beat.pause);
        if progress.is_caught_up && is_due(progress.beat_seen) && is_due(progress.beat_sent) {
            self.send_beat(&mut progress, &beat.producer);
        }
    }
}

impl Shared {
    /// Finds out up to when all versions were read, by the clock of this process.
    fn look(&self, end: &dyn Fn() -> Result<u64, PortError>) {
        let is_due = |look: &Look| {
            look.pending.is_none() && look.looked.is_none_or(|at| at.elapsed() >= LOOK)
        };
        let is_due = is_due(&self.progress.lock().look);
        if is_due {
            let before = self.clock.now().wall;
            // Asked without the lock: nobody else waits for the broker.
            let pending = end().ok().map(|end| (end, before));
            let look = &mut self.progress.lock().look;
            (look.looked, look.pending) = (Some(Instant::now()), pending);
        }
        let mut progress = self.progress.lock();
        let next_offset = progress.course.next_offset();
        if let Some((end, before)) = progress.look.pending
            && progress.is_caught_up
            && end <= next_offset
            && progress.course.check(&self.topic).is_ok()
        {
            progress.look.known_until = progress.look.known_until.max(before);
            progress.look.pending = None;
        }
    }

    /// Moves the clock on. Where that fails it stands still, and another try is made later.
    pub(super) fn send_beat(&self, progress: &mut Progress, producer: &ThreadedProducer<Fates>) {
        progress.beat_sent = Some(Instant::now());
        let (key, value) = (Key::Clock.write(), write_floor(progress.course.clock()));
        if let Err(error) = send(producer, &self.topic, &key, &value, &Arc::default()) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the clock of the routing table cannot be moved on"
            );
        }
    }

    /// Waits until something is so.
    pub(super) fn wait<T>(
        &self,
        within: Duration,
        what: &str,
        is_so: impl Fn(&Progress) -> Option<T>,
    ) -> Result<T, PortError> {
        let deadline = Instant::now() + within;
        let mut progress = self.progress.lock();
        loop {
            if let Some(found) = is_so(&progress) {
                return Ok(found);
            }
            progress.course.check(&self.topic)?;
            if self.moved.wait_until(&mut progress, deadline).timed_out() {
                let context =
                    format!("the topic {} {what} within {} s", self.topic, within.as_secs());
                return Err(PortError::new(ErrorKind::Unavailable, context));
            }
        }
    }
}

pub(super) fn version(course: &Course) -> u32 {
    course.table().map_or(0, |table| table.version())
}
