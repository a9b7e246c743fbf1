//! Puts the parts together: the only file that names both a port and a product.

pub(crate) mod backup;
#[cfg(feature = "kafka")]
mod cluster_archive;
mod engines;
pub(crate) use engines::init_store;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
pub(crate) mod roles;
#[cfg(feature = "sql")]
pub(crate) mod sql;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use adapters::archive::{ColdFiles, Objects, Place, RawFiles};
use adapters::embedded::details::EmbeddedDetails;
use adapters::embedded::disk::RealDisk;
use adapters::embedded::log::{Codec, EmbeddedLog, LogSettings, stored_partitions};
use adapters::embedded::routing::EmbeddedRouting;
use adapters::embedded::store::{EmbeddedStore, FREE_BYTES_MIN, StoreSettings};
use anyhow::{Context, bail, ensure};
use api::Durability;
use batch::Archive;
use engine::admission::Admission;
use engine::answers::Answers;
use engine::archiver::{Archiver, ArchiverSettings};
use engine::cold::ColdDays;
use engine::dead_letters::DeadLetters;
use engine::gateway::Gateway;
use engine::ports::{
    Clock, ColdCounters, CounterStore, ErrorKind, EventLog, ItemDetailsStore, PortError,
};
use engine::processor::{ProcessorSettings, Processors};
use engine::query::{Query, QueryError};
use engine::routing::Routing;
use engine::spreader::{Heat, Spreader};
use model::append_time::ClockReading;
use model::hot::HotItems;
use model::{PartitionId, TimestampMs};
use rustix::fs::{FlockOperation, flock};

use crate::audit::{Audits, LiveAudit};
use crate::backups::{BackupSource, Backups};
use crate::bulk::BulkLane;
use crate::config::{Compression, Resolved};
use crate::drill::ShiftedClock;
use crate::http::{Door, Live, Parts};
use crate::keys::{KeyFile, Keyring};
use crate::recount::Recounts;
use crate::tables;
use crate::threads::Duty;

/// Room that the log leaves free on the disk: what is accepted can then be counted and written down
/// even when nothing more can be accepted.
pub(crate) const LOG_RESERVE_BYTES: u64 = FREE_BYTES_MIN + (128 << 20);

/// Room that an archive in a folder leaves free: the log goes before it.
const ARCHIVE_RESERVE_BYTES: u64 = LOG_RESERVE_BYTES + (128 << 20);

/// Room that item details leave: counting goes before them.
const DETAILS_RESERVE_BYTES: u64 = ARCHIVE_RESERVE_BYTES;

/// Room that the bulk lane leaves beyond that: the raw events of what it takes go before it.
const BULK_MARGIN_BYTES: u64 = 128 << 20;

/// Everything that runs in one process. The folder is locked for as long as this lives.
pub(crate) struct Tally {
    pub(crate) parts: Parts,
    cold_days: Option<ColdDays>,
    /// None where the log lies in the data folder.
    close_log: Option<Box<dyn Fn() + Send + Sync>>,
    spreader: Option<Spreader>,
    _lock: FolderLock,
}

