//! The log in Kafka, and which counters go with it.

use std::path::Path;
use std::sync::Arc;

use adapters::archive::Objects;
use adapters::embedded::details::EmbeddedDetails;
use adapters::kafka::{
    Away, Foreign, ForeignMessage, KafkaDetails, KafkaLog, KafkaPlace, KafkaRouting, KafkaSettings,
    ToldLetters,
};
use anyhow::{Context, ensure};
use engine::ports::{Clock, CounterStore, EventLog};
use engine::processor::tell_settings;
use engine::routing::Routing;
use model::PartitionId;
use model::bucket::{HOUR_MS, MINUTE_MS};
use model::record::Unreadable;

use super::LOG_SOURCE;
use super::engines::Store;
use crate::config::Resolved;
use crate::http::events::read::foreign;
use crate::registry::Registry;

/// What may wait for Kafka's confirmation.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What Kafka keeps beyond the dedup window: the hour that is being archived, and time to come back
/// from an outage.
const KEPT_BEYOND_MS: i64 = 2 * HOUR_MS;

/// A log, and what everybody shares who has it.
pub(super) struct Open {
    pub(super) log: Arc<KafkaLog>,
    /// Tells it from all others.
    pub(super) name: String,
    pub(super) routing: Arc<Routing>,
    pub(super) details: Arc<KafkaDetails>,
    /// The counters, with dead letters that are told to others.
    pub(super) store: Arc<dyn CounterStore>,
}

/// Opens the topic, and says in it how its events are judged from now on.
pub(super) fn open(
    place: &str,
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    counters: &Store,
    details: &Arc<EmbeddedDetails>,
) -> anyhow::Result<Open> {
    let kafka_settings = self::settings(place, settings)?;
    let log = open_log(&kafka_settings, settings, clock)?;
    check_source(&settings.data_dir, &kafka_settings, &log, counters)?;
    let all = (0..log.partitions()).map(PartitionId);
    let store = &*counters.port;
    tell_settings(&*log, store, all, settings.dedup_minutes, settings.counter_retention)?;
    let name = identity(&kafka_settings, &log);
    let routing = open_routing(&kafka_settings, &log, clock, TakesEvents::Yes)?;
    let details = open_details(&kafka_settings, &log, details)?;
    let store = tell_letters(&kafka_settings, counters.port.clone())?;
    Ok(Open { log, name, routing, details, store })
}

/// Has the dead letters of a store told in a topic beside the log.
pub(super) fn tell_letters(
    kafka_settings: &KafkaSettings,
    store: Arc<dyn CounterStore>,
) -> anyhow::Result<Arc<dyn CounterStore>> {
    Ok(Arc::new(ToldLetters::open(kafka_settings, store)?))
}

/// Opens the item details that everybody shares who has this log; `view` is what this process keeps
/// of them.
pub(super) fn open_details(
    kafka_settings: &KafkaSettings,
    log: &KafkaLog,
    view: &Arc<EmbeddedDetails>,
) -> anyhow::Result<Arc<KafkaDetails>> {
    let details = KafkaDetails::open(kafka_settings, log.cluster_id(), view.clone())?;
    Ok(Arc::new(details))
}

/// Whether a process routes events, and so must be sure of the time of its table.
pub(super) enum TakesEvents {
    Yes,
    No,
}

/// Opens the routing table that everybody shares who has this log.
pub(super) fn open_routing(
    kafka_settings: &KafkaSettings,
    log: &Arc<KafkaLog>,
    clock: &Arc<dyn Clock>,
    takes_events: TakesEvents,
) -> anyhow::Result<Arc<Routing>> {
    let moves_clock = matches!(takes_events, TakesEvents::Yes);
    let (partitions, writer) = (log.partitions(), rand::random());
    let store = KafkaRouting::open(kafka_settings, partitions, writer, moves_clock, clock.clone())?;
    let store = Arc::new(store);
    let known = store.clone();
    log.know_no_more_than(Box::new(move || known.known_until()));
    Ok(Arc::new(Routing::new(store, log.clone())?))
}

/// What the settings say of a log in Kafka.
pub(super) fn settings(place: &str, settings: &Resolved) -> anyhow::Result<KafkaSettings> {
    let place: KafkaPlace = place.parse().context("the setting `log` cannot be used")?;
    Ok(KafkaSettings {
        place,
        partitions: settings.partitions,
        partitions_default: settings.partitions_default,
        retention_ms: settings.log_retention_ms,
        retention_needed_ms: i64::from(settings.dedup_minutes) * MINUTE_MS + KEPT_BEYOND_MS,
        queue_bytes_max: QUEUE_BYTES_MAX,
    })
}

/// Opens the topic.
pub(super) fn open_log(
    kafka_settings: &KafkaSettings,
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<KafkaLog>> {
    let KafkaPlace { schema_id, registry, .. } = &kafka_settings.place;
    let schemas = Registry::new(*schema_id, registry.as_deref())?;
    let others = Others { schemas, max_event_age_ms: settings.max_event_age_ms };
    Ok(Arc::new(KafkaLog::open(kafka_settings, clock.clone(), Arc::new(others))?))
}

/// What tells a log from all others.
pub(super) fn identity(kafka_settings: &KafkaSettings, log: &KafkaLog) -> String {
    format!("kafka {} {}", log.cluster_id(), kafka_settings.place.topic)
}

/// Counters go with one log only: the data folder that has them says with which, or the cluster.
pub(super) fn check_source(
    dir: &Path,
    kafka_settings: &KafkaSettings,
    log: &KafkaLog,
    counters: &Store,
) -> anyhow::Result<()> {
    let source = identity(kafka_settings, log);
    if counters.embedded.is_none() {
        return Ok(counters.bind_log(&source)?);
    }
    let store = &counters.port;
    let objects = Objects::open(&dir.into())?;
    if objects.get(LOG_SOURCE)?.is_none() {
        let snapshot = store.snapshot()?;
        let mut has_counted = dir.join("log").exists();
        for partition in (0..log.partitions()).map(PartitionId) {
            has_counted |= snapshot.checkpoint(partition)?.is_some();
        }
        ensure!(
            !has_counted,
            "{} holds the counters of an embedded log; start with the setting `log` as it was, or \
             with an empty folder",
            dir.display()
        );
        objects.create(LOG_SOURCE, source.clone())?;
    }
    let found = objects.get(LOG_SOURCE)?.unwrap_or_default();
    ensure!(
        found == source.as_bytes(),
        "{} holds the counters of another log: {}, and not of {source}; start with the setting `log` \
         as it was, or with an empty folder",
        dir.display(),
        String::from_utf8_lossy(&found)
    );
    Ok(())
}

/// Events that others write into the topic.
struct Others {
    schemas: Registry,
    max_event_age_ms: i64,
}

impl Foreign for Others {
    fn record(&self, message: &ForeignMessage<'_>) -> Result<Result<Vec<u8>, Unreadable>, Away> {
        let ForeignMessage { partition, offset, append_time, value, .. } = *message;
        let message = foreign::Message { partition, offset, append_time, value };
        foreign::record(&message, &self.schemas, self.max_event_age_ms).map_err(|_| Away)
    }
}
