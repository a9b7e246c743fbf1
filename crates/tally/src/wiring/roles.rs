//! The roles of a cluster, each with its part of the ports: gateways that accept events into a log
//! that processors count, and those who answer from what is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::embedded::cache::MemoryCache;
use adapters::kafka::{KafkaGroup, KafkaLog};
use anyhow::bail;
use api::Durability;
use batch::Archive;
use engine::admission::Admission;
use engine::answers::Answers;
use engine::dead_letters::DeadLetters;
use engine::gateway::Gateway;
use engine::ports::{Clock, EventLog, Membership};
use engine::processor::{Group, Processors};
use engine::query::Query;
use engine::spreader::Spreader;

use super::cluster_archive::{self, ClusterArchive};
use super::kafka::TakesEvents;
use super::{
    FolderLock, ReadObjects, SystemClock, check_nothing_is_cold, create_data_dir, engines, kafka,
    open_details, open_door, processor_settings, start_spreader,
};
use crate::audit::Audits;
use crate::config::Resolved;
use crate::http::roles::{GatewayParts, ProcessorParts, QueryParts, Role};
use crate::http::{Door, Live, Tls};
use crate::recount::Recounts;
use crate::threads::Duty;

/// A process that died leaves the group after its session; until then nobody can be alone in it.
const ALONE_AFTER: Duration = Duration::from_secs(60);
/// Memory of answers that are given again while the store is away.
const LAST_KNOWN_BYTES: u64 = 16 << 20;
/// Between two looks at who is in the group.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A process that accepts events: it keeps nothing.
pub(crate) struct Accepting {
    pub(crate) parts: GatewayParts,
    spreader: Option<Spreader>,
}

impl Accepting {
    /// Opens a gateway.
    ///
    /// # Errors
    /// When the log cannot be opened, or is not one that others can count.
    pub(crate) fn open(settings: &Resolved) -> anyhow::Result<Self> {
        let (clock, door) = front(settings)?;
        let (log, kafka_settings) = open_log(settings, &clock, "gateway")?;
        let routing = kafka::open_routing(&kafka_settings, &log, &clock, TakesEvents::Yes)?;
        let admission = Arc::new(Admission::without_processors(log.partitions()));
        let age = settings.max_event_age_ms;
        let (spreader, heat) = start_spreader(settings, &routing, &clock)?;
        let gateway = Gateway::new(log, clock.clone(), admission.clone(), age);
        let gateway = Arc::new(gateway.with_routing(routing.clone(), heat));
        let role = role(settings, admission, door, clock)?;
        let durability = Durability::REPLICATED;
        Ok(Self { parts: GatewayParts { role, gateway, routing, durability }, spreader })
    }

    /// Ends what runs beside the gateway.
    pub(crate) fn stop(&self) {
        self.spreader.iter().for_each(Spreader::stop);
    }
}

/// A processor, which counts from when it is opened.
pub(crate) struct Processor {
    pub(crate) parts: ProcessorParts,
    membership: KafkaGroup,
    archive: Option<ClusterArchive>,
    _lock: FolderLock,
}

impl Processor {
    /// Opens a processor and joins the group.
    ///
    /// # Errors
    /// When log, store or group cannot be used.
    pub(crate) fn open(settings: &Resolved) -> anyhow::Result<Self> {
        let (clock, door) = front(settings)?;
        let lock = FolderLock::take(&settings.data_dir)?;
        let counters = engines::open_store(settings)?;
        let (log, kafka_settings) = open_log(settings, &clock, "processor")?;
        kafka::check_source(&settings.data_dir, &kafka_settings, &log, &counters)?;
        let membership = KafkaGroup::new(&kafka_settings, log.clone())?;
        if counters.embedded.is_some() {
            wait_until_alone(&membership, &kafka_settings.place.group)?;
        }
        let admission = Arc::new(Admission::new(log.partitions(), settings.dedup_bytes));
        let processor_settings = processor_settings(settings, log.partitions());
        let is_alone = counters.embedded.is_some();
        let objects = Duty::Merge.call(|| cluster_archive::shared_objects(settings, is_alone))?;
        let store = kafka::tell_letters(&kafka_settings, counters.port)?;
        let retention = settings.counter_retention;
        let identity = kafka::identity(&kafka_settings, &log);
        let archived: Arc<dyn EventLog> = log.clone();
        let group = Group::new(
            log,
            store.clone(),
            clock.clone(),
            admission.clone(),
            processor_settings,
            retention,
        );
        let group = Arc::new(group);
        let archive = objects.map(|objects| {
            let (log, store) = ((archived, identity.as_str()), (store, is_alone));
            ClusterArchive::start(settings, objects, log, store, group.clone())
        });
        let archive = archive.transpose()?;
        // The threads that count are begun by the one that hears of the group.
        Duty::Count.call(|| membership.join(group.clone()))?;
        let archiver = archive.as_ref().map(|archive| archive.archiver.clone());
        let role = role(settings, admission, door, clock)?;
        let parts = ProcessorParts { role, group, archiver };
        Ok(Self { parts, membership, archive, _lock: lock })
    }

