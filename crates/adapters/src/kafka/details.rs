//! Item details of a log in Kafka: a topic beside it, `<log>-details`, with a record for each item, that
//! every process follows which shows details. What it has read it keeps in a folder of its own, and asks
//! there; who writes waits until it has read that.
//!
//! ```text
//! key   = the item
//! value = 01 | details (see `embedded::details::bytes`); 01 alone where nothing is known any more
//! ```
//!
//! What is gone is said by a record and by no tombstone: those vanish after a day, and whoever was away
//! for longer would never hear of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::ports::{DetailsChange, EachItem, ErrorKind, ItemDetailsStore, PortError};
use model::ItemDetails;
use parking_lot::{Condvar, Mutex};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;

use super::KafkaSettings;
use super::confirmed::{ConfirmedWriter, Outgoing};
use super::follow::{Follower, Following, TopicRecord};
use super::state_topic::StateTopic;
use crate::embedded::details::EmbeddedDetails;
use crate::embedded::details::bytes;

/// What the topic's name ends with.
const WHAT: &str = "details";
/// What this program writes and the only thing it reads.
const FORMAT: u8 = 1;
/// Changes that are kept in one go.
const CHANGES_MAX: usize = 1_000;
/// How long a start waits for what was written before; then titles are missing for a while.
const START: Duration = Duration::from_secs(30);
/// What was confirmed is read within so long.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Wait before the folder is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The details in the topic of a log. Follows it until it is dropped.
pub struct KafkaDetails {
    // In this order: nobody calls back any more when the rest goes.
    _follower: Follower,
    writer: ConfirmedWriter,
    shared: Arc<Shared>,
    /// Lists of this process are written one after the other.
    putting: Mutex<()>,
}

/// What the thread that follows shares with who asks.
struct Shared {
    topic: String,
    /// Tells the topic from all others.
    source: String,
    view: Arc<EmbeddedDetails>,
    progress: Mutex<Progress>,
    moved: Condvar,
    is_ending: AtomicBool,
}

#[derive(Default)]
struct Progress {
    /// Read and not kept yet.
    pending: Vec<DetailsChange>,
    /// The first offset that was not read.
    next_offset: u64,
    /// The first offset that is not kept.
    kept_offset: u64,
    is_caught_up: bool,
    /// Why nothing is read any more.
    broken: Option<String>,
}

impl Following for Shared {
    fn take(&self, record: &TopicRecord<'_>) {
        {
            let mut progress = self.progress.lock();
            if progress.broken.is_some() || record.offset < progress.next_offset {
                return;
            }
            match read(record) {
                Ok(change) => progress.pending.push(change),
                Err(Unreadable::Format(format)) => {
                    let why = format!(
                        "the record at offset {} is of format {format}, which a newer program writes",
                        record.offset
                    );
                    tracing::error!(topic = self.topic, why, "item details are no longer followed");
                    progress.broken = Some(why);
                    self.moved.notify_all();
                    return;
                }
                // The item stays as it was.
                Err(error) => tracing::warn!(
                    topic = self.topic,
                    offset = record.offset,
                    key = %record.key.escape_ascii(),
                    error = &error as &dyn std::error::Error,
                    "a record is no item's details"
                ),
            }
            progress.next_offset = record.offset + 1;
            if progress.pending.len() < CHANGES_MAX {
                return;
            }
        }
        self.keep();
    }

    fn reached_end(&self) {
        self.keep();
        self.progress.lock().is_caught_up = true;
        self.moved.notify_all();
    }

    fn rests(&self) {
        self.keep();
    }

    fn broke(&self, error: KafkaError) {
        self.progress.lock().broken.get_or_insert(error.to_string());
        self.moved.notify_all();
    }

    fn tick(&self, _: &dyn Fn() -> Result<u64, PortError>) {}
}