impl Tally {
    /// Opens the data folder and starts counting. A drill may shift the wall clock by a file.
    ///
    /// # Errors
    /// When the folder is in use, cannot be written, or holds damaged data.
    pub(crate) fn open(settings: &Resolved, drill_clock: Option<&Path>) -> anyhow::Result<Self> {
        let dir = &settings.data_dir;
        create_data_dir(dir)?;
        let lock = FolderLock::take(dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let clock = match drill_clock {
            Some(file) => Arc::new(ShiftedClock::start(clock, file)?),
            None => clock,
        };
        let door = open_door(settings, &clock)?;
        let counters = engines::open_store(settings)?;
        let details = open_details(dir)?;
        let opened = match &settings.log {
            Some(place) => open_log_elsewhere(place, settings, &clock, &counters, &details)?,
            None => {
                let name = archive_owner(dir)?;
                counters.bind_log(&name)?;
                let log = open_log(settings, &clock, &*counters.port)?;
                let embedded = counters.embedded.as_ref();
                let backups = backup::source(embedded, &log, &details, dir, &clock);
                let durability = Durability::FSYNC;
                let routing = open_routing(settings, &(log.clone() as Arc<dyn EventLog>))?;
                let store = counters.port.clone();
                OpenLog { log, name, routing, details, store, backups, durability, close: None }
            }
        };
        let OpenLog { log, name, routing, details, store, backups, durability, close } = opened;
        let engines::Store { embedded, .. } = counters;
        let backups = Arc::new(Backups::new(backups, clock.clone()));
        let audits = Arc::new(Audits::open(dir));
        let audit = Arc::new(LiveAudit::new(audits.clone(), clock.clone(), routing.clone()));
        let admission = Arc::new(Admission::new(log.partitions(), settings.dedup_bytes));
        let processor_settings = processor_settings(settings, log.partitions());
        let objects = Duty::Merge.call(|| open_objects(settings))?;
        let archive = objects
            .clone()
            .map(|objects| Duty::Merge.call(|| open_archive(settings, objects, &log)));
        let (archiver, cold) = archive.transpose()?.map_or((None, None), |(archiver, cold)| {
            (Some(Arc::new(archiver)), Some(Arc::new(cold) as Arc<dyn ColdCounters>))
        });
        if cold.is_none() {
            check_nothing_is_cold(&*store)?;
        }
        let processors = Duty::Count.call(|| {
            let store = store.clone();
            let log = match &archiver {
                Some(archiver) => archiver.keep_unarchived(log.clone()),
                None => log.clone(),
            };
            Processors::start(log, store, clock.clone(), admission.clone(), processor_settings)
        })?;
        let growing = processors.clone();
        routing.on_grown(Box::new(move |_| Duty::Count.call(|| growing.grow())));
        let age = settings.max_event_age_ms;
        let cold_days = cold.clone().map(|cold| {
            let start = || ColdDays::start(store.clone(), cold, log.clone());
            Duty::Merge.call(start)
        });
        let cold_days = cold_days.transpose()?;
        let query = Query::new(processors.clone(), age).with_routing(routing.clone());
        let query = query.with_cold(cold).reading_afar(embedded.is_none());
        let query = Arc::new(query);
        if let Some(archiver) = &archiver {
            let query = query.clone();
            archiver.begin_when(move || !matches!(query.ready(), Err(QueryError::NotReady(_))));
        }
        let cache = engines::open_cache(settings, &clock, &name)?;
        let answers = Arc::new(Answers::new(query.clone(), cache));
        let (spreader, heat) = start_spreader(settings, &routing, &clock)?;
        let gateway = Gateway::new(log.clone(), clock.clone(), admission.clone(), age);
        let gateway = Arc::new(gateway.with_routing(routing.clone(), heat));
        let raw = objects.clone().map(|objects| Arc::new(ReadObjects(objects)) as Arc<dyn Archive>);
        let recounts = Recounts::new(log.clone(), store.clone(), raw, audits.clone());
        let dead_letters = Arc::new(DeadLetters::new(gateway.clone(), log, store, clock));
        let bulk = open_bulk(settings, objects, &gateway, &processors)?;
        let data_dir = dir.clone();
        let parts = Parts {
            draining: Arc::default(),
            gateway,
            routing,
            live: Live::new(query.clone()),
            answers,
            query,
            details,
            processors,
            archiver,
            admission,
            dead_letters,
            recounts,
            backups,
            audit,
            bulk,
            door,
            data_dir,
            durability,
        };
        Ok(Self { parts, cold_days, spreader, close_log: close, _lock: lock })
    }

    /// From now on no event is accepted.
    pub(crate) fn refuse_events(&self) {
        self.parts.admission.stop();
    }

    /// Ends a backup or recount that is under way, counts what was accepted, flushes it and ends the
    /// threads. Of a log that lies elsewhere what is not counted yet is left to the next start.
    ///
    /// # Errors
    /// When the last flush fails; nothing is lost, the next start counts it again.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        if let Some(spreader) = &self.spreader {
            spreader.stop();
        }
        self.parts.bulk.stop();
        self.parts.backups.stop();
        self.parts.recounts.stop();
        let archiver = self.parts.archiver.as_deref();
        archiver.inspect(|archiver| archiver.ask_to_stop());
        let flushed = match &self.close_log {
            None => self.parts.processors.stop(),
            Some(close) => {
                let flushed = self.parts.processors.leave();
                close();
                flushed
            }
        };
        archiver.inspect(|archiver| archiver.stop());
        if let Some(cold_days) = &self.cold_days {
            cold_days.stop();
        }
        flushed.context("the last flush failed; the next start repeats it")
    }
}

