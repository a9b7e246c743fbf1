//! The routing table at work: what gateways route by, and how it is changed while they do.

use std::sync::Arc;

use model::limits::{PARTITIONS_MAX, ROUTING_LEAD_MS};
use model::{RoutingChange, RoutingTable, RoutingVersion, Strategy, TimestampMs};
use parking_lot::Mutex;

use crate::ports::{ErrorKind, EventLog, PortError, RoutingStore};

/// Makes partitions ready that the log has been given: whoever counts them, archives them and so on.
pub type Grown = dyn Fn(u16) -> Result<(), PortError> + Send + Sync;

/// The table of a server. Cheap to share.
pub struct Routing {
    store: Arc<dyn RoutingStore>,
    log: Arc<dyn EventLog>,
    /// Called with the number of the log's partitions, before anything is routed to new ones.
    grown: Mutex<Vec<Box<Grown>>>,
    changing: Mutex<()>,
}

/// What a request routes by.
#[derive(Clone, Debug)]
pub struct RoutedBy {
    /// The versions.
    pub table: Arc<RoutingTable>,
    /// Events up to this time may be routed: nobody has published, or will publish, a version that
    /// takes effect at or before it and is not in the table.
    pub until: TimestampMs,
}

impl Routing {
    /// Routing by the item alone, for ever: a table of one version that nobody can change.
    pub fn fixed(log: Arc<dyn EventLog>) -> Self {
        let table = Arc::new(RoutingTable::first(log.partitions()));
        let (grown, changing) = Default::default();
        Self { store: Arc::new(Fixed(table)), log, grown, changing }
    }

    /// Over a store and the log that is routed to.
    ///
    /// # Errors
    /// `Corrupt` where the table names partitions that the log has not.
    pub fn new(store: Arc<dyn RoutingStore>, log: Arc<dyn EventLog>) -> Result<Self, PortError> {
        let table = store.table()?;
        if table.log_partitions() > log.partitions() {
            let context = format!(
                "the routing table names {} partitions, and the log has {}: restore the data folder \
                 from a backup",
                table.log_partitions(),
                log.partitions()
            );
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
        let (grown, changing) = Default::default();
        Ok(Self { store, log, grown, changing })
    }

    /// Has something called whenever the log has more partitions, before the first event goes to
    /// them.
    pub fn on_grown(&self, grown: Box<Grown>) {
        self.grown.lock().push(grown);
    }

    /// The log that is routed to.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// What to route by now.
    ///
    /// # Errors
    /// Where the store does not know.
    pub fn current(&self) -> Result<RoutedBy, PortError> {
        // The time first: the table has all versions that were published before it then.
        let confirmed_at = self.store.confirmed_at()?;
        let until = TimestampMs(confirmed_at.0.saturating_add(ROUTING_LEAD_MS));
        Ok(RoutedBy { table: self.store.table()?, until })
    }

    /// Every version that is known; for questions, which add up whatever partitions an item had.
    ///
    /// # Errors
    /// Where the store does not know any.
    pub fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        self.store.table()
    }

    /// Publishes another version: the changes, and so many partitions for items without a rule, as
    /// before where none are named. Where it must follow a certain version, that is said by `after`.
    /// Partitions that the log has not yet are added first.
    ///
    /// # Errors
    /// `Conflict` where another version is the newest, `Invalid` where the change breaks a rule,
    /// `Unavailable` where log or store do not take it now.
    pub fn change(
        &self,
        changes: Vec<RoutingChange>,
        partitions: Option<u16>,
        after: Option<u32>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let _alone = self.changing.lock();
        let table = self.table()?;
        let after = after.unwrap_or(table.version());
        if after != table.version() {
            let context = format!("version {} is the newest, and not {after}", table.version());
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        let partitions = partitions.unwrap_or(table.newest().partitions);
        // Whether it can follow is found out before the log grows.
        let draft = self.draft(&table, partitions, changes.clone())?;
        self.check_all_used(&draft)?;
        self.grow(draft.log_partitions())?;
        let table = self.store.publish(after, partitions, changes)?;
        let newest = table.newest();
        tracing::info!(
            version = table.version(),
            effective = %newest.effective,
            partitions = newest.partitions,
            changes = newest.changes.len(),
            "another version of the routing table"
        );
        Ok(table)
    }

    /// Partitions are not added by a slip of the hand: each takes room on the disk for good.
    fn check_all_used(&self, draft: &RoutingTable) -> Result<(), PortError> {
        let rules = draft.rules();
        let is_named = |partition: &u16| {
            let mut strategies = rules.iter().map(|(_, rule, _)| &rule.strategy);
            strategies.any(|strategy: &Strategy| strategy.named().contains(partition))
        };
        let mut new = self.log.partitions()..draft.log_partitions();
        match new.find(|partition| *partition >= draft.newest().partitions && !is_named(partition))
        {
            None => Ok(()),
            Some(partition) => {
                let context = format!(
                    "there are {} partitions, and {partition} would be added and not used: name \
                     those that follow",
                    self.log.partitions()
                );
                Err(PortError::new(ErrorKind::Invalid, context))
            }
        }
    }

    fn draft(
        &self,
        table: &RoutingTable,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<RoutingTable, PortError> {
        let published = table.newest().published;
        let effective = table.earliest(published);
        let version = RoutingVersion { published, effective, partitions, changes };
        table
            .with(version)
            .map_err(|error| PortError::caused(ErrorKind::Invalid, error.to_string(), error))
    }

    /// Adds partitions to the log and to all who work on it. What broke off is done by a repeat.
    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        let had = self.log.partitions();
        if partitions > PARTITIONS_MAX {
            return Err(PortError::new(ErrorKind::Invalid, "there are no such partitions"));
        }
        if partitions > had {
            self.log.grow(partitions)?;
            tracing::info!(had, partitions, "the log has more partitions");
        }
        let grown = self.grown.lock();
        grown.iter().try_for_each(|grown| grown(self.log.partitions()))
    }
}

/// A table of one version.
struct Fixed(Arc<RoutingTable>);

impl RoutingStore for Fixed {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        Ok(self.0.clone())
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        // No version ever follows.
        Ok(TimestampMs(i64::MAX))
    }

    fn publish(
        &self,
        _: u32,
        _: u16,
        _: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        Err(PortError::new(ErrorKind::Invalid, "this routing cannot be changed"))
    }
}
