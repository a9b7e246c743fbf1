//! The log in Kafka, and which counters go with it.

use std::path::Path;
use std::sync::Arc;

use adapters::archive::Objects;
use adapters::kafka::{Foreign, ForeignMessage, KafkaLog, KafkaPlace, KafkaSettings};
use anyhow::{Context, ensure};
use engine::ports::{Clock, EventLog};
use engine::processor::tell_settings;
use model::PartitionId;
use model::bucket::{HOUR_MS, MINUTE_MS};
use model::record::{EVENT_SCHEMA, Unreadable};

use super::LOG_SOURCE;
use super::engines::Store;
use crate::config::Resolved;
use crate::http::events::read::avro::WriterSchema;
use crate::http::events::read::foreign::{self, Schemas};

/// What may wait for Kafka's confirmation.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What Kafka keeps beyond the dedup window: the hour that is being archived, and time to come back
/// from an outage.
const KEPT_BEYOND_MS: i64 = 2 * HOUR_MS;

/// Opens the topic, and says in it how its events are judged from now on.
pub(super) fn open(
    place: &str,
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    counters: &Store,
) -> anyhow::Result<Arc<dyn EventLog>> {
    let kafka_settings = self::settings(place, settings)?;
    let log = open_log(&kafka_settings, settings, clock)?;
    check_source(&settings.data_dir, &kafka_settings, &log, counters)?;
    let all = (0..log.partitions()).map(PartitionId);
    let store = &*counters.port;
    tell_settings(&*log, store, all, settings.dedup_minutes, settings.counter_retention)?;
    Ok(log)
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
    let own = WriterSchema::resolve(EVENT_SCHEMA).context("the schema of events")?;
    let own = (kafka_settings.place.schema_id, Arc::new(own));
    let others = Others { own, max_event_age_ms: settings.max_event_age_ms };
    Ok(Arc::new(KafkaLog::open(kafka_settings, clock.clone(), Arc::new(others))?))
}

/// Counters go with one log only: the data folder that has them says with which, or the cluster.
pub(super) fn check_source(
    dir: &Path,
    kafka_settings: &KafkaSettings,
    log: &KafkaLog,
    counters: &Store,
) -> anyhow::Result<()> {
    let source = format!("kafka {} {}", log.cluster_id(), kafka_settings.place.topic);
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
    /// The schema that we write with, and its id.
    own: (u32, Arc<WriterSchema>),
    max_event_age_ms: i64,
}

impl Schemas for Others {
    fn get(&self, id: u32) -> Option<Arc<WriterSchema>> {
        (id == self.own.0).then(|| self.own.1.clone())
    }
}

impl Foreign for Others {
    fn record(&self, message: &ForeignMessage<'_>) -> Result<Vec<u8>, Unreadable> {
        let ForeignMessage { partition, offset, append_time, value, .. } = *message;
        let message = foreign::Message { partition, offset, append_time, value };
        foreign::record(&message, self, self.max_event_age_ms)
    }
}