impl Shared {
    /// Keeps what was read. Where the disk refuses, nothing more is read until it does not.
    fn keep(&self) {
        let (changes, next_offset) = {
            let mut progress = self.progress.lock();
            if progress.kept_offset == progress.next_offset {
                return;
            }
            (std::mem::take(&mut progress.pending), progress.next_offset)
        };
        let mut was_refused = false;
        while !changes.is_empty() && !self.is_ending.load(Ordering::Relaxed) {
            match self.view.put_followed(&changes, next_offset, &self.source) {
                Ok(()) => break,
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    if !was_refused {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "item details that others wrote cannot be kept now"
                        );
                    }
                    was_refused = true;
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "item details are no longer followed"
                    );
                    self.progress.lock().broken.get_or_insert(error.to_string());
                    self.moved.notify_all();
                    return;
                }
            }
        }
        let mut progress = self.progress.lock();
        progress.kept_offset = next_offset;
        self.moved.notify_all();
    }

    /// Waits until something is so; whether it is.
    fn wait(&self, within: Duration, is_so: impl Fn(&Progress) -> bool) -> Result<bool, PortError> {
        let deadline = Instant::now() + within;
        let mut progress = self.progress.lock();
        while !is_so(&progress) {
            if let Some(why) = &progress.broken {
                let context = format!("the topic {} is no longer followed: {why}", self.topic);
                return Err(PortError::new(ErrorKind::Corrupt, context));
            }
            if self.moved.wait_until(&mut progress, deadline).timed_out() {
                return Ok(is_so(&progress));
            }
        }
        Ok(true)
    }
}

/// Why a record is not the details of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("its key is no item")]
    Item,
    #[error("its bytes are damaged")]
    Bytes,
    #[error("it is of format {0}")]
    Format(u8),
}

fn read(record: &TopicRecord<'_>) -> Result<DetailsChange, Unreadable> {
    let item = std::str::from_utf8(record.key).map_err(|_| Unreadable::Item)?;
    model::event::check_item(item).map_err(|_| Unreadable::Item)?;
    let details = match record.value {
        None | Some([FORMAT]) => None,
        Some([FORMAT, details @ ..]) => Some(bytes::read(details).map_err(|_| Unreadable::Bytes)?),
        Some([format, ..]) => return Err(Unreadable::Format(*format)),
        Some([]) => return Err(Unreadable::Bytes),
    };
    Ok(DetailsChange { item: item.to_owned(), details })
}

fn write(details: Option<&ItemDetails>) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend(details.map(bytes::write).unwrap_or_default());
    value
}

impl KafkaDetails {
    /// Opens the details of a log in the cluster of this id; `view` keeps what is read.
    ///
    /// # Errors
    /// `Unavailable` where no broker answers, `Invalid` where the topic is not fit or the view is of
    /// another one, `Corrupt` where the view is damaged.
    pub fn open(
        settings: &KafkaSettings,
        cluster: &str,
        view: Arc<EmbeddedDetails>,
    ) -> Result<Self, PortError> {
        let StateTopic { name: topic, config } = StateTopic::ensure(settings, WHAT)?;
        let source = format!("kafka {cluster} {topic}");
        let from = match view.followed()? {
            Some((next_offset, found)) if found == source => next_offset,
            Some((_, found)) => {
                let context = format!(
                    "the item details in the data folder are of another topic: {found}, and not of \
                     {source}; remove its folder `details`, and they are read again"
                );
                return Err(PortError::new(ErrorKind::Invalid, context));
            }
            None => {
                if !view.is_empty()? {
                    tracing::warn!(
                        topic,
                        "item details that were put here before are known to this process alone: put \
                         them again, and everybody knows them"
                    );
                }
                0
            }
        };
        let writer = ConfirmedWriter::start(&config, &topic)?;
        let progress =
            Mutex::new(Progress { next_offset: from, kept_offset: from, ..Progress::default() });
        let (moved, is_ending) = (Condvar::new(), AtomicBool::new(false));
        let shared =
            Arc::new(Shared { topic: topic.clone(), source, view, progress, moved, is_ending });
        let begin = (from > 0).then_some(from);
        let follower = Follower::start(&config, &topic, begin, shared.clone())?;
        let end = follower.end()?;
        if end < from {
            let context = format!(
                "the topic {topic} ends at offset {end}, and was followed to {from} before: it was made \
                 anew; remove the folder `details` of the data folder, and it is read from the beginning"
            );
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        let details = Self { _follower: follower, writer, shared, putting: Mutex::new(()) };
        if !details.shared.wait(START, |progress| progress.is_caught_up)? {
            tracing::warn!(topic, "item details are still being read; some are missing meanwhile");
        }
        Ok(details)
    }
}

/// The records of a list: of each item that of its last change.
fn records(changes: &[DetailsChange]) -> impl ExactSizeIterator<Item = Outgoing> {
    let places = changes.iter().enumerate().map(|(at, change)| (change.item.as_str(), at));
    let last: HashMap<&str, usize> = places.collect();
    let is_last = |(at, change): &(usize, &DetailsChange)| last[change.item.as_str()] == *at;
    let kept: Vec<_> = changes.iter().enumerate().filter(is_last).map(|(_, kept)| kept).collect();
    kept.into_iter().map(|DetailsChange { item, details }| Outgoing {
        key: item.as_bytes().to_vec(),
        value: write(details.as_ref()),
        headers: OwnedHeaders::new(),
    })
}

impl ItemDetailsStore for KafkaDetails {
    fn put(&self, changes: &[DetailsChange]) -> Result<Vec<bool>, PortError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let _alone = self.putting.lock();
        let topic = &self.shared.topic;
        // Nobody writes who would not read it.
        self.shared.wait(Duration::ZERO, |progress| progress.broken.is_none())?;
        let mut is_known = HashMap::new();
        let mut were_known = Vec::with_capacity(changes.len());
        for DetailsChange { item, details } in changes {
            let was_known = match is_known.insert(item.as_str(), details.is_some()) {
                Some(was_known) => was_known,
                None => self.shared.view.get(&[item.as_str()])? != [None],
            };
            were_known.push(was_known);
        }
        let next_offset = self.writer.write(records(changes)).map_err(|error| {
            let context = format!(
                "Kafka has not confirmed all item details in the topic {topic}: send them again"
            );
            PortError::caused(ErrorKind::Unavailable, context, error)
        })?;
        if !self.shared.wait(READ_WITHIN, |progress| progress.kept_offset >= next_offset)? {
            let context = format!(
                "item details are in the topic {topic}, but were not read from it within {} s",
                READ_WITHIN.as_secs()
            );
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
        Ok(were_known)
    }

