//! The counter store on Cassandra or ScyllaDB.
//!
//! A cluster has no batch over partitions, so a flush is a protocol of three steps:
//!
//! 1. `begin`: by a lightweight transaction the owner notes where the flush ends. Nobody but the owner can.
//! 2. All rows are written, with absolute values and the write timestamp of that place in the log.
//! 3. `commit`: by a lightweight transaction the checkpoint moves there.
//!
//! So rows stand at or below the checkpoint, or exactly where a flush was begun. Whoever takes the
//! partition over finds that place and flushes up to there first, which writes the same rows again: what an
//! event counts is a function of the log. An owner of before that wakes up can write no other rows than
//! those, and an older timestamp loses by itself.
//!
//! Sources must not run ahead of the checkpoint: what they say decides what counts. Each state of one is
//! a row of its own with its place in the log, and readers take the newest at or below the checkpoint.

mod beside;
mod cold;
mod flush;
mod get;
mod letters;
mod owners;
mod place;
mod rows;
mod schema;
mod session;
mod snapshot;
mod stamp;
mod statements;
mod totals;
mod trouble;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use engine::ports::{
    Claim, CounterSnapshot, CounterStore, ErrorKind, Flush, Folded, LetterState, PortError, Rows,
};
use model::limits::PARTITIONS_MAX;
use model::{Day, Offset, PartitionId};
use parking_lot::Mutex;
use scylla::value::CqlValue::Text;

pub use place::{Place, PlaceError};
pub use schema::Replication;

use crate::embedded::store::row::Damage;
use cold::ColdNote;
use owners::Owned;
use session::Link;
use snapshot::ClusterSnapshot;
use statements::Statements;

/// The name of the log that the counters are of, in `meta`.
const LOG_NAME: &str = "log";
/// How long hour rows stay that are in cold files: questions that began before it was noted read them still.
const COLD_GRACE: Duration = Duration::from_secs(60);

/// Counter rows, dead letters and checkpoints in a keyspace of a cluster.
pub struct CassandraStore {
    shared: Arc<Shared>,
    /// Who this process is, in each keyspace it opens.
    owner: [u8; 16],
    partitions: Box<[Partition]>,
    cold: Mutex<ColdNote>,
    cold_grace: Duration,
}

/// What snapshots need too.
struct Shared {
    link: Link,
    statements: Statements,
}

#[derive(Default)]
struct Partition {
    /// Held while a flush is under way, so that they come one by one.
    owned: Mutex<Owned>,
    /// Hours and days of a type that are known to be in `filled`.
    filled: Mutex<HashSet<(i32, i64, String)>>,
}

impl CassandraStore {
    /// Connects to a cluster and checks its tables. `owner` is random, another one in each process.
    ///
    /// # Errors
    /// `Unavailable` where no node answers, `Invalid` where the keyspace has no tables or those of another
    /// version.
    pub fn open(place: Place, owner: u128) -> Result<Self, PortError> {
        let link = Link::connect(place)?;
        schema::check(&link)?;
        let statements = Statements::prepare(&link)?;
        let partitions = (0..PARTITIONS_MAX).map(|_| Partition::default()).collect();
        let (shared, owner) = (Arc::new(Shared { link, statements }), owner.to_be_bytes());
        let (cold, cold_grace) = (Mutex::default(), COLD_GRACE);
        Ok(Self { shared, owner, partitions, cold, cold_grace })
    }

    /// Makes the keyspace and its tables where they are not there.
    ///
    /// # Errors
    /// `Unavailable` where the cluster does not answer or refuses, `Invalid` where the tables are of another
    /// version.
    pub fn init(place: Place, replication: &Replication) -> Result<(), PortError> {
        schema::make(&Link::connect(place)?, replication)
    }

    /// Says which log the counters are of; whoever says it first decides.
    ///
    /// # Errors
    /// `Invalid` where they are of another one, `Unavailable` where the cluster does not answer.
    pub fn bind_log(&self, log: &str) -> Result<(), PortError> {
        let (link, statements) = (&self.shared.link, &self.shared.statements);
        let name = || Text(LOG_NAME.to_owned());
        link.decide(&statements.bind, vec![name(), Text(log.to_owned())])?;
        let bound = link.rows::<(Option<String>,)>(&statements.bound, vec![name()])?;
        let bound = bound.into_iter().find_map(|row| row.0);
        if bound.as_deref() == Some(log) {
            return Ok(());
        }
        let context = format!(
            "the counters in {:?} are of the log {}, and this server's is {log}: give each log a \
             keyspace of its own",
            link.place(),
            bound.unwrap_or_default()
        );
        Err(PortError::new(ErrorKind::Invalid, context))
    }

    /// With another time for which hour rows stay that are in cold files.
    #[must_use]
    pub fn with_cold_grace(self, cold_grace: Duration) -> Self {
        Self { cold_grace, ..self }
    }

    fn partition(&self, id: PartitionId) -> Result<&Partition, PortError> {
        self.partitions.get(usize::from(id.0)).ok_or_else(|| {
            let context = format!("partition {id} is beyond the {PARTITIONS_MAX} there can be");
            PortError::new(ErrorKind::Invalid, context)
        })
    }
}

impl CounterStore for CassandraStore {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        self.take(partition)
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        self.write_flush(flush, rows)
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        self.mark_letter(partition, offset, from, to)
    }

    /// The cluster forgets old minutes by itself.
    fn fold(&self, _partition: PartitionId, _rows_max: usize) -> Result<Folded, PortError> {
        Ok(Folded { rows: 0, is_done: true })
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        self.note(until)
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.remove(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        Ok(Box::new(ClusterSnapshot::new(self.shared.clone())))
    }
}

/// A value that is not what the store wrote.
fn damaged(what: &str, damage: Damage) -> PortError {
    let context = format!("the {what} in the cluster is damaged: restore a backup or recount");
    PortError::caused(ErrorKind::Corrupt, context, damage)
}