    /// Tells the group how far counting is, for lag tools.
    pub(crate) fn note_progress(&self) {
        self.membership.note_progress(&self.parts.group.progress());
    }

    /// Flushes what is counted and leaves the group.
    pub(crate) fn stop(&self) {
        self.archive.as_ref().inspect(|archive| archive.ask_to_stop());
        self.membership.leave();
        self.archive.as_ref().inspect(|archive| archive.stop());
    }
}

/// A process that answers questions from counters that others have flushed.
pub(crate) struct Questions {
    pub(crate) parts: QueryParts,
    _lock: FolderLock,
}

impl Questions {
    /// Opens the store, and the log to know how far it is behind.
    ///
    /// # Errors
    /// When log or store cannot be used, or do not belong together.
    pub(crate) fn open(settings: &Resolved) -> anyhow::Result<Self> {
        let (clock, door) = front(settings)?;
        let dir = &settings.data_dir;
        let lock = FolderLock::take(dir)?;
        let counters = engines::open_store(settings)?;
        let (log, kafka_settings) = open_log(settings, &clock, "query")?;
        kafka::check_source(dir, &kafka_settings, &log, &counters)?;
        let is_alone = counters.embedded.is_some();
        let objects = Duty::Merge.call(|| cluster_archive::shared_objects(settings, is_alone))?;
        let routing = kafka::open_routing(&kafka_settings, &log, &clock, TakesEvents::No)?;
        let engines::Store { port: store, embedded, .. } = counters;
        let processor_settings = processor_settings(settings, log.partitions());
        let processors = Duty::Answer.call(|| {
            Processors::follow(log.clone(), store.clone(), clock.clone(), processor_settings)
        })?;
        let cold = objects.clone().map(cluster_archive::cold_reader);
        if cold.is_none() {
            check_nothing_is_cold(&*store)?;
        }
        let raw = objects.map(|objects| Arc::new(ReadObjects(objects)) as Arc<dyn Archive>);
        let age = settings.max_event_age_ms;
        let query = Query::new(processors.clone(), age).with_routing(routing.clone());
        let query = query.with_cold(cold);
        let query = Arc::new(query.reading_afar(embedded.is_none()));
        let cache = engines::open_cache(settings, &clock, &kafka::identity(&kafka_settings, &log))?;
        let answers = Arc::new(Answers::new(query.clone(), cache));
        let recounts = Recounts::new(log.clone(), store.clone(), raw, Arc::new(Audits::open(dir)));
        let live = Live::new(query.clone());
        let details = kafka::open_details(&kafka_settings, &log, &open_details(dir)?)?;
        // Replays go to the log as events do.
        let gateway = Gateway::new(log.clone(), clock.clone(), processors.admission(), age);
        let gateway = Arc::new(gateway.with_routing(routing.clone(), None));
        let dead_letters = Arc::new(DeadLetters::new(gateway, log, store, clock.clone()));
        let role = role(settings, processors.admission(), door, clock)?;
        let last_known = Arc::new(MemoryCache::new(LAST_KNOWN_BYTES, role.clock.clone()));
        let parts = QueryParts {
            role,
            query,
            answers,
            live,
            recounts,
            details,
            processors,
            routing,
            last_known,
            dead_letters,
        };
        Ok(Self { parts, _lock: lock })
    }

    /// Ends what runs beside the answers.
    ///
    /// # Errors
    /// When a thread had panicked.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.parts.live.stop();
        self.parts.recounts.stop();
        Ok(self.parts.processors.leave()?)
    }
}

/// Counters in a data folder are of this process alone: another member of the group would count its
/// share into a folder of its own, and nobody would have the whole.
fn wait_until_alone(membership: &KafkaGroup, group: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + ALONE_AFTER;
    while membership.members()? > 0 {
        if Instant::now() > deadline {
            bail!(
                "another processor is in the group `{group}`; processors that share a log need a store \
                 that they share, and this one keeps its counters in its data folder"
            );
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The log, which must be one that other processes reach.
fn open_log(
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    role: &str,
) -> anyhow::Result<(Arc<KafkaLog>, adapters::kafka::KafkaSettings)> {
    let Some(place) = &settings.log else {
        bail!(
            "a {role} shares its log with other processes: set `log`, as in \
             --log kafka://127.0.0.1:9092/events; `tally serve` has all in one process"
        );
    };
    let kafka_settings = kafka::settings(place, settings)?;
    Ok((kafka::open_log(&kafka_settings, settings, clock)?, kafka_settings))
}

fn front(settings: &Resolved) -> anyhow::Result<(Arc<dyn Clock>, Arc<Door>)> {
    create_data_dir(&settings.data_dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let door = open_door(settings, &clock)?;
    Ok((clock, door))
}

fn role(
    settings: &Resolved,
    admission: Arc<Admission>,
    door: Arc<Door>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Role> {
    let data_dir = settings.data_dir.clone();
    let tls = settings.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
    Ok(Role { admission, door, clock, data_dir, tls, draining: Arc::default() })
}