/// A log, and what goes with where it is.
struct OpenLog {
    log: Arc<dyn EventLog>,
    /// Tells it from all others.
    name: String,
    /// Which of its partitions events go to.
    routing: Arc<Routing>,
    /// What is known of its items.
    details: Arc<dyn ItemDetailsStore>,
    /// What it is counted into.
    store: Arc<dyn CounterStore>,
    backups: Box<dyn BackupSource>,
    /// What an acknowledged event is.
    durability: &'static str,
    /// Ends its reads, where it may not answer.
    close: Option<Box<dyn Fn() + Send + Sync>>,
}

/// The name in a data folder of what says which log its counters are of, where that lies elsewhere.
const LOG_SOURCE: &str = "log-source";

#[cfg(feature = "kafka")]
fn open_log_elsewhere(
    place: &str,
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    counters: &engines::Store,
    details: &Arc<EmbeddedDetails>,
) -> anyhow::Result<OpenLog> {
    let kafka::Open { log, name, routing, details, store } =
        kafka::open(place, settings, clock, counters, details)?;
    let closed = log.clone();
    Ok(OpenLog {
        log,
        name,
        routing,
        details,
        store,
        backups: Box::new(backup::Elsewhere::Log),
        durability: Durability::REPLICATED,
        close: Some(Box::new(move || closed.close())),
    })
}

#[cfg(not(feature = "kafka"))]
fn open_log_elsewhere(
    _: &str,
    _: &Resolved,
    _: &Arc<dyn Clock>,
    _: &engines::Store,
    _: &Arc<EmbeddedDetails>,
) -> anyhow::Result<OpenLog> {
    bail!("this build of tally knows no log in Kafka; build it with --features kafka")
}

/// Opens the counter store of a data folder.
fn open_embedded_store(dir: &Path) -> anyhow::Result<Arc<EmbeddedStore>> {
    let open = || EmbeddedStore::open(&dir.join("store"), StoreSettings::default());
    Ok(Arc::new(Duty::Merge.call(open)?))
}

/// Opens the item details of a data folder.
fn open_details(dir: &Path) -> anyhow::Result<Arc<EmbeddedDetails>> {
    let open = || EmbeddedDetails::open(&dir.join("details"), DETAILS_RESERVE_BYTES);
    Ok(Arc::new(Duty::Merge.call(open)?))
}