    fn get(&self, items: &[&str]) -> Result<Vec<Option<ItemDetails>>, PortError> {
        self.shared.view.get(items)
    }

    fn of_channel(
        &self,
        channel: &str,
        behind: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, PortError> {
        self.shared.view.of_channel(channel, behind, limit)
    }

    fn scan(
        &self,
        channel: Option<&str>,
        behind: Option<&str>,
        each: &mut EachItem<'_>,
    ) -> Result<(), PortError> {
        self.shared.view.scan(channel, behind, each)
    }
}

impl Drop for KafkaDetails {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_value(key: &[u8], value: Option<&[u8]>) -> Result<DetailsChange, Unreadable> {
        read(&TopicRecord { offset: 0, append_time: None, key, value })
    }

    #[test]
    fn golden_bytes() {
        let title = ItemDetails { title: Some("T".into()), ..ItemDetails::default() };
        assert_eq!(write(Some(&title)), b"\x01\x01\0\x01T\0");
        assert_eq!(write(None), b"\x01");
        let change = |details| Ok(DetailsChange { item: "a".into(), details });
        assert_eq!(read_value(b"a", Some(b"\x01\x01\0\x01T\0")), change(Some(title)));
        assert_eq!(read_value(b"a", Some(b"\x01")), change(None));
        assert_eq!(read_value(b"a", None), change(None));
    }

    #[test]
    fn what_is_no_details_is_named() {
        assert_eq!(read_value(b"", Some(b"\x01")), Err(Unreadable::Item));
        assert_eq!(read_value(b"\xff", Some(b"\x01")), Err(Unreadable::Item));
        assert_eq!(read_value(b"a\n", Some(b"\x01")), Err(Unreadable::Item));
        assert_eq!(read_value(b"a", Some(b"")), Err(Unreadable::Bytes));
        assert_eq!(read_value(b"a", Some(b"\x01\x01\0\x01T")), Err(Unreadable::Bytes));
        assert_eq!(read_value(b"a", Some(b"\x02")), Err(Unreadable::Format(2)));
    }

    proptest! {
        /// Whatever the bytes, they are refused or are what would be written.
        #[test]
        fn bytes_are_never_trusted(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [&[FORMAT], &bytes[..]].concat();
            if let Ok(change) = read_value(b"a", Some(&bytes)) {
                prop_assert_eq!(write(change.details.as_ref()), bytes);
            }
        }
    }
}