/// Opens the log with what the store knows to have been durable.
fn open_log(
    settings: &Resolved,
    clock: &Arc<dyn Clock>,
    store: &dyn CounterStore,
) -> anyhow::Result<Arc<EmbeddedLog>> {
    let source = settings.data_dir.join(LOG_SOURCE);
    if source.exists() {
        bail!(
            "the counters in {} are of a log elsewhere, see {}; start with the setting `log` as it was",
            settings.data_dir.display(),
            source.display()
        );
    }
    let dir = settings.data_dir.join("log");
    let disk = Arc::new(RealDisk);
    let partitions = match stored_partitions(&*disk, &dir)? {
        Some(stored) => stored,
        None => settings.partitions.unwrap_or(settings.partitions_default),
    };
    let snapshot = store.snapshot()?;
    let checkpoints = (0..partitions).map(|n| snapshot.checkpoint(PartitionId(n)));
    let known_durable = checkpoints
        .map(|checkpoint| Ok(checkpoint?.map(|checkpoint| checkpoint.next_offset)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let log_settings = LogSettings {
        codec: match settings.log_compression {
            Compression::None => Codec::None,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        },
        segment_bytes: settings.segment_bytes,
        reserve_bytes: LOG_RESERVE_BYTES,
        dedup_minutes: settings.dedup_minutes,
        counters: settings.counter_retention,
        retention_ms: Some(settings.log_retention_ms),
        retention_bytes: settings.log_retention_bytes,
        ..LogSettings::new(partitions)
    };
    let log = EmbeddedLog::open(disk, &dir, &log_settings, clock.clone(), &known_durable)?;
    Ok(Arc::new(log))
}

/// Opens the routing table. The setting speaks of the first version; what came after is the table's.
fn open_routing(settings: &Resolved, log: &Arc<dyn EventLog>) -> anyhow::Result<Arc<Routing>> {
    let dir = settings.data_dir.join("log");
    let store = EmbeddedRouting::open(Arc::new(RealDisk), &dir, log.clone())?;
    let routing = Routing::new(Arc::new(store), log.clone())?;
    let table = routing.table()?;
    let begun_with = table.versions().first().map_or(0, |version| version.partitions);
    let is_one_of = |wanted: &u16| [begun_with, table.newest().partitions].contains(wanted);
    if let Some(wanted) = settings.partitions.filter(|wanted| !is_one_of(wanted)) {
        bail!(
            "the setting `partitions` is {wanted}, but {} was begun with {begun_with}: leave the \
             setting out, and change the number of a running server with `tally routing partitions \
             {wanted}`",
            settings.data_dir.display()
        );
    }
    Ok(Arc::new(routing))
}

/// Starts to spread hot items, where that is wanted.
fn start_spreader(
    settings: &Resolved,
    routing: &Arc<Routing>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Option<Spreader>, Option<Arc<Heat>>)> {
    let Some(above) = settings.spread_above else { return Ok((None, None)) };
    let hot = match settings.log {
        None => HotItems::new(above),
        // Other gateways take events too.
        Some(_) => HotItems::of_a_part(above),
    };
    let heat = Arc::new(Heat::new(rand::random()));
    let spreader = Spreader::start(routing.clone(), heat.clone(), clock.clone(), hot)?;
    Ok((Some(spreader), Some(heat)))
}

/// A server without an archive would answer without the days that are in it.
fn check_nothing_is_cold(store: &dyn CounterStore) -> anyhow::Result<()> {
    let until = store.snapshot()?.cold_until()?;
    if until.0 > 0 {
        bail!(
            "the counts of days before {} are in the archive; start with the setting `archive` as \
             it was",
            until.start()
        );
    }
    Ok(())
}

/// Opens the archive, where one is wanted.
fn open_objects(settings: &Resolved) -> anyhow::Result<Option<Objects>> {
    let Some(place) = &settings.archive else { return Ok(None) };
    let place: Place =
        place.parse().with_context(|| format!("the setting `archive` is `{place}`"))?;
    Ok(Some(Objects::open(&place)?))
}

/// Starts to archive raw events, and opens the files of cold days.
fn open_archive(
    settings: &Resolved,
    objects: Objects,
    log: &Arc<dyn EventLog>,
) -> anyhow::Result<(Archiver, ColdFiles)> {
    let owner = archive_owner(&settings.data_dir)?;
    let cold = ColdFiles::new(objects.clone(), &owner, ARCHIVE_RESERVE_BYTES);
    let archive = RawFiles::new(objects.clone(), &owner, ARCHIVE_RESERVE_BYTES);
    if claim_archive(&archive, &cold)? {
        objects.remove_leftovers()?;
    }
    let archiver_settings = ArchiverSettings {
        retention_ms: settings.raw_retention_ms,
        dedup_minutes: settings.dedup_minutes,
    };
    Ok((Archiver::start_held(log.clone(), Arc::new(archive), archiver_settings)?, cold))
}

/// Makes an archive its owner's; false where it does not answer now, and is claimed by the first write.
///
/// # Errors
/// Where it is another's, or of a later format.
fn claim_archive(archive: &RawFiles, cold: &ColdFiles) -> anyhow::Result<bool> {
    let is_claimed = match archive.claim() {
        Ok(()) => true,
        Err(error) if error.kind == ErrorKind::Unavailable => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the archive does not answer; the log keeps what it should have"
            );
            false
        }
        Err(error) => return Err(error.into()),
    };
    match cold.until() {
        // Of a later format: whatever is asked of it would fail.
        Err(error) if error.kind == ErrorKind::Invalid => Err(error.into()),
        // One that is away is asked again when it is needed.
        _ => Ok(is_claimed),
    }
}

/// The archive as recounts read it.
struct ReadObjects(Objects);

impl Archive for ReadObjects {
    fn raw_names(&self) -> Result<Vec<String>, batch::Error> {
        let objects = self.0.list("raw").map_err(|error| batch::Error::Archive(Box::new(error)))?;
        Ok(objects.into_iter().map(|object| object.name).collect())
    }

    fn bytes(&self, name: &str) -> Result<bytes::Bytes, batch::Error> {
        let read = self.0.get(name).and_then(|bytes| {
            bytes.ok_or_else(|| PortError::new(ErrorKind::Unavailable, format!("{name} has gone")))
        });
        read.map_err(|error| batch::Error::Archive(Box::new(error)))
    }
}

/// Starts the bulk lane: its files lie in the archive, or in the data folder where there is none.
fn open_bulk(
    settings: &Resolved,
    archive: Option<Objects>,
    gateway: &Arc<Gateway>,
    processors: &Arc<Processors>,
) -> anyhow::Result<Arc<BulkLane>> {
    let objects = match archive {
        Some(objects) => objects,
        None => Objects::open(&settings.data_dir.as_path().into())?,
    };
    let reserve = ARCHIVE_RESERVE_BYTES + BULK_MARGIN_BYTES;
    Ok(BulkLane::start(Arc::new(objects), gateway.clone(), processors.clone(), reserve)?)
}

/// The name of this data folder in its archive: random, made at the first start.
fn archive_owner(dir: &Path) -> anyhow::Result<String> {
    const NAME: &str = "archive-owner";
    let objects = Objects::open(&dir.into())?;
    let made = format!("{:032x}", rand::random::<u128>());
    objects.create(NAME, made)?;
    let found = objects.get(NAME)?.unwrap_or_default();
    let found = String::from_utf8_lossy(&found).trim().to_owned();
    if found.is_empty() || !found.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        bail!(
            "{} is damaged; it holds what the object `tally-archive` of its archive says",
            dir.join(NAME).display()
        );
    }
    Ok(found)
}

fn create_data_dir(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot create the data folder {}", dir.display()))
}

fn processor_settings(settings: &Resolved, partitions: u16) -> ProcessorSettings {
    ProcessorSettings {
        flush_interval_ms: settings.flush_interval_ms,
        table_cells_max: tables::cells_max(settings.dedup_bytes, partitions),
        known_bytes_max: tables::known_bytes_max(settings.dedup_bytes, partitions),
        hash_keys: rand::random(),
        dedup_minutes: settings.dedup_minutes,
    }
}

/// Who is let in, by the keys.
fn open_door(settings: &Resolved, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<Door>> {
    let keys = Arc::new(open_keys(settings, clock)?);
    Ok(Arc::new(Door::new(&settings.door, keys, clock.clone())))
}

/// The keys, where whoever can reach the server needs one, or may do without.
fn open_keys(settings: &Resolved, clock: &Arc<dyn Clock>) -> anyhow::Result<Keyring> {
    let keys = Keyring::open(KeyFile::new(settings.keys_file.clone()), clock.clone())?;
    let is_local = settings.listen.ip().to_canonical().is_loopback();
    ensure!(
        keys.is_closed() || is_local || settings.is_anonymous_allowed,
        "{} can be reached from other machines, and there is no key in {}: make one with `tally keys \
         create --scope write,read,admin`, or listen on 127.0.0.1, or allow everybody everything with \
         --allow-anonymous",
        settings.listen,
        keys.path().display()
    );
    Ok(keys)
}

/// The wall clock, for commands that write down when something was done.
pub(crate) fn wall_now() -> TimestampMs {
    SystemClock::start().now().wall
}

/// The clocks of this machine.
struct SystemClock {
    started: Instant,
}

impl SystemClock {
    fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam to the wall clock")]
    fn now(&self) -> ClockReading {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let wall_ms = wall.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let monotonic_ms = boot_time_ms().unwrap_or_else(|| {
            i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
        });
        ClockReading { wall: TimestampMs(wall_ms), monotonic_ms }
    }
}

/// Milliseconds since the machine started, sleep included.
fn boot_time_ms() -> Option<i64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(time.tv_sec * 1_000 + time.tv_nsec / 1_000_000)
}

/// Keeps a second process out of a data folder: an exclusive lock on `lock` in it, which holds the
/// process id for people to read. The system lets go of it when the process ends, however.
struct FolderLock {
    _file: File,
}

impl FolderLock {
    fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file =
            options.open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let pid =
                    if holder.is_empty() { String::new() } else { format!(" (pid {holder})") };
                bail!(
                    "the data folder {} is in use by another tally process{pid}; stop it, or give \
                     this one another folder with --data-dir",
                    dir.display()
                );
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// How many partitions the log of a data folder has; none where there is no log.
///
/// # Errors
/// Where it is of a format that this program does not know, or damaged.
pub(crate) fn stored_partitions_of(dir: &Path) -> Result<Option<u16>, PortError> {
    stored_partitions(&RealDisk, &dir.join("log"))
}

/// Whether another process has a data folder open. Never keeps one out: the lock is tried shared,
/// and let go at once.
///
/// # Errors
/// When the lock file is there but cannot be read.
pub(crate) fn is_folder_in_use(dir: &Path) -> anyhow::Result<bool> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot try {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_folder_and_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(dir.path()).unwrap();
        let error = FolderLock::take(dir.path()).err().unwrap().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert!(is_folder_in_use(dir.path()).unwrap());
        drop(first);
        assert!(!is_folder_in_use(dir.path()).unwrap());
        assert!(FolderLock::take(dir.path()).is_ok());
    }
}
